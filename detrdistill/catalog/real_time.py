"""Real-time detectors: hybrid encoders, queries picked from the encoder's output."""

from detrdistill.catalog.entries import ConfigFields, Family, FamilyName, HGNetV2, ResNet, Size, ViT

_RT_DETR_SIZES = {
    "pico": Size(
        description="0.3 M parameters; demonstrations and tests on a CPU",
        backbone=ResNet(stem=12, stages=(12, 24, 48, 96), blocks=(1, 1, 1, 1)),
        width=32, ffn=64, heads=4, decoder_layers=2, queries=30, denoising=10, expansion=0.5,
    ),
    "nano": Size(
        description="1.3 M parameters; small images on a CPU",
        backbone=ResNet(stem=24, stages=(24, 48, 96, 160), blocks=(1, 1, 1, 1)),
        width=64, ffn=128, heads=4, decoder_layers=3, queries=50, denoising=20, expansion=0.5,
    ),
    "r18": Size(
        description="ResNet-18, 3 decoder layers",
        backbone=ResNet(stem=64, stages=(64, 128, 256, 512), blocks=(2, 2, 2, 2)),
        width=256, ffn=1024, decoder_layers=3, queries=300, expansion=0.5,
    ),
    "r50": Size(
        description="ResNet-50, 6 decoder layers",
        backbone=ResNet(stem=64, stages=(256, 512, 1024, 2048), blocks=(3, 4, 6, 3), bottleneck=True),
        width=256, ffn=1024, decoder_layers=6, queries=300,
    ),
}  # fmt: skip

_RT_DETR_CLASS_TENSORS = r"(class_embed\.\d+|enc_score_head)\.(weight|bias)$|denoising_class_embed\.weight$"

_LW_DETR_CLASS_TENSORS = r"(^|\.)(class_embed|enc_out_class_embed\.\d+)\.(weight|bias)$"

_LW_DETR_FIELDS = ConfigFields(decoder_layers=("decoder_layers", 3))

REAL_TIME: dict[FamilyName, Family] = {
    "rt-detr": Family(
        title="RT-DETR",
        paper="arXiv 2304.08069",
        licence="Apache-2.0",
        model_type="rt_detr",
        scores="sigmoid",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="varifocal",
        detections_per_image=None,
        neck_strides=(8, 16, 32),
        memory_strides=(8, 16, 32),
        neck_is_query_wide=True,
        proposal_strides=(8, 16, 32),
        onnx_batch="fixed",
        sizes=_RT_DETR_SIZES,
    ),
    "rt-detr-v2": Family(
        title="RT-DETRv2",
        paper="arXiv 2407.17140",
        licence="Apache-2.0",
        model_type="rt_detr_v2",
        scores="sigmoid",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="varifocal",
        detections_per_image=None,
        neck_strides=(8, 16, 32),
        memory_strides=(8, 16, 32),
        neck_is_query_wide=True,
        proposal_strides=(8, 16, 32),
        onnx_batch="fixed",
        sizes=_RT_DETR_SIZES,
    ),
    "d-fine": Family(
        title="D-FINE",
        paper="arXiv 2410.13842",
        licence="Apache-2.0",
        model_type="d_fine",
        scores="sigmoid",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="varifocal",
        bin_weights=(0.15, 1.5),
        detections_per_image=None,
        neck_strides=(8, 16, 32),
        memory_strides=(8, 16, 32),
        neck_is_query_wide=True,
        proposal_strides=(8, 16, 32),
        onnx_batch="fixed",
        sizes={
            "pico": Size(
                description="0.9 M parameters; small images on a CPU",
                backbone=HGNetV2(stem=12, stages=(48, 96, 192, 384), blocks=(1, 1, 1, 1)),
                width=64, ffn=256, heads=4, decoder_layers=3, queries=50, denoising=20, expansion=0.5,
                encoder_blocks=1,
            ),
            "n": Size(
                description="D-FINE-N: two levels, 3 decoder layers",
                backbone=HGNetV2(stem=16, stages=(64, 256, 512, 1024), blocks=(1, 1, 2, 1)),
                width=128, ffn=512, decoder_layers=3, queries=300, expansion=0.34, encoder_blocks=2, levels=2,
            ),
            "s": Size(
                description="D-FINE-S: three levels, 3 decoder layers",
                backbone=HGNetV2(stem=16, stages=(64, 256, 512, 1024), blocks=(1, 1, 2, 1)),
                width=256, ffn=1024, decoder_layers=3, queries=300, expansion=0.5, encoder_blocks=1,
            ),
        },
    ),
    "deimv2": Family(
        title="DEIMv2",
        paper="arXiv 2509.20787",
        licence="Apache-2.0",
        model_type="deimv2",
        scores="sigmoid",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="mal",
        bin_weights=(0.0, 0.0),
        detections_per_image=None,
        neck_strides=(16,),
        memory_strides=(16, 32),
        neck_is_query_wide=False,
        proposal_strides=(16, 32),
        onnx_batch="fixed",
        sizes={
            "atto": Size(
                description="0.5 M parameters",
                backbone=HGNetV2(stem=16, stages=(64, 256, 256), blocks=(1, 1, 1)),
                width=64, ffn=160, encoder_layers=0, decoder_layers=3, queries=100, expansion=0.34,
            ),
            "femto": Size(
                description="1 M parameters",
                backbone=HGNetV2(stem=16, stages=(64, 256, 512), blocks=(1, 1, 1)),
                width=96, ffn=256, encoder_layers=0, decoder_layers=3, queries=150, expansion=0.34,
            ),
        },
    ),
    "lw-detr": Family(
        title="LW-DETR",
        paper="arXiv 2406.03459",
        licence="Apache-2.0",
        model_type="lw_detr",
        scores="sigmoid",
        normalised=True,
        class_tensors=_LW_DETR_CLASS_TENSORS,
        classification="ia_bce",
        detections_per_image=100,
        neck_strides=(16,),
        memory_strides=(16,),
        neck_is_query_wide=True,
        proposal_strides=(16,),
        boxes_leave_image=True,
        config_fields=_LW_DETR_FIELDS,
        sizes={
            "pico": Size(
                description="1 M parameters; small images on a CPU",
                backbone=ViT(width=96, layers=6, heads=6, windows=2, windowed=(0, 2, 4), outputs=(1, 3, 5)),
                width=64, ffn=128, heads=4, decoder_layers=3, queries=30, query_groups=3,
            ),
            "tiny": Size(
                description="LW-DETR tiny: 6 ViT layers, 100 queries",
                backbone=ViT(width=192, layers=6, heads=12, windows=4, windowed=(0, 2, 4), outputs=(1, 3, 5)),
                width=256, ffn=2048, decoder_layers=3, queries=100,
            ),
            "small": Size(
                description="LW-DETR small: 10 ViT layers, 300 queries",
                backbone=ViT(
                    width=192, layers=10, heads=12, windows=4, windowed=(0, 1, 3, 6, 7, 9), outputs=(2, 4, 5, 9)
                ),
                width=256, ffn=2048, decoder_layers=3, queries=300,
            ),
        },
    ),
    "rf-detr": Family(
        title="RF-DETR",
        paper="arXiv 2511.09554",
        licence="Apache-2.0",
        model_type="rf_detr",
        scores="sigmoid",
        normalised=True,
        class_tensors=_LW_DETR_CLASS_TENSORS,
        classification="ia_bce",
        detections_per_image=None,
        neck_strides=(16,),
        memory_strides=(16,),
        neck_is_query_wide=True,
        proposal_strides=(16,),
        boxes_leave_image=True,
        config_fields=_LW_DETR_FIELDS,
        sizes={
            "pico": Size(
                description="1 M parameters; small images on a CPU",
                backbone=ViT(width=96, layers=6, heads=6, windows=2, outputs=(1, 3, 5)),
                width=64, ffn=128, heads=4, decoder_layers=2, queries=30, query_groups=3,
            ),
            "nano": Size(
                description="RF-DETR Nano: DINOv2-S backbone, 2 decoder layers; published for 384 px",
                backbone=ViT(width=384, layers=12, heads=6, windows=2, outputs=(2, 5, 8, 11)),
                width=256, ffn=2048, decoder_layers=2, queries=300,
            ),
            "small": Size(
                description="RF-DETR Small: DINOv2-S backbone, 3 decoder layers; published for 512 px",
                backbone=ViT(width=384, layers=12, heads=6, windows=2, outputs=(2, 5, 8, 11)),
                width=256, ffn=2048, decoder_layers=3, queries=300,
            ),
        },
    ),
}  # fmt: skip
