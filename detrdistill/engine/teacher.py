"""The frozen teacher, and the gate it must pass."""

from dataclasses import replace

import torch
from torch import Tensor

from detrdistill.catalog import FamilyName
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import Coverage
from detrdistill.engine.black_box import BlackBoxTeacher
from detrdistill.engine.components import shape_of
from detrdistill.errors import TeacherRejected
from detrdistill.events import CocoMetrics
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.methods.method import DetectorShape
from detrdistill.outputs import DetectorOutput, Queries, of_classes


class Teacher:
    """A detector that only teaches.

    It is deliberately no `nn.Module`: nothing that walks over modules (train mode, optimiser, moving average,
    checkpoint) can reach it.

    Args:
        detector: in evaluation mode.
        columns: output index of each class of the dataset, None for a class that it does not know; other outputs
            have no influence.
        is_average: it is the moving average of the student's weights.
    """

    def __init__(self, detector: Detector, columns: tuple[int | None, ...], *, is_average: bool = False):
        self.is_average = is_average
        self.detector = detector.eval().requires_grad_(False)
        self.columns = columns

    @property
    def input_spec(self) -> Preprocessing:
        """What it looks at."""
        return self.detector.preprocessing

    @property
    def identity(self) -> FamilyName:
        """What `compatibility` needs to know."""
        return self.detector.family

    @property
    def shape(self) -> DetectorShape:
        """What methods need to know of it."""
        return shape_of(self.detector)

    @torch.no_grad()
    def __call__(self, pixels_BCHW: Tensor) -> DetectorOutput:
        """Run the teacher; its logits have one column per class of the dataset."""
        assert not self.detector.training, "the teacher must stay in evaluation mode"
        return self._mapped(self.detector(pixels_BCHW))

    @torch.no_grad()
    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """Run its decoder once more, with other queries over the memory of an earlier forward pass."""
        return self._mapped(self.detector.decode(output, queries))

    def detect(self, pixels_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections in the classes of the dataset."""
        return self.detector.detections(self(pixels_BCHW))

    def _mapped(self, output: DetectorOutput) -> DetectorOutput:
        """One column per class of the dataset; the column 'no object' of softmax scores stays the last."""
        return replace(output, logits_LBQC=of_classes(output.logits_LBQC, self.columns, output.scores))


AnyTeacher = Teacher | BlackBoxTeacher
"""A detector, or what only gives boxes and scores."""

BROKEN_TEACHER = (
    "Give another teacher: nothing can be learnt from NaN or infinity. A checkpoint may have been saved after its "
    "training diverged; an ONNX model must give finite logits and boxes for every query."
)
"""What to do about one."""


def check_teacher(
    metrics: CocoMetrics, min_ap: float, coverage: Coverage | None, pointer: str, *, unlike_training: str = ""
) -> None:
    """Refuse a teacher that does not detect on this data; a black box has no coverage.

    Args:
        metrics: on the validation set.
        min_ap: lowest AP.
        coverage: how completely its weights were loaded.
        pointer: where `min_ap` is declared.
        unlike_training: in what images reach it otherwise than in its training.

    Raises:
        TeacherRejected: with the measured AP and the likely cause.
    """
    if metrics.ap >= min_ap:
        return
    if coverage is None:
        cause = (
            "Check that its classes and boxes are those of this dataset: image and category ids of detections, or "
            "class names, scores and preprocessing of an ONNX model. If the number is right for this data, lower "
            "its min_ap."
        )
    elif coverage.missing:
        cause = (
            "Its weights are incomplete: the missing tensors stay at random values. Give a checkpoint of exactly "
            "this architecture, or fine-tune this one with a train job first."
        )
    else:
        cause = (
            "Fine-tune it on this dataset with a train job first, or check that class names and preprocessing are "
            "those it was trained with. If the number is right for this data, lower its min_ap."
        )
    if unlike_training:
        cause = f"Its images cannot be given as in its training yet. {cause}"
    measured = "" if coverage is None else f" {coverage}"
    raise TeacherRejected(
        f"The teacher scores AP {metrics.ap:.4f} (AP50 {metrics.ap50:.4f}) on the validation set, below the floor "
        f"of {min_ap}.{measured}{' ' if unlike_training else ''}{unlike_training}",
        hint=cause,
        pointer=pointer,
    )
