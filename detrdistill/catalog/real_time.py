"""Real-time detectors: hybrid encoders, queries picked from the encoder's output."""

from detrdistill.catalog.entries import Family, FamilyName, HGNetV2, ResNet, Size

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
        detections_per_image=None,
        neck_strides=(8, 16, 32),
        memory_strides=(8, 16, 32),
        neck_is_query_wide=True,
        proposal_strides=(8, 16, 32),
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
        detections_per_image=None,
        neck_strides=(16,),
        memory_strides=(16, 32),
        neck_is_query_wide=False,
        proposal_strides=(16, 32),
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
}  # fmt: skip
