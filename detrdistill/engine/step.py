"""The loss of one step: teachers, student, criterion and methods. The place where the parts of the core meet."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from detrdistill.data.dataset import Batch, InputSpec, InputTransform
from detrdistill.detectors.detector import Detector
from detrdistill.engine.finite import is_finite
from detrdistill.engine.gradient_share import Part
from detrdistill.engine.supervision import ScheduledMethod, StepPosition, TeacherSupervision
from detrdistill.engine.teacher import BROKEN_TEACHER, Teacher
from detrdistill.errors import Diverged
from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.methods.method import GroupMode, MethodInputs, QueryRequest, TeacherAssignments
from detrdistill.outputs import DetectorOutput, Queries, Targets


@dataclass(frozen=True)
class StepLosses:
    """Loss of one batch."""

    total: Tensor
    """Weighted sum, with its graph."""
    terms: dict[str, Tensor]
    """Unweighted terms, detached."""
    weights: dict[str, float]
    """Coefficient of each term."""
    measured: dict[ScheduledMethod, Part]
    """The methods whose share of the gradient is to be measured."""


@dataclass(frozen=True)
class _ActiveMethod:
    """A method that counts for this batch, and what it has requested before the student runs."""

    supervision: TeacherSupervision
    scheduled: ScheduledMethod
    teacher_output: DetectorOutput
    teacher_predictions: DetectorOutput | None
    """The teacher's predictions from the queries that the method has requested of it."""
    request: QueryRequest | None


class LossStep:
    """Computes the total loss of a batch: detection, plus what each active method adds.

    Args:
        detector: the student (or control), in training mode.
        criterion: detection loss.
        supervisions: teachers with their methods; empty for plain training.
        transforms: of the inputs that a batch holds: the student's, then those of teachers that take others.
        autocast: number type of the forward passes; None: float32.
        device: where it runs.
        role: whose loss it is.
    """

    def __init__(
        self,
        detector: Detector,
        criterion: SetCriterion,
        supervisions: Sequence[TeacherSupervision],
        transforms: Sequence[InputTransform],
        autocast: torch.dtype | None,
        device: torch.device,
        role: Literal["student", "control"] = "student",
    ):
        self.detector = detector
        self.criterion = criterion
        self.supervisions = supervisions
        self.transforms = transforms
        self.autocast = autocast
        self.device = device
        self.role = role

    def __call__(self, batch: Batch, position: StepPosition) -> StepLosses:
        """Forward pass and losses.

        Args:
            batch: images and targets.
            position: where in the training; it says which methods are active.

        Raises:
            Diverged: a term is not finite; it says who is to blame.
            KeyError: a term has no weight; nothing is dropped silently.
        """
        targets = [target.to(self.device) for target in batch.targets]
        inputs: dict[InputSpec, Tensor] = {
            transform.spec: transform.normalise(values.to(self.device, non_blocking=True))
            for transform, values in zip(self.transforms, batch.inputs, strict=True)
        }
        with self._precision():
            active = self._active_methods(inputs, position)
            pixels_BCHW = inputs[self.detector.preprocessing]
            student, extra = self._student(pixels_BCHW, targets, [method.request for method in active])
        try:
            return self._losses(active, student, extra, targets, position)
        except Diverged as error:
            raise self._blamed(error, active, student) from error

    def _losses(
        self,
        active: Sequence[_ActiveMethod],
        student: DetectorOutput,
        extra: Sequence[tuple[DetectorOutput, ...]],
        targets: Sequence[Targets],
        position: StepPosition,
    ) -> StepLosses:
        """Terms of the detection loss and of every active method; `extra` holds what each has requested."""
        terms = self.criterion(student, targets)
        weights = self.criterion.weights()
        offered = {method.supervision: self._inputs(student, method.teacher_output, targets) for method in active}
        measured: dict[ScheduledMethod, Part] = {}
        for method, predictions in zip(active, extra, strict=True):
            supervision, scheduled = method.supervision, method.scheduled
            inputs = offered[supervision].with_extra(predictions, method.teacher_predictions)
            own = supervision.named(scheduled.method(inputs))
            weights |= supervision.named(scheduled.weights(position))
            terms |= own
            if scheduled.is_measured(position):
                factor = scheduled.factor(position)
                measured[scheduled] = Part(_weighted_sum(own, weights) / factor, factor)
        total = _weighted_sum(terms, weights)
        if not torch.isfinite(total):
            wrong = [name for name, term in terms.items() if not torch.isfinite(term)]
            raise Diverged(
                f"The loss is not finite: {', '.join(wrong) or 'the sum of all terms'}.",
                hint="Lower training.lr or the weight of this term, or train with precision fp32.",
            )
        return StepLosses(
            total,
            {name: term.detach() for name, term in terms.items()},
            {name: weights[name] for name in terms},
            measured,
        )

    def _inputs(self, student: DetectorOutput, teacher: DetectorOutput, targets: Sequence[Targets]) -> MethodInputs:
        """What all methods of one teacher are offered."""
        assignments = TeacherAssignments(self.criterion, teacher, targets)
        return MethodInputs(student, teacher, targets, self.criterion, assignments)

    def _blamed(self, error: Diverged, active: Sequence[_ActiveMethod], student: DetectorOutput) -> Diverged:
        """The same error, naming a teacher that gives NaN or infinity, else the detector that is trained."""
        for method in active:
            supervision = method.supervision
            teacher = supervision.teacher
            of_itself = isinstance(teacher, Teacher) and teacher.is_average and not is_finite(student)
            if not is_finite(method.teacher_output) and not of_itself:
                return Diverged(
                    f"{supervision.title[0].upper()}{supervision.title[1:]} gives NaN or infinity on training images, "
                    f"so that the {self.role} cannot learn from it. {error.message}",
                    hint=BROKEN_TEACHER,
                )
        return Diverged(f"The {self.role} diverged. {error.message}", hint=error.hint)

    def _active_methods(self, inputs: Mapping[InputSpec, Tensor], position: StepPosition) -> list[_ActiveMethod]:
        """Run the teachers of the active methods, and collect what these request of teacher and student."""
        found: list[_ActiveMethod] = []
        for supervision in self.supervisions:
            teacher, active = supervision.teacher, supervision.active(position)
            if not active:
                continue
            output = teacher(inputs[teacher.input_spec])
            for scheduled in active:
                method = scheduled.method
                queries = method.teacher_queries(output)
                predictions = None if queries is None else teacher.decode(output, queries)
                request = method.student_queries(output, predictions)
                found.append(_ActiveMethod(supervision, scheduled, output, predictions, request))
        return found

    def _student(
        self, pixels_BCHW: Tensor, targets: Sequence[Targets], requests: Sequence[QueryRequest | None]
    ) -> tuple[DetectorOutput, list[tuple[DetectorOutput, ...]]]:
        """Run the student on its own queries, and on the groups of queries that each request holds."""
        made = [request for request in requests if request is not None]
        extra_queries = [queries for request in made if request.mode == "concat" for queries in request.queries]
        again = any(request.mode == "second_pass" for request in made)
        student = self.detector(pixels_BCHW, targets, extra_queries=extra_queries, keep_maps=again)
        concatenated = iter(student.extra_groups)

        def predictions(mode: GroupMode, queries: Queries) -> DetectorOutput:
            match mode:
                case "concat":
                    return next(concatenated)
                case "second_decoder_pass":
                    return self.detector.decode(student, queries)
                case "second_pass":
                    return self.detector.second_pass(pixels_BCHW, student, queries)

        return student, [
            () if request is None else tuple(predictions(request.mode, queries) for queries in request.queries)
            for request in requests
        ]

    def _precision(self) -> AbstractContextManager[object]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)


def _weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()
