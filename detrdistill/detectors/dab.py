"""DAB-DETR (arXiv 2201.12329): queries are boxes, which every layer refines."""

from typing import Any

import torch
from torch import Tensor
from transformers import DabDetrForObjectDetection

from detrdistill.boxes import inverse_sigmoid
from detrdistill.catalog import Size
from detrdistill.detectors.detector import Heads
from detrdistill.detectors.detr import Detr
from detrdistill.detectors.hooks import Decoding
from detrdistill.detectors.init import init_box_head, init_class_head


class DabDetr(Detr):
    """DAB-DETR: learned boxes as queries, their content zero; positions are computed from the boxes."""

    family = "dab-detr"
    model_class = DabDetrForObjectDetection
    processor_class = "ConditionalDetrImageProcessor"
    position_argument = None
    reference_argument = "query_position_embeddings"  # transformers' name for the logits of the boxes

    @classmethod
    def settings(cls, size: Size, image_size: int) -> dict[str, Any]:
        """As DETR, without dropout as published."""
        settings = super().settings(size, image_size)
        settings["hidden_size"] = settings.pop("d_model")
        return settings | {"dropout": 0.0}

    @property
    def width(self) -> int:
        """Channels of the queries and of the memory."""
        return self.model.config.hidden_size

    @property
    def reference_size(self) -> int:
        """Boxes."""
        return 4

    def heads(self, decoding: Decoding) -> Heads:
        """One head for all layers, relative to the box that each layer started from."""
        hidden_LBQD = decoding.output.intermediate_hidden_states
        start_LBQ4 = inverse_sigmoid(decoding.output.reference_points.float())
        return Heads(
            torch.stack([self.model.class_embed(hidden_BQD).float() for hidden_BQD in hidden_LBQD]),
            (self.model.bbox_predictor(hidden_LBQD).float() + start_LBQ4).sigmoid(),
            hidden_LBQD.float(),
        )

    def reference_argument_of(self, reference_BQK: Tensor) -> Tensor:
        """The decoder takes logits."""
        return inverse_sigmoid(reference_BQK)

    def reference_of_argument(self, argument_BQK: Tensor) -> Tensor:
        """The decoder takes logits."""
        return argument_BQK.sigmoid()

    def init_weights(self) -> None:
        """As DETR; scores start at 0.01, boxes as the queries."""
        super().init_weights()
        init_class_head(self.model.class_embed)
        init_box_head(self.model.bbox_predictor)
