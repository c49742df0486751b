"""DEIMv2 (arXiv 2509.20787): D-FINE's distribution-refining decoder with lighter encoders."""

from typing import Any

from transformers import Deimv2ForObjectDetection

from detrdistill.catalog import HGNetV2, Size
from detrdistill.detectors.backbones import hgnet_backbone
from detrdistill.detectors.d_fine import DFine


class DeimV2(DFine):
    """DEIMv2: D-FINE behind other encoders."""

    family = "deimv2"
    model_class = Deimv2ForObjectDetection
    modules_before_encoder = ("conv_encoder",)

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """The sizes below N: HGNetV2, lite encoder, two levels."""
        del image_size
        assert isinstance(size.backbone, HGNetV2)
        return {
            "backbone_config": hgnet_backbone(size.backbone, levels=1, last_kernel=3 if size.width < 96 else 5),
            "freeze_backbone_batch_norms": False,
            "encoder_type": "lite",
            "encoder_in_channels": [size.backbone.stages[-1]],
            "encoder_hidden_dim": size.width,
            "encoder_layers": size.encoder_layers,
            "hidden_expansion": size.expansion,
            "depth_mult": 0.5,
            "feat_strides": [16, 32],
            "num_feature_levels": 2,
            "decoder_in_channels": [size.width] * 2,
            "decoder_n_points": [4, 2],
            "decoder_activation_function": "silu",
            "d_model": size.width,
            "decoder_layers": size.decoder_layers,
            "decoder_ffn_dim": size.ffn,
            "decoder_attention_heads": size.heads,
            "num_queries": size.queries,
            "num_denoising": size.denoising,
            "share_bbox_head": True,
            "use_gateway": False,
        }

    def backbone_prefixes(self) -> tuple[str, ...]:
        """The backbone sits inside the convolutional encoder."""
        return ("model.model.conv_encoder.model.",)
