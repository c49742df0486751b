"""The model: backbone, a linear neck, and the decoder that does everything else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from transformers import PreTrainedModel
from transformers.backbone_utils import load_backbone
from transformers.utils.generic import ModelOutput

from detrdistill.detectors.adamixer.attention import OverlapAttention
from detrdistill.detectors.adamixer.configuration import NORM_GROUPS, AdaMixerConfig
from detrdistill.detectors.adamixer.geometry import position_embedding, refine, to_boxes, to_xyzr
from detrdistill.detectors.adamixer.layers import DeltaLinear, Head, LevelProjection, ScoreLinear, XavierLinear
from detrdistill.detectors.adamixer.mixing import AdaptiveMixing
from detrdistill.detectors.adamixer.sampling import SamplingPoints, sample_3d

_WHOLE_IMAGE = (0.5, 0.5, 1.0, 1.0)


@dataclass
class AdaMixerOutput(ModelOutput):
    """What every decoder layer predicts. Logits and boxes are float32."""

    intermediate_hidden_states: Tensor | None = None
    """`[B, L, Q, D]`, as the heads see them."""
    intermediate_logits: Tensor | None = None
    """`[B, L, Q, C]`; sigmoid gives probabilities."""
    intermediate_boxes: Tensor | None = None
    """`[B, L, Q, 4]`, fractions of the image, not clipped to it."""


@dataclass
class AdaMixerObjectDetectionOutput(ModelOutput):
    """What the last decoder layer predicts, in the form transformers' detectors have."""

    logits: Tensor | None = None
    """`[B, Q, C]`."""
    pred_boxes: Tensor | None = None
    """`[B, Q, 4]`."""


class AdaMixerNeck(nn.Module):
    """Every level to the same width by a 1x1 convolution, then one group norm for all of them."""

    def __init__(self, in_channels: Sequence[int], width: int):
        super().__init__()
        self.projections = nn.ModuleList(LevelProjection(channels, width) for channels in in_channels)
        self.norm = nn.GroupNorm(NORM_GROUPS, width)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Backbone maps to one `feature_BDHW` per level."""
        return [self.norm(project(feature)) for project, feature in zip(self.projections, features, strict=True)]


class AdaMixerDecoderLayer(nn.Module):
    """One refinement step: self-attention, sampling and mixing, feed-forward network, heads.

    Layer norm follows each residual. The position embedding is part of the residual that enters self-attention.
    """

    def __init__(self, config: AdaMixerConfig):
        super().__init__()
        width = config.d_model
        self.strides = tuple(config.feature_strides)
        self.self_attn = OverlapAttention(width, config.decoder_attention_heads)
        self.attention_norm = nn.LayerNorm(width)
        self.sampling = SamplingPoints(width, config.groups, config.in_points)
        self.mixing = AdaptiveMixing(width, config.in_points, config.out_points, config.groups)
        self.mixing_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            XavierLinear(width, config.decoder_ffn_dim), nn.ReLU(), XavierLinear(config.decoder_ffn_dim, width)
        )
        self.ffn_norm = nn.LayerNorm(width)
        self.class_head = Head(ScoreLinear(width, config.num_labels or 0))
        self.box_head = Head(DeltaLinear(width, 4))

    def forward(
        self, hidden_BQD: Tensor, xyzr_BQ4: Tensor, features: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refined queries, their class scores `[B, Q, C]`, and refined boxes (x, y, z, r)."""
        placed_BQD = hidden_BQD + position_embedding(xyzr_BQ4, hidden_BQD.shape[-1]).to(hidden_BQD.dtype)
        attended_BQD, _ = self.self_attn(hidden_states=placed_BQD, xyzr=xyzr_BQ4)
        hidden_BQD = self.attention_norm(placed_BQD + attended_BQD)
        sampled_BQGIE = sample_3d(features, self.sampling(hidden_BQD, xyzr_BQ4), self.strides)
        hidden_BQD = self.mixing_norm(hidden_BQD + self.mixing(sampled_BQGIE, hidden_BQD))
        hidden_BQD = self.ffn_norm(hidden_BQD + self.ffn(hidden_BQD))
        return hidden_BQD, self.class_head(hidden_BQD), refine(xyzr_BQ4, self.box_head(hidden_BQD))


class AdaMixerDecoder(nn.Module):
    """All refinement steps. No gradient flows through a box from one layer to the one before."""

    def __init__(self, config: AdaMixerConfig):
        super().__init__()
        self.layers = nn.ModuleList(AdaMixerDecoderLayer(config) for _ in range(config.decoder_layers))

    def forward(
        self,
        *,
        inputs_embeds: Tensor,
        reference_points: Tensor,
        features: Sequence[Tensor],
        image_size: tuple[int, int],
    ) -> AdaMixerOutput:
        """Decode one group of queries.

        Args:
            inputs_embeds: content of the queries, `[B, Q, D]`.
            reference_points: their boxes in [0, 1], `[B, Q, 4]`.
            features: `feature_BDHW` of each level.
            image_size: height and width of the input in pixels.
        """
        height, width = image_size
        scale_4 = torch.tensor([width, height, width, height], device=reference_points.device, dtype=torch.float32)
        features = [feature_BDHW.float() for feature_BDHW in features]
        hidden_BQD, xyzr_BQ4 = inputs_embeds, to_xyzr(reference_points.float() * scale_4)
        hidden, logits, boxes = [], [], []
        for layer in self.layers:
            hidden_BQD, logits_BQC, xyzr_BQ4 = layer(hidden_BQD, xyzr_BQ4.detach(), features)
            hidden.append(hidden_BQD)
            logits.append(logits_BQC)
            boxes.append(to_boxes(xyzr_BQ4) / scale_4)
        return AdaMixerOutput(
            intermediate_hidden_states=torch.stack(hidden, dim=1),
            intermediate_logits=torch.stack(logits, dim=1),
            intermediate_boxes=torch.stack(boxes, dim=1),
        )


class AdaMixerPreTrainedModel(PreTrainedModel):
    """What both models tell transformers about themselves."""

    config_class = AdaMixerConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Let every layer start as it says itself; the backbone sees to its own."""
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()


class AdaMixerModel(AdaMixerPreTrainedModel):
    """Backbone, neck, learned query contents and decoder.

    Raises:
        ValueError: the backbone has another number of output stages than there are strides.
    """

    def __init__(self, config: AdaMixerConfig):
        super().__init__(config)
        self.backbone: Any = load_backbone(config)
        channels = self.backbone.channels
        if len(channels) != len(config.feature_strides):
            raise ValueError(f"The backbone has {len(channels)} stages, feature_strides are {config.feature_strides}")
        self.neck = AdaMixerNeck(channels, config.d_model)
        self.query_embeddings = nn.Embedding(config.num_queries, config.d_model)
        self.decoder = AdaMixerDecoder(config)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> AdaMixerOutput:
        """Detect in `[B, 3, H, W]` images, all of one size; every query starts from the whole image."""
        batch, _, height, width = pixel_values.shape
        features = self.neck(self.backbone(pixel_values).feature_maps)
        content_QD = layer_norm(self.query_embeddings.weight, self.query_embeddings.weight.shape[1:])
        reference_4 = torch.tensor(_WHOLE_IMAGE, device=pixel_values.device)
        return self.decoder(
            inputs_embeds=content_QD.expand(batch, -1, -1),
            reference_points=reference_4.expand(batch, len(content_QD), -1),
            features=features,
            image_size=(height, width),
        )


class AdaMixerForObjectDetection(AdaMixerPreTrainedModel):
    """AdaMixer with the interface of transformers' detectors."""

    def __init__(self, config: AdaMixerConfig):
        super().__init__(config)
        self.model = AdaMixerModel(config)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, pixel_mask: Tensor | None = None, labels: Any = None
    ) -> AdaMixerObjectDetectionOutput:
        """Detect.

        Args:
            pixel_values: `[B, 3, H, W]` images, all of one size.
            pixel_mask: `[B, H, W]`, 0 where an image is padded; accepted because image processors return it.
            labels: not accepted.

        Raises:
            ValueError: labels are given, or an image is padded.
        """
        if labels is not None:
            raise ValueError("AdaMixer has no loss of its own: use detrdistill.losses.set_criterion.SetCriterion")
        if pixel_mask is not None and not pixel_mask.all():
            raise ValueError("AdaMixer takes images of one size, without padding: resize them to a fixed size")
        output = self.model(pixel_values)
        return AdaMixerObjectDetectionOutput(
            logits=output.intermediate_logits[:, -1], pred_boxes=output.intermediate_boxes[:, -1]
        )
