"""Deformable DETR (arXiv 2010.04159), the family of the method's published code."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DeformableDetrForObjectDetection, PreTrainedModel

from detrdistill.boxes import inverse_sigmoid
from detrdistill.catalog import Size
from detrdistill.detectors.backbones import classic_backbone
from detrdistill.detectors.detector import Detector, Heads
from detrdistill.detectors.groups import unflatten
from detrdistill.detectors.hooks import Decoding
from detrdistill.detectors.init import init_box_head, init_class_head, init_xavier
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.outputs import Prediction, Queries, Targets


class DeformableDetr(Detector):
    """Deformable DETR: one-stage with learned queries, box refinement, or two-stage."""

    family = "deformable-detr"
    model_class = DeformableDetrForObjectDetection
    processor_class = "DeformableDetrImageProcessor"
    position_argument = "object_queries_position_embeddings"
    modules_before_encoder = ("backbone", "input_proj")

    def __init__(self, model: PreTrainedModel, preprocessing: Preprocessing):
        super().__init__(model, preprocessing)
        self.slow_layers = ("sampling_offsets",) if self._two_stage else ("sampling_offsets", "model.reference_points")

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """Four feature levels."""
        del image_size
        return {
            "backbone_config": classic_backbone(size.backbone, ("stage2", "stage3", "stage4")),
            "d_model": size.width,
            "encoder_layers": size.encoder_layers,
            "encoder_ffn_dim": size.ffn,
            "encoder_attention_heads": size.heads,
            "decoder_layers": size.decoder_layers,
            "decoder_ffn_dim": size.ffn,
            "decoder_attention_heads": size.heads,
            "num_queries": size.queries,
            "with_box_refine": size.box_refinement,
            "two_stage": size.two_stage,
            "two_stage_num_proposals": size.queries,
            "num_feature_levels": 4,
        }

    @property
    def _two_stage(self) -> bool:
        return self.model.config.two_stage

    @property
    def reference_size(self) -> int:
        """Boxes in the two-stage variant, else points."""
        return 4 if self._two_stage else 2

    @property
    def derives_reference(self) -> bool:
        """The one-stage variant has a linear layer for it."""
        return not self._two_stage

    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its loss."""
        del targets
        return self.model.model(pixel_values=pixels_BCHW)

    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """All projected levels, before position embeddings are added."""

        def before_encoder(_: nn.Module, __: tuple[Any, ...], call: dict[str, Any]) -> None:
            found(unflatten(call["inputs_embeds"], call["spatial_shapes_list"]))

        return self.model.model.encoder.register_forward_pre_hook(before_encoder, with_kwargs=True)

    def heads(self, decoding: Decoding) -> Heads:
        """Apply the heads of each layer relative to the reference it started from."""
        call, decoder_output = decoding.call, decoding.output
        hidden_LBQD = decoder_output.intermediate_hidden_states.transpose(0, 1)
        references = [call["reference_points"], *decoder_output.intermediate_reference_points.unbind(1)[:-1]]
        logits, boxes = [], []
        for layer, (hidden_BQD, reference_BQK) in enumerate(zip(hidden_LBQD, references, strict=True)):
            logits.append(self.model.class_embed[layer](hidden_BQD).float())
            offset_BQ4 = self.model.bbox_embed[layer](hidden_BQD).float()
            start_BQK = inverse_sigmoid(reference_BQK.float())
            missing = 4 - start_BQK.shape[-1]
            boxes.append((offset_BQ4 + torch.nn.functional.pad(start_BQK, (0, missing))).sigmoid())
        return Heads(torch.stack(logits), torch.stack(boxes), hidden_LBQD.float())

    def proposals(self, raw: Any) -> Prediction | None:
        """Every token's class-agnostic proposal, in the two-stage variant."""
        if raw.enc_outputs_class is None:
            return None
        return Prediction(
            raw.enc_outputs_class.float(), raw.enc_outputs_coord_logits.float().sigmoid(), class_agnostic=True
        )

    def completed(self, queries: Queries) -> Queries:
        """Derive missing references from the positional part, as the one-stage model does for its own."""
        position_BQD, reference_BQK = queries.position_BQD, queries.reference_BQK
        if reference_BQK is None and position_BQD is not None and self.derives_reference:
            reference_BQK = self.model.model.reference_points(position_BQD).sigmoid()
        if reference_BQK is not None:
            reference_BQK = reference_BQK[..., : self.reference_size]
        return super().completed(replace(queries, reference_BQK=reference_BQK))

    def is_class_agnostic(self, name: str) -> bool:
        """The head behind those of the decoder layers scores the proposals."""
        return self._two_stage and f"class_embed.{self.layers}." in name

    def init_weights(self) -> None:
        """Xavier's distribution in the transformer, learned queries of variance one, heads of each layer's own.

        Scores start at 0.01, boxes at the references: around a point with a width and height of sigmoid(-2) = 0.12.
        `transformers` ties the class heads of a refining decoder; those published are its layers' own.
        """
        model, refines = self.model.model, self.model.config.with_box_refine
        for transformer in (model.encoder, model.decoder):
            init_xavier(transformer)
            for module in transformer.modules():
                if hasattr(module, "sampling_offsets"):
                    self.model._init_weights(module)  # has a start of its own
        for convolution, _ in model.input_proj:
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        if self._two_stage:
            init_xavier(model.enc_output)
            init_xavier(model.pos_trans)
        else:
            model.query_position_embeddings.reset_parameters()
            if refines:
                self.model.class_embed = nn.ModuleList(deepcopy(head) for head in self.model.class_embed)
        heads: Any = zip(self.model.class_embed, self.model.bbox_embed, strict=True)
        for layer, (class_head, box_head) in enumerate(heads):
            init_class_head(class_head)
            from_point = not self._two_stage and (layer == 0 or not refines)
            init_box_head(box_head, size_logit=-2.0 if from_point else 0.0)
