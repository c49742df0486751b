"""Detectors that are nothing but a vision transformer."""

from detrdistill.catalog.entries import ConfigFields, Family, FamilyName, Patches, Size

PLAIN: dict[FamilyName, Family] = {
    "yolos": Family(
        title="YOLOS",
        paper="arXiv 2106.00666",
        licence="Apache-2.0",
        model_type="yolos",
        scores="softmax",
        normalised=True,
        class_tensors=r"class_labels_classifier\.layers\.2\.(weight|bias)$",
        classification="cross_entropy",
        detections_per_image=None,
        neck_strides=(16,),
        memory_strides=(16,),
        neck_is_query_wide=True,
        last_layer_only=True,
        config_fields=ConfigFields(
            queries=("num_detection_tokens", 100), decoder_layers=("num_hidden_layers", 12), width=("hidden_size", 768)
        ),
        sizes={
            "pico": Size(
                description="0.9 M parameters; small images on a CPU",
                backbone=Patches(),
                width=96, ffn=384, heads=3, encoder_layers=0, decoder_layers=6, queries=50,
            ),
            "tiny": Size(
                description="YOLOS-Ti: DeiT-Ti with 100 detection tokens",
                backbone=Patches(),
                width=192, ffn=768, heads=3, encoder_layers=0, decoder_layers=12, queries=100,
            ),
        },
    ),
}  # fmt: skip
