"""A teacher with its methods: which of them are active in a step, and how much each counts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar, assert_never

from detrdistill.engine.gradient_share import updated_weight
from detrdistill.engine.teacher import AnyTeacher, Teacher
from detrdistill.methods.method import Method
from detrdistill.schema.run import SINGLE_TEACHER, teacher_title
from detrdistill.schema.weighting import GradientShareConfig, ScheduleConfig

Value = TypeVar("Value")


@dataclass(frozen=True)
class StepPosition:
    """Where in a training a step lies."""

    step: int
    """Steps done before it."""
    total_steps: int

    @property
    def fraction(self) -> float:
        """Share of the training done at the middle of the step, in (0, 1)."""
        return (self.step + 0.5) / self.total_steps


def schedule_factor(
    fraction: float, *, start: float, end: float, warmup: float, decay: Literal["none", "linear", "cosine"]
) -> float:
    """What multiplies a method's weight after a fraction of the training, in [0, 1]; see `ScheduleConfig`.

    A function of the fraction alone, so that a resumed run goes on as if it had not stopped.
    """
    if not start <= fraction < end:
        return 0.0
    if fraction < start + warmup:
        return (fraction - start) / warmup
    done = (fraction - start - warmup) / max(end - start - warmup, 1e-9)
    match decay:
        case "none":
            return 1.0
        case "linear":
            return 1 - done
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case _:
            assert_never(decay)


class ScheduledMethod:
    """A method in the course of a training.

    Args:
        method: what is computed.
        schedule: when, and how much it counts.
        gradient_share: what its weights are to follow; None: they stay as configured.

    Attributes:
        adapted: what multiplies the configured weights beside the schedule; the gradient share moves it.
    """

    def __init__(
        self, method: Method, schedule: ScheduleConfig | None = None, gradient_share: GradientShareConfig | None = None
    ):
        self.method = method
        self.adapted = 1.0
        self._gradient_share = gradient_share
        self._schedule = partial(schedule_factor, **(schedule or ScheduleConfig()).model_dump())

    def factor(self, position: StepPosition) -> float:
        """What multiplies the method's weights in a step; zero: it is not active."""
        return self._schedule(position.fraction)

    def weights(self, position: StepPosition) -> dict[str, float]:
        """Coefficient of every term the method can return, in a step."""
        factor = self.factor(position) * self.adapted
        return {name: factor * weight for name, weight in self.method.weights().items()}

    def is_measured(self, position: StepPosition) -> bool:
        """Whether its share of the gradient is to be measured in a step."""
        return self._gradient_share is not None and position.step % self._gradient_share.every == 0

    def adapt(self, share: float) -> None:
        """Take note of a measured share of the gradient."""
        assert self._gradient_share is not None, "a share was measured"
        self.adapted = updated_weight(self.adapted, share, self._gradient_share)


class TeacherSupervision:
    """A teacher, and the methods that distil it.

    Args:
        teacher: frozen.
        methods: what is distilled from it, each on its schedule.
        name: of the teacher in the configuration.
        several: there are other teachers; the name then begins the names of its terms.
    """

    def __init__(
        self,
        teacher: AnyTeacher,
        methods: Sequence[ScheduledMethod],
        name: str = SINGLE_TEACHER,
        *,
        several: bool = False,
    ):
        self.teacher = teacher
        self.methods = tuple(methods)
        self.name = name
        self.prefix = f"{name}." if several else ""

    @property
    def title(self) -> str:
        """Who it is, in a message about it."""
        if isinstance(self.teacher, Teacher) and self.teacher.is_average:
            return "the moving average of the student, its teacher,"
        return f"the {teacher_title(self.name)}"

    def named(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values by term, under names that no other teacher's terms have."""
        return {f"{self.prefix}{term}": value for term, value in values.items()}

    def active(self, position: StepPosition) -> list[ScheduledMethod]:
        """The methods that count in a step."""
        return [scheduled for scheduled in self.methods if scheduled.factor(position) > 0]
