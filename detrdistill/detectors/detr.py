"""DETR (arXiv 2005.12872) and Table Transformer (arXiv 2110.00061), its variant that normalises before attention."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DetrForObjectDetection, TableTransformerForObjectDetection

from detrdistill.catalog import Size
from detrdistill.detectors.backbones import classic_backbone
from detrdistill.detectors.detector import Detector, Heads
from detrdistill.detectors.groups import unflatten
from detrdistill.detectors.hooks import Decoding
from detrdistill.detectors.init import init_xavier
from detrdistill.outputs import Targets


class Detr(Detector):
    """DETR: one feature level; queries are learned positions, their content is zero.

    `transformers`' `auxiliary_loss` stays off in new detectors: it feeds the last normalisation back into the next
    layer, which is another network.
    """

    family = "detr"
    model_class = DetrForObjectDetection
    processor_class = "DetrImageProcessor"
    position_argument = "object_queries_position_embeddings"
    reference_argument = None
    modules_before_encoder = ("backbone", "input_projection")

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """What the detectors of one feature level have in common."""
        del image_size
        return {
            "backbone_config": classic_backbone(size.backbone, ("stage4",)),
            "d_model": size.width,
            "encoder_layers": size.encoder_layers,
            "encoder_ffn_dim": size.ffn,
            "encoder_attention_heads": size.heads,
            "decoder_layers": size.decoder_layers,
            "decoder_ffn_dim": size.ffn,
            "decoder_attention_heads": size.heads,
            "num_queries": size.queries,
        }

    @property
    def reference_size(self) -> int:
        """Boxes are absolute."""
        return 0

    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model below its loss."""
        del targets
        return self.model.model(pixel_values=pixels_BCHW)

    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """The projected map of the backbone's last stage."""

        def after_projection(_: nn.Module, __: tuple[Any, ...], feature_BDHW: Tensor) -> None:
            found((feature_BDHW,))

        return self.model.model.input_projection.register_forward_hook(after_projection)

    def heads(self, decoding: Decoding) -> Heads:
        """The heads of the last layer, applied to every layer after the decoder's last normalisation.

        `transformers` normalises the last layer only.
        """
        earlier = [self.model.model.decoder.layernorm(hidden_BQD) for hidden_BQD in decoding.layers[:-1]]
        hidden_LBQD = torch.stack([*earlier, decoding.output.last_hidden_state])
        start = self.initial_box_logits(decoding)
        logits = [self.model.class_labels_classifier(hidden_BQD).float() for hidden_BQD in hidden_LBQD]
        boxes = [(self.model.bbox_predictor(hidden_BQD).float() + start).sigmoid() for hidden_BQD in hidden_LBQD]
        return Heads(torch.stack(logits), torch.stack(boxes), hidden_LBQD.float())

    def initial_box_logits(self, decoding: Decoding) -> Tensor | float:
        """Logits `[B, Q, 4]` that the box head's output is added to."""
        del decoding
        return 0.0

    def memory_maps(self, call: Mapping[str, Any], neck: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The encoder keeps the grid of the neck."""
        return unflatten(call["encoder_hidden_states"], [(neck[0].shape[-2], neck[0].shape[-1])])

    def init_weights(self) -> None:
        """Xavier's distribution in the transformer, queries of variance one."""
        model = self.model.model
        init_xavier(model.encoder)
        init_xavier(model.decoder)
        model.input_projection.reset_parameters()
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.reset_parameters()


class TableTransformer(Detr):
    """Table Transformer: DETR that normalises before attention instead of after it."""

    family = "table-transformer"
    model_class = TableTransformerForObjectDetection
    position_argument = "query_position_embeddings"
