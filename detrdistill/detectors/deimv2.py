"""DEIMv2 (arXiv 2509.20787): D-FINE's distribution-refining decoder with lighter encoders."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import Deimv2Config, Deimv2ForObjectDetection, HGNetV2Config, PreTrainedModel

from detrdistill.catalog import HGNetV2, Size
from detrdistill.detectors.detector import Decoding, Heads
from detrdistill.detectors.rt_detr import RTDetr
from detrdistill.outputs import Prediction


class DeimV2(RTDetr):
    """DEIMv2. The library scores one more entry than there are layers: the first is `initial`."""

    family = "deimv2"

    def heads(self, decoding: Decoding) -> Heads:
        """Split the initial prediction from those of the layers."""
        decoder_output = decoding.output
        logits_LBQC = decoder_output.intermediate_logits.transpose(0, 1).float()
        boxes_LBQ4 = decoder_output.intermediate_reference_points.transpose(0, 1).float()
        return Heads(
            logits_LBQC[1:],
            boxes_LBQ4[1:],
            decoder_output.intermediate_hidden_states.float(),
            initial=Prediction(logits_LBQC[0], boxes_LBQ4[0]),
        )

    @contextmanager
    def scoring_every_layer(self) -> Iterator[None]:
        """The decoder scores one layer in evaluation mode; it reads only its own flag, its children theirs."""
        decoder: nn.Module = self.decoder
        was_training = decoder.training
        decoder.training = True
        try:
            yield
        finally:
            decoder.training = was_training

    def backbone_prefixes(self) -> tuple[str, ...]:
        """The backbone sits inside the convolutional encoder."""
        return ("model.model.conv_encoder.model.",)


def new_deimv2(size: Size, labels: Mapping[str, Any]) -> PreTrainedModel:
    """A new DEIMv2 of the sizes below N: HGNetV2 trunk, lite encoder, two levels."""
    return Deimv2ForObjectDetection(Deimv2Config(**_settings(size), **labels))


def _settings(size: Size) -> dict[str, Any]:
    backbone = size.backbone
    assert isinstance(backbone, HGNetV2)
    stages = len(backbone.stages)
    return {
        "backbone_config": HGNetV2Config(
            embedding_size=backbone.stem,
            hidden_sizes=list(backbone.stages),
            depths=[3] * stages,
            stem_channels=[3, backbone.stem, backbone.stem],
            stage_in_channels=[backbone.stem, *backbone.stages[:-1]],
            stage_mid_channels=[16, 32, 64],
            stage_out_channels=list(backbone.stages),
            stage_num_blocks=list(backbone.blocks),
            stage_downsample=[False, True, True],
            stage_downsample_strides=[2, 2, 2],
            stage_light_block=[False, False, True],
            stage_kernel_size=[3, 3, 3 if size.width < 96 else 5],
            stage_numb_of_layers=[3] * stages,
            stem_strides=[2, 1, 1, 2, 1],
            use_learnable_affine_block=True,
            out_features=[f"stage{stages}"],  # pyright: ignore[reportCallIssue]
        ),
        "freeze_backbone_batch_norms": False,
        "encoder_type": "lite",
        "encoder_in_channels": [backbone.stages[-1]],
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
