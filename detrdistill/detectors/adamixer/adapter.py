"""AdaMixer behind the project's interface."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import layer_norm
from torch.utils.hooks import RemovableHandle

from detrdistill.catalog import Size
from detrdistill.detectors.adamixer import AdaMixerForObjectDetection
from detrdistill.detectors.backbones import classic_backbone
from detrdistill.detectors.detector import Detector, Heads
from detrdistill.detectors.hooks import Decoding
from detrdistill.outputs import Queries, Targets


class AdaMixer(Detector):
    """AdaMixer: it has no encoder, so that the neck's maps are what the decoder samples."""

    family = "adamixer"
    model_class = AdaMixerForObjectDetection
    processor_class = "DeformableDetrImageProcessor"
    modules_before_encoder = ("backbone", "neck")

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """All four stages of the backbone."""
        del image_size
        return {
            "backbone_config": classic_backbone(size.backbone, ("stage1", "stage2", "stage3", "stage4")),
            "num_queries": size.queries,
            "d_model": size.width,
            "decoder_layers": size.decoder_layers,
            "decoder_attention_heads": size.heads,
            "decoder_ffn_dim": size.ffn,
            "in_points": size.points[0],
            "out_points": size.points[1],
        }

    @property
    def reference_size(self) -> int:
        """Boxes."""
        return 4

    def run_model(self, pixels_BCHW: Tensor, targets: Sequence[Targets] | None) -> Any:
        """Call the model."""
        del targets
        return self.model.model(pixels_BCHW)

    def watch_neck(self, found: Callable[[tuple[Tensor, ...]], None]) -> RemovableHandle:
        """All projected levels."""

        def after_neck(_: nn.Module, __: tuple[Any, ...], features: list[Tensor]) -> None:
            found(tuple(features))

        return self.model.model.neck.register_forward_hook(after_neck)

    def heads(self, decoding: Decoding) -> Heads:
        """The decoder applies its heads itself."""
        output = decoding.output
        return Heads(
            output.intermediate_logits.transpose(0, 1).float(),
            output.intermediate_boxes.transpose(0, 1).float(),
            output.intermediate_hidden_states.transpose(0, 1).float(),
        )

    def completed(self, queries: Queries) -> Queries:
        """Foreign content goes through the layer norm that the model gives its own."""
        content_BQD = queries.content_BQD
        return replace(super().completed(queries), content_BQD=layer_norm(content_BQD, content_BQD.shape[-1:]))

    def memory_maps(self, call: Mapping[str, Any], neck: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The neck's maps."""
        del call
        return neck
