"""LW-DETR (arXiv 2406.03459) and RF-DETR (arXiv 2511.09554): a plain ViT, a projector, and a decoder without encoder.

In training both run Group DETR's groups of queries (arXiv 2207.13085): transformers takes `config.group_detr` groups,
one after the other on the query axis, and lets them attend within their group by cutting that axis into equal parts.
Foreign queries must not be cut, so their passes are made with a single group.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import (
    LwDetrForObjectDetection,
    LwDetrViTConfig,
    RfDetrDinov2Config,
    RfDetrForObjectDetection,
)

from detrdistill.catalog import Size, ViT
from detrdistill.detectors.backbones import init_vit
from detrdistill.detectors.detector import Detector, Heads
from detrdistill.detectors.hooks import Decoding
from detrdistill.outputs import DetectorOutput, Prediction, Queries, Targets

_PRIOR = 0.01
"""Score of every class at the start."""


class LwDetr(Detector):
    """LW-DETR: learned content, references picked from the projector's output, one reference for all layers.

    Its ViT is backbone and encoder in one, so the maps before the encoder and those the decoder attends to are the
    same: the projector's.
    """

    family = "lw-detr"
    model_class = LwDetrForObjectDetection
    processor_class = "DeformableDetrImageProcessor"
    shares_pass = False
    modules_before_encoder = ("backbone.backbone", "backbone.projector")

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """One feature level, and position embeddings made for the image size."""
        backbone = size.backbone
        assert isinstance(backbone, ViT)
        vit = LwDetrViTConfig(
            hidden_size=backbone.width,
            num_hidden_layers=backbone.layers,
            num_attention_heads=backbone.heads,
            image_size=image_size,
            pretrain_image_size=image_size,
            patch_size=backbone.patch,
            num_windows=backbone.windows**2,
            window_block_indices=list(backbone.windowed),
            out_indices=[layer + 1 for layer in backbone.outputs],  # pyright: ignore[reportCallIssue]  from 1
        )
        return {"backbone_config": vit, "projector_scale_factors": [1.0], **_decoder_settings(size)}

    @property
    def reference_size(self) -> int:
        """Boxes."""
        return 4

    @property
    def further_query_groups(self) -> int:
        """All groups but the first."""
        return self.model.config.group_detr - 1

    @property
    def side_multiple(self) -> int:
        """Whole patches in whole windows."""
        backbone = self.model.config.backbone_config
        return backbone.patch_size * backbone.num_windows_side

    def forward(
        self,
        pixels_BCHW: Tensor,
        targets: Sequence[Targets] | None = None,
        *,
        extra_queries: Sequence[Queries] = (),
        override_queries: Queries | None = None,
        keep_maps: bool = False,
    ) -> DetectorOutput:
        """As the base class; queries that take the place of its own are a single group."""
        with nullcontext() if override_queries is None else self._one_group():
            return super().forward(
                pixels_BCHW,
                targets,
                extra_queries=extra_queries,
                override_queries=override_queries,
                keep_maps=keep_maps,
            )

    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """As the base class, with a single group."""
        with self._one_group():
            return super().decode(output, queries)

    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its loss."""
        del targets
        return self.model.model(pixel_values=pixels_BCHW)

    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """The projector's maps."""

        def after_projector(_: nn.Module, __: tuple[Any, ...], maps: list[Tensor] | Tensor) -> None:
            found((maps,) if isinstance(maps, Tensor) else tuple(maps))

        return self.model.model.backbone.projector.register_forward_hook(after_projector)

    def heads(self, decoding: Decoding) -> Heads:
        """Apply the shared heads, relative to the one reference. Boxes are not confined to the image."""
        hidden_LBQD = decoding.output.intermediate_hidden_states
        reference_BQ4 = decoding.call["reference_points"].float()
        logits = [self.model.class_embed(hidden_BQD).float() for hidden_BQD in hidden_LBQD]
        offsets = [self.model.bbox_embed(hidden_BQD).float() for hidden_BQD in hidden_LBQD]
        boxes = [_moved(reference_BQ4, offset_BQ4) for offset_BQ4 in offsets]
        return Heads(torch.stack(logits), torch.stack(boxes), hidden_LBQD.float())

    def proposals(self, raw: Any) -> Prediction:
        """The tokens that became the references of the first group."""
        return self._proposals(raw, 0)

    def proposals_of_group(self, raw: Any, group: int) -> Prediction:
        """Each group has heads of its own."""
        return self._proposals(raw, 1 + group)

    def init_weights(self) -> None:
        """See `_init_lw_detr`."""
        _init_lw_detr(self.model)

    def backbone_prefixes(self) -> tuple[str, ...]:
        """The ViT; the projector learns at the full rate, as published."""
        return ("model.model.backbone.backbone.",)

    def _proposals(self, raw: Any, group: int) -> Prediction:
        count = self.model.config.num_queries
        which = slice(group * count, (group + 1) * count)
        chosen_BQD = raw.enc_outputs_class[:, which]  # tokens, not yet scored
        logits_BQC = self.model.model.enc_out_class_embed[group](chosen_BQD)
        return Prediction(logits_BQC.float(), raw.enc_outputs_coord_logits[:, which].float())

    @contextmanager
    def _one_group(self) -> Iterator[None]:
        config = self.model.config
        groups = config.group_detr
        config.group_detr = 1
        try:
            yield
        finally:
            config.group_detr = groups


class RfDetr(LwDetr):
    """RF-DETR: LW-DETR on a DINOv2 backbone.

    Its exported folders name the image processor of RT-DETR, which finds the same detections: RF-DETR's own resizes
    with antialiasing in transformers 5.17 and without in 5.23.
    """

    family = "rf-detr"
    model_class = RfDetrForObjectDetection
    processor_class = "RTDetrImageProcessor"

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """Position embeddings made for the image size, and no dropout."""
        backbone = size.backbone
        assert isinstance(backbone, ViT)
        dinov2 = RfDetrDinov2Config(
            hidden_size=backbone.width,
            num_hidden_layers=backbone.layers,
            num_attention_heads=backbone.heads,
            image_size=image_size,
            patch_size=backbone.patch,
            num_windows=backbone.windows,
            use_mask_token=False,
            out_indices=[layer + 1 for layer in backbone.outputs],  # pyright: ignore[reportCallIssue]  from 1
        )
        return {"backbone_config": dinov2, "dropout": 0.0, **_decoder_settings(size)}

    @property
    def side_multiple(self) -> int:
        """Whole patches in whole windows."""
        backbone = self.model.config.backbone_config
        return backbone.patch_size * backbone.num_windows


def _moved(reference_BQ4: Tensor, offset_BQ4: Tensor) -> Tensor:
    """A box moved by fractions of its size and scaled by an exponential. Source: LW-DETR's release, `bbox_reparam`."""
    center_BQ2, size_BQ2 = reference_BQ4.split(2, dim=-1)
    return torch.cat([offset_BQ4[..., :2] * size_BQ2 + center_BQ2, offset_BQ4[..., 2:].exp() * size_BQ2], dim=-1)


def _decoder_settings(size: Size) -> dict[str, Any]:
    """What both have in common: all but the backbone."""
    return {
        "d_model": size.width,
        "decoder_layers": size.decoder_layers,
        "decoder_ffn_dim": size.ffn,
        "decoder_self_attention_heads": size.heads,
        "decoder_cross_attention_heads": 2 * size.heads,
        "decoder_n_points": 2,
        "num_queries": size.queries,
        "group_detr": size.query_groups,
    }


@torch.no_grad()
def _init_lw_detr(model: Any) -> None:
    """Start as the published code does; transformers draws references at random and the heads of each group apart.

    Scores start at 0.01 and boxes at their references, which start at the proposals. All groups start with the same
    heads. Source: LW-DETR's release, `models/lwdetr.py`, `models/transformer.py` and `models/backbone/vit.py`.
    """
    inner = model.model
    init_vit(inner.backbone.backbone)
    for part in (inner.decoder, inner.enc_output):
        for name, weight in part.named_parameters():
            if weight.ndim > 1 and not name.endswith(("sampling_offsets.weight", "attention_weights.weight")):
                nn.init.xavier_uniform_(weight)
    nn.init.normal_(inner.query_feat.weight)
    nn.init.zeros_(inner.reference_point_embed.weight)
    nn.init.constant_(model.class_embed.bias, -math.log(1 / _PRIOR - 1))
    nn.init.zeros_(model.bbox_embed.layers[-1].weight)
    nn.init.zeros_(model.bbox_embed.layers[-1].bias)
    for class_head, box_head in zip(inner.enc_out_class_embed, inner.enc_out_bbox_embed, strict=True):
        class_head.load_state_dict(model.class_embed.state_dict())
        box_head.load_state_dict(model.bbox_embed.state_dict())
