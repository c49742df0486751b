"""One optimiser step: teacher, student, losses, backward. The place where the parts of the core meet."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from detrdistill.data.dataset import Batch, Input, Source
from detrdistill.detectors.detector import Detector
from detrdistill.engine.finite import is_finite
from detrdistill.engine.gradient_share import Part
from detrdistill.engine.guide import Guide, Lesson, Moment
from detrdistill.engine.teacher import BROKEN_TEACHER, Teacher
from detrdistill.errors import Diverged
from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.methods.method import Asked, GroupMode, Signals
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
    measured: dict[Lesson, Part]
    """The lessons whose share of the gradient is to be measured."""


@dataclass(frozen=True)
class _Request:
    """What a lesson of this batch has asked for, before the student has run."""

    guide: Guide
    lesson: Lesson
    taught: DetectorOutput
    answer: DetectorOutput | None
    """The teacher's predictions from the queries that the method asked it for."""
    asked: Asked | None


class LossStep:
    """Computes the total loss of a batch: detection, plus what each method at work adds.

    Args:
        detector: the student (or control), in training mode.
        criterion: detection loss.
        guides: teachers with their methods; empty for plain training.
        inputs: what a batch shows of its pictures: the student's input, then those of teachers that take others.
        autocast: number type of the forward passes; None: float32.
        device: where it runs.
        role: whose loss it is.
    """

    def __init__(
        self,
        detector: Detector,
        criterion: SetCriterion,
        guides: Sequence[Guide],
        inputs: Sequence[Input],
        autocast: torch.dtype | None,
        device: torch.device,
        role: Literal["student", "control"] = "student",
    ):
        self.detector = detector
        self.criterion = criterion
        self.guides = guides
        self.inputs = inputs
        self.autocast = autocast
        self.device = device
        self.role = role

    def __call__(self, batch: Batch, moment: Moment | None = None) -> StepLosses:
        """Forward pass and losses.

        Args:
            batch: pictures and targets.
            moment: when in the training; None: at half of it, where every method of a default schedule is at work.

        Raises:
            Diverged: a term is not finite; it says who is to blame.
            KeyError: a term has no weight; nothing is dropped silently.
        """
        moment = moment or Moment()
        targets = [target.to(self.device) for target in batch.targets]
        views: dict[Source, Tensor] = {
            prepare.source: prepare.normalise(image.to(self.device, non_blocking=True))
            for prepare, image in zip(self.inputs, batch.images, strict=True)
        }
        with self._precision():
            requests = self._requests(views, moment)
            own_pixels_BCHW = views[self.detector.preprocessing]
            student, groups = self._student(own_pixels_BCHW, targets, [request.asked for request in requests])
        try:
            return self._losses(requests, student, groups, targets, moment)
        except Diverged as error:
            raise self._blamed(error, requests, student) from error

    def _losses(
        self,
        requests: Sequence[_Request],
        student: DetectorOutput,
        groups: Sequence[tuple[DetectorOutput, ...]],
        targets: Sequence[Targets],
        moment: Moment,
    ) -> StepLosses:
        terms = self.criterion(student, targets)
        weights = self.criterion.weights()
        signals = {request.guide: Signals(student, request.taught, targets, self.criterion) for request in requests}
        measured: dict[Lesson, Part] = {}
        for request, answered in zip(requests, groups, strict=True):
            guide, lesson = request.guide, request.lesson
            own = guide.named(lesson.method(signals[guide].given(answered, request.answer)))
            weights |= guide.named(lesson.weights(moment))
            terms |= own
            if lesson.is_measured(moment):
                factor = lesson.factor(moment)
                measured[lesson] = Part(_weighted_sum(own, weights) / factor, factor)
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

    def _blamed(self, error: Diverged, requests: Sequence[_Request], student: DetectorOutput) -> Diverged:
        """The same error, naming a teacher that gives NaN or infinity, else the detector that is trained."""
        for request in requests:
            guide = request.guide
            of_itself = isinstance(guide.teacher, Teacher) and guide.teacher.is_average and not is_finite(student)
            if not is_finite(request.taught) and not of_itself:
                return Diverged(
                    f"{guide.title[0].upper()}{guide.title[1:]} gives NaN or infinity on training images, so that the "
                    f"{self.role} cannot learn from it. {error.message}",
                    hint=BROKEN_TEACHER,
                )
        return Diverged(f"The {self.role} diverged. {error.message}", hint=error.hint, pointer=error.pointer)

    def _requests(self, views: Mapping[Source, Tensor], moment: Moment) -> list[_Request]:
        """Run the teachers of the lessons at work, and collect what these want to know of the student."""
        requests: list[_Request] = []
        for guide in self.guides:
            teacher, lessons = guide.teacher, guide.at_work(moment)
            if not lessons:
                continue
            taught = teacher(views[teacher.source])
            for lesson in lessons:
                queries = lesson.method.teacher_queries(taught)
                answer = None if queries is None else teacher.decode(taught, queries)
                requests.append(_Request(guide, lesson, taught, answer, lesson.method.student_queries(taught, answer)))
        return requests

    def _student(
        self, pixels_BCHW: Tensor, targets: Sequence[Targets], asked: Sequence[Asked | None]
    ) -> tuple[DetectorOutput, list[tuple[DetectorOutput, ...]]]:
        """Run the student on its own queries and on the groups of them that each method asks for."""
        wishes = [wish for wish in asked if wish is not None]
        beside = [queries for wish in wishes if wish.mode == "concat" for queries in wish.groups]
        again = any(wish.mode == "second_pass" for wish in wishes)
        student = self.detector(pixels_BCHW, targets, beside=beside, keep_maps=again)
        shared = iter(student.groups)

        def answer(mode: GroupMode, queries: Queries) -> DetectorOutput:
            match mode:
                case "concat":
                    return next(shared)
                case "second_decoder_pass":
                    return self.detector.decode(student, queries)
                case "second_pass":
                    return self.detector.second_pass(pixels_BCHW, student, queries)

        return student, [
            () if wish is None else tuple(answer(wish.mode, queries) for queries in wish.groups) for wish in asked
        ]

    def _precision(self) -> AbstractContextManager[object]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)


def _weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def freeze_batch_norms(module: nn.Module) -> None:
    """Put every batch norm in evaluation mode: statistics stay as they are. Scales and offsets still learn."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()
