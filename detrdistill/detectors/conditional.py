"""Conditional DETR (arXiv 2108.06152): queries attend around a point that their positional part gives."""

from torch import Tensor
from torch.nn.functional import pad
from transformers import ConditionalDetrForObjectDetection

from detrdistill.boxes import inverse_sigmoid
from detrdistill.detectors.detr import Detr
from detrdistill.detectors.hooks import Decoding
from detrdistill.detectors.init import init_box_head, init_class_head


class ConditionalDetr(Detr):
    """Conditional DETR: DETR with sigmoid scores and box centers relative to a point that the decoder derives."""

    family = "conditional-detr"
    model_class = ConditionalDetrForObjectDetection
    processor_class = "ConditionalDetrImageProcessor"

    @property
    def derives_reference(self) -> bool:
        """By a perceptron inside the decoder."""
        return True

    def initial_box_logits(self, decoding: Decoding) -> Tensor:
        """The points; width and height are absolute."""
        point_BQ2 = decoding.output.reference_points.transpose(0, 1).float()
        return pad(inverse_sigmoid(point_BQ2), (0, 2))

    def init_weights(self) -> None:
        """As DETR; scores start at 0.01, boxes around the points with half the image's width and height."""
        super().init_weights()
        init_class_head(self.model.class_labels_classifier)
        init_box_head(self.model.bbox_predictor)
