"""D-FINE (arXiv 2410.13842): boxes as distributions over bins that each decoder layer refines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers import DFineForObjectDetection
from transformers.models.d_fine.modeling_d_fine import weighting_function

from detrdistill.catalog import HGNetV2, Size
from detrdistill.detectors.backbones import hgnet_backbone
from detrdistill.detectors.detector import Heads
from detrdistill.detectors.hooks import Decoding
from detrdistill.detectors.rt_detr import RTDetr
from detrdistill.outputs import BoxBins, Prediction

_POINTS = {2: [6, 6], 3: [3, 6, 3]}
"""Sampling points of each feature level, as published, by the number of levels."""


class DFine(RTDetr):
    """D-FINE. `transformers` scores one more entry than there are layers: the first is `initial`."""

    family = "d-fine"
    model_class = DFineForObjectDetection

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """HGNetV2 and hybrid encoder."""
        del image_size
        assert isinstance(size.backbone, HGNetV2)
        return {
            "backbone_config": hgnet_backbone(size.backbone, size.levels),
            "freeze_backbone_batch_norms": False,
            "encoder_in_channels": list(size.backbone.stages[-size.levels :]),
            "encoder_hidden_dim": size.width,
            "encoder_layers": size.encoder_layers,
            "encoder_ffn_dim": size.ffn,
            "encoder_attention_heads": size.heads,
            "encode_proj_layers": [size.levels - 1],
            "hidden_expansion": size.expansion,
            "depth_mult": size.encoder_blocks / 3,
            "feat_strides": [8, 16, 32][-size.levels :],
            "num_feature_levels": size.levels,
            "decoder_in_channels": [size.width] * size.levels,
            "decoder_n_points": _POINTS[size.levels],
            "d_model": size.width,
            "decoder_layers": size.decoder_layers,
            "decoder_ffn_dim": size.ffn,
            "decoder_attention_heads": size.heads,
            "num_queries": size.queries,
            "num_denoising": size.denoising,
            "initializer_bias_prior_prob": 0.01,
        }

    def heads(self, decoding: Decoding) -> Heads:
        """Split the initial prediction from those of the layers."""
        decoder_output = decoding.output
        decoder: Any = self.decoder
        logits_LBQC = decoder_output.intermediate_logits.transpose(0, 1).float()
        boxes_LBQ4 = decoder_output.intermediate_reference_points.transpose(0, 1).float()
        return Heads(
            logits_LBQC[1:],
            boxes_LBQ4[1:],
            decoder_output.intermediate_hidden_states.float(),
            initial=Prediction(logits_LBQC[0], boxes_LBQ4[0]),
            bins=BoxBins(
                decoder_output.intermediate_predicted_corners.transpose(0, 1).float().unflatten(-1, (4, -1)),
                decoder_output.initial_reference_points[:, 0].float(),
                weighting_function(decoder.max_num_bins, decoder.up, decoder.reg_scale).detach().float(),
                abs(self.model.config.reg_scale),
            ),
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
