"""Detectors with learned queries: the DETR of the papers that DETRDistill is measured on."""

from detrdistill.catalog.entries import ConfigFields, Family, FamilyName, MobileNetV2, ResNet, Size

_RESNET_SMALL = ResNet(stem=24, stages=(24, 48, 96, 160), blocks=(1, 1, 1, 1))
_RESNET_18 = ResNet(stem=64, stages=(64, 128, 256, 512), blocks=(2, 2, 2, 2))
_RESNET_50 = ResNet(stem=64, stages=(256, 512, 1024, 2048), blocks=(3, 4, 6, 3), bottleneck=True)
_RESNET_101 = ResNet(stem=64, stages=(256, 512, 1024, 2048), blocks=(3, 4, 23, 3), bottleneck=True)

CLASSIC: dict[FamilyName, Family] = {
    "detr": Family(
        title="DETR",
        paper="arXiv 2005.12872",
        licence="Apache-2.0",
        model_type="detr",
        scores="softmax",
        normalised=True,
        class_tensors=r"class_labels_classifier\.(weight|bias)$",
        classification="cross_entropy",
        detections_per_image=None,
        config_fields=ConfigFields(queries=("num_queries", 100)),
        neck_strides=(32,),
        memory_strides=(32,),
        neck_is_query_wide=True,
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                backbone=_RESNET_SMALL,
                width=64, ffn=256, heads=4, encoder_layers=2, decoder_layers=3, queries=50,
            ),
            "r18": Size(
                description="ResNet-18",
                backbone=_RESNET_18,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=100,
            ),
            "r50": Size(
                description="ResNet-50, as published",
                backbone=_RESNET_50,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=100,
            ),
            "r101": Size(
                description="ResNet-101, as published",
                backbone=_RESNET_101,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=100,
            ),
        },
    ),
    "table-transformer": Family(
        title="Table Transformer",
        paper="arXiv 2110.00061",
        licence="MIT",
        model_type="table-transformer",
        scores="softmax",
        normalised=True,
        class_tensors=r"class_labels_classifier\.(weight|bias)$",
        classification="cross_entropy",
        detections_per_image=None,
        config_fields=ConfigFields(queries=("num_queries", 100)),
        neck_strides=(32,),
        memory_strides=(32,),
        neck_is_query_wide=True,
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                backbone=_RESNET_SMALL,
                width=64, ffn=256, heads=4, encoder_layers=2, decoder_layers=3, queries=50,
            ),
            "r18": Size(
                description="ResNet-18, as published for the structure of tables (15 queries for their detection)",
                backbone=_RESNET_18,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=125,
            ),
            "r50": Size(
                description="ResNet-50",
                backbone=_RESNET_50,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=125,
            ),
        },
    ),
    "conditional-detr": Family(
        title="Conditional DETR",
        paper="arXiv 2108.06152",
        licence="Apache-2.0",
        model_type="conditional_detr",
        scores="sigmoid",
        normalised=True,
        class_tensors=r"class_labels_classifier\.(weight|bias)$",
        classification="focal",
        detections_per_image=100,
        neck_strides=(32,),
        memory_strides=(32,),
        neck_is_query_wide=True,
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                backbone=_RESNET_SMALL,
                width=64, ffn=256, heads=4, encoder_layers=2, decoder_layers=3, queries=50,
            ),
            "r18": Size(
                description="ResNet-18, the student of DETRDistill's Table 10",
                backbone=_RESNET_18,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r50": Size(
                description="ResNet-50, the student of DETRDistill's Table 3",
                backbone=_RESNET_50,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "mobilenetv2": Size(
                description="MobileNetV2, the student of DETRDistill's Table 10",
                backbone=MobileNetV2(),
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r101": Size(
                description="ResNet-101, the teacher of DETRDistill's tables",
                backbone=_RESNET_101,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
        },
    ),
    "dab-detr": Family(
        title="DAB-DETR",
        paper="arXiv 2201.12329",
        licence="Apache-2.0",
        model_type="dab-detr",
        scores="sigmoid",
        normalised=True,
        class_tensors=r"class_embed\.(weight|bias)$",
        classification="focal",
        detections_per_image=100,
        config_fields=ConfigFields(width=("hidden_size", 256)),
        neck_strides=(32,),
        memory_strides=(32,),
        neck_is_query_wide=True,
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                backbone=_RESNET_SMALL,
                width=64, ffn=256, heads=4, encoder_layers=2, decoder_layers=3, queries=50,
            ),
            "r18": Size(
                description="ResNet-18, the student of KD-DETR",
                backbone=_RESNET_18,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r50": Size(
                description="ResNet-50, as published",
                backbone=_RESNET_50,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r101": Size(
                description="ResNet-101, as published",
                backbone=_RESNET_101,
                width=256, ffn=2048, encoder_layers=6, decoder_layers=6, queries=300,
            ),
        },
    ),
    "deformable-detr": Family(
        title="Deformable DETR",
        paper="arXiv 2010.04159",
        licence="Apache-2.0",
        model_type="deformable_detr",
        scores="sigmoid",
        normalised=True,
        class_tensors=r"class_embed\.\d+\.(weight|bias)$",
        classification="focal",
        detections_per_image=100,
        neck_strides=(8, 16, 32, 64),
        memory_strides=(8, 16, 32, 64),
        neck_is_query_wide=True,
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                backbone=ResNet(stem=24, stages=(24, 48, 96, 160), blocks=(1, 1, 1, 1)),
                width=64, ffn=128, heads=4, encoder_layers=2, decoder_layers=3, queries=50,
            ),
            "r18": Size(
                description="ResNet-18, the student of DETRDistill's Table 10",
                backbone=ResNet(stem=64, stages=(64, 128, 256, 512), blocks=(2, 2, 2, 2)),
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r50": Size(
                description="ResNet-50, the student of DETRDistill's Table 3",
                backbone=_RESNET_50,
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r101": Size(
                description="ResNet-101, the teacher of DETRDistill's tables",
                backbone=_RESNET_101,
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "mobilenetv2": Size(
                description="MobileNetV2, the student of DETRDistill's Table 10",
                backbone=MobileNetV2(),
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "nano-refine": Size(
                description="nano with box refinement",
                backbone=_RESNET_SMALL,
                width=64, ffn=128, heads=4, encoder_layers=2, decoder_layers=3, queries=50, box_refinement=True,
            ),
            "nano-two-stage": Size(
                description="nano with box refinement and two stages",
                backbone=_RESNET_SMALL,
                width=64, ffn=128, heads=4, encoder_layers=2, decoder_layers=3, queries=50, box_refinement=True,
                two_stage=True,
            ),
            "r50-refine": Size(
                description="ResNet-50 with box refinement, as published",
                backbone=_RESNET_50,
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300, box_refinement=True,
            ),
            "r50-two-stage": Size(
                description="ResNet-50 with box refinement and two stages, as published",
                backbone=_RESNET_50,
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300, box_refinement=True,
                two_stage=True,
            ),
        },
    ),
    "adamixer": Family(
        title="AdaMixer",
        paper="arXiv 2203.16507",
        licence="MIT",
        model_type="adamixer",
        in_library=False,
        scores="sigmoid",
        normalised=True,
        class_tensors=r"class_head\.output\.(weight|bias)$",
        classification="focal",
        detections_per_image=100,
        config_fields=ConfigFields(queries=("num_queries", 100)),
        boxes_leave_image=True,
        neck_strides=(4, 8, 16, 32),
        memory_strides=(4, 8, 16, 32),
        neck_is_query_wide=True,
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                backbone=ResNet(stem=24, stages=(24, 48, 96, 160), blocks=(1, 1, 1, 1)),
                width=64, ffn=128, heads=4, decoder_layers=3, queries=50, points=(8, 16),
            ),
            "mobilenetv2": Size(
                description="MobileNetV2, the student of DETRDistill's Table 10",
                backbone=MobileNetV2(),
                width=256, ffn=2048, decoder_layers=6, queries=100,
            ),
            "r18": Size(
                description="ResNet-18, the student of DETRDistill's Table 10",
                backbone=ResNet(stem=64, stages=(64, 128, 256, 512), blocks=(2, 2, 2, 2)),
                width=256, ffn=2048, decoder_layers=6, queries=100,
            ),
            "r50": Size(
                description="ResNet-50, the student of DETRDistill's Table 3",
                backbone=_RESNET_50,
                width=256, ffn=2048, decoder_layers=6, queries=100,
            ),
            "r101": Size(
                description="ResNet-101, the teacher of DETRDistill's tables",
                backbone=_RESNET_101,
                width=256, ffn=2048, decoder_layers=6, queries=100,
            ),
        },
    ),
}  # fmt: skip
