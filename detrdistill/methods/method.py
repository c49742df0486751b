"""The interface of a distillation method."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.matching import Assignment
from detrdistill.outputs import DetectorOutput, Queries, Targets

Group = Literal["concat", "second_decoder_pass", "second_pass"]


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
    """Coordinates of its reference points: 2 or 4."""


@dataclass(frozen=True)
class Signals:
    """Everything one training step offers to the methods. The teacher's tensors carry no gradient."""

    student: DetectorOutput
    teacher: DetectorOutput
    targets: Sequence[Targets]
    criterion: SetCriterion
    group: DetectorOutput | None = None
    """The student's predictions from the queries the method asked for."""

    @cached_property
    def teacher_assignment(self) -> Assignment:
        """Ground truth to teacher queries, in every teacher layer."""
        return self.criterion.match(self.teacher.logits_LBQC, self.teacher.boxes_LBQ4, self.targets)


class Method(nn.Module, ABC):
    """A distillation method. Its parameters are trained beside the student's and never exported."""

    name: str

    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """Coefficient of every term that `forward` can return."""

    @abstractmethod
    def forward(self, signals: Signals) -> dict[str, Tensor]:
        """Unweighted terms, named `<method>.<term>`."""

    def student_queries(self, teacher: DetectorOutput) -> tuple[Group, Queries] | None:
        """Queries to run through the student beside its own, and how; None: the method needs none."""
        del teacher
        return None
