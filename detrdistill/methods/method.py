"""The interface of a distillation method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal

from torch import Tensor, nn

from detrdistill.catalog import Scores
from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.matching import Assignment
from detrdistill.outputs import DetectorOutput, Queries, Targets

GroupMode = Literal["concat", "second_decoder_pass", "second_pass"]
"""How an extra group of queries runs through the student: beside its own queries in one decoder pass, in a second
decoder pass over the same memory, or in a second pass of the same feature maps through encoder and decoder. Equal
without dropout."""


@dataclass(frozen=True)
class DetectorShape:
    """What a method needs to know of a detector before it has seen an output."""

    width: int
    """Channels of queries and memory."""
    layers: int
    """Decoder layers."""
    image_height: int
    """Rows of its input in pixels."""
    neck_widths: tuple[int, ...]
    """Channels of each level before the encoder."""
    neck_strides: tuple[int, ...]
    memory_strides: tuple[int, ...]
    has_position: bool
    """Its queries have a positional part of their own."""
    derives_reference: bool
    """It computes initial reference points from the positional part."""
    reference_size: int
    """Coordinates of its reference points: 2 or 4; 0 where it takes none."""
    scores: Scores = "sigmoid"


@dataclass(frozen=True)
class QueryRequest:
    """Queries that a method wants the student to answer, and how they run."""

    mode: GroupMode
    queries: tuple[Queries, ...]
    """Groups of queries; each is answered without sight of the others."""


class TeacherAssignments:
    """Ground truth to teacher queries, in every teacher layer: solved once a step for all methods, when first asked."""

    def __init__(self, criterion: SetCriterion, teacher: DetectorOutput, targets: Sequence[Targets]):
        self._solve = partial(criterion.match, teacher.logits_LBQC, teacher.boxes_LBQ4, targets, teacher.scores)

    @cached_property
    def solved(self) -> Assignment:
        """Pairs of all layers and images."""
        return self._solve()


@dataclass(frozen=True)
class MethodInputs:
    """Everything one training step offers to a method. The teacher's tensors carry no gradient."""

    student: DetectorOutput
    teacher: DetectorOutput
    targets: Sequence[Targets]
    criterion: SetCriterion
    assignments: TeacherAssignments
    """Of this teacher."""
    extra_predictions: tuple[DetectorOutput, ...] = ()
    """The student's predictions from each group of queries that the method has requested."""
    teacher_predictions: DetectorOutput | None = None
    """The teacher's predictions from the queries that the method has requested of it."""

    def with_extra(
        self, extra_predictions: tuple[DetectorOutput, ...], teacher_predictions: DetectorOutput | None
    ) -> "MethodInputs":
        """The same inputs, with the predictions that one method has requested."""
        return replace(self, extra_predictions=extra_predictions, teacher_predictions=teacher_predictions)

    @property
    def teacher_assignment(self) -> Assignment:
        """Ground truth to teacher queries, in every teacher layer."""
        return self.assignments.solved


class Method(nn.Module, ABC):
    """A distillation method. Its parameters are trained beside the student's and never exported."""

    name: str

    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """Coefficient of every term that `forward` can return."""

    @abstractmethod
    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """Unweighted terms, named `<method>.<term>`."""

    def teacher_queries(self, teacher: DetectorOutput) -> Queries | None:
        """Queries to run through the teacher beside its own; None: the method needs none."""
        del teacher
        return None

    def student_queries(
        self, teacher: DetectorOutput, teacher_predictions: DetectorOutput | None
    ) -> QueryRequest | None:
        """Queries to run through the student beside its own; None: the method needs none.

        Args:
            teacher: its own predictions.
            teacher_predictions: its predictions from what `teacher_queries` has requested.
        """
        del teacher, teacher_predictions
        return None
