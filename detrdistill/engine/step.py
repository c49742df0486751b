"""One optimiser step: teacher, student, losses, backward. The place where the parts of the core meet."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrdistill.data.dataset import Batch
from detrdistill.data.transforms import DetectorInput
from detrdistill.detectors.detector import Detector
from detrdistill.engine.teacher import Teacher
from detrdistill.errors import Diverged
from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.methods.method import Asked, Method, Signals
from detrdistill.outputs import DetectorOutput, Targets


@dataclass(frozen=True)
class StepLosses:
    """Loss of one batch."""

    total: Tensor
    """Weighted sum, with its graph."""
    terms: dict[str, Tensor]
    """Unweighted terms, detached."""


class LossStep:
    """Computes the total loss of a batch: detection, plus what each method adds.

    Args:
        detector: the student (or control), in training mode.
        criterion: detection loss.
        methods: distillation methods; empty for plain training.
        teacher: required by methods.
        inputs: preprocessing of the student's and, after it, the teacher's pictures in a batch. One entry where
            both take the same.
        autocast: number type of the forward passes; None: float32.
    """

    def __init__(
        self,
        detector: Detector,
        criterion: SetCriterion,
        methods: Sequence[Method],
        teacher: Teacher | None,
        inputs: Sequence[DetectorInput],
        autocast: torch.dtype | None,
        device: torch.device,
    ):
        self.detector = detector
        self.criterion = criterion
        self.methods = methods
        self.teacher = teacher
        self.inputs = inputs
        self.autocast = autocast
        self.device = device
        self.weights = dict(criterion.weights())
        for method in methods:
            self.weights |= method.weights()

    def __call__(self, batch: Batch) -> StepLosses:
        """Forward pass and losses.

        Raises:
            Diverged: a term is not finite.
            KeyError: a term has no weight; nothing is dropped silently.
        """
        targets = [target.to(self.device) for target in batch.targets]
        pixels = [
            prepare.normalise(image.to(self.device, non_blocking=True))
            for prepare, image in zip(self.inputs, batch.images, strict=True)
        ]
        if self.teacher is None:
            with self._precision():
                student = self.detector(pixels[0], targets)
            terms = self.criterion(student, targets)
        else:
            terms = self._distilled(pixels[0], pixels[-1], targets, self.teacher)
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        if not torch.isfinite(total):
            wrong = [name for name, term in terms.items() if not torch.isfinite(term)]
            raise Diverged(
                f"The loss is not finite: {', '.join(wrong) or 'the sum of all terms'}.",
                hint="Lower training.lr or the weight of this term, or train with precision fp32.",
            )
        return StepLosses(total, {name: term.detach() for name, term in terms.items()})

    def _distilled(
        self, pixels_BCHW: Tensor, teacher_pixels_BCHW: Tensor, targets: Sequence[Targets], teacher: Teacher
    ) -> dict[str, Tensor]:
        with self._precision():
            taught = teacher(teacher_pixels_BCHW)
            wanted = [method.teacher_queries(taught) for method in self.methods]
            answered = [None if queries is None else teacher.decode(taught, queries) for queries in wanted]
            asked = [
                method.student_queries(taught, answer) for method, answer in zip(self.methods, answered, strict=True)
            ]
            student, groups = self._student(pixels_BCHW, targets, asked)
        terms = self.criterion(student, targets)
        signals = Signals(student, taught, targets, self.criterion)
        for method, group, answer in zip(self.methods, groups, answered, strict=True):
            terms |= method(signals.given(group, answer))
        return terms

    def _student(
        self, pixels_BCHW: Tensor, targets: Sequence[Targets], asked: Sequence[Asked | None]
    ) -> tuple[DetectorOutput, list[DetectorOutput | None]]:
        """Run the student on its own queries and on those that each method asks for."""
        beside = [wish.queries for wish in asked if wish is not None and wish.mode == "concat"]
        student = self.detector(pixels_BCHW, targets, beside=beside)
        shared = iter(student.groups)
        groups: list[DetectorOutput | None] = []
        for wish in asked:
            if wish is None:
                groups.append(None)
            elif wish.mode == "concat":
                groups.append(next(shared))
            elif wish.mode == "second_decoder_pass":
                groups.append(self.detector.decode(student, wish.queries))
            else:
                groups.append(self.detector(pixels_BCHW, instead=wish.queries))
        return student, groups

    def _precision(self) -> AbstractContextManager[object]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)


def freeze_batch_norms(module: nn.Module) -> None:
    """Put every batch norm in evaluation mode: statistics stay as they are. Scales and offsets still learn."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
