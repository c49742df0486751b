"""The schema of how a method's weight changes in the course of training. Torch-free."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detrdistill.errors import FieldError

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ScheduleConfig(BaseModel):
    """When a method is at work, and how much it counts. Times are fractions of the student's training, in [0, 1].

    Outside `start` and `end` the method is not computed at all; while none is at work, neither is the teacher.
    """

    model_config = _STRICT

    start: float = Field(default=0.0, ge=0, lt=1)
    """When the method begins."""
    end: float = Field(default=1.0, gt=0, le=1)
    """When it ends."""
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Length of the linear rise from zero to the full weight, counted from `start`."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the weight falls from the end of the rise to zero at `end`."""

    @model_validator(mode="after")
    def _ordered(self) -> "ScheduleConfig":
        if self.start >= self.end:
            raise FieldError("start must come before end", pointer="/start")
        if self.warmup > self.end - self.start:
            raise FieldError("warmup must end before end", pointer="/warmup")
        return self


class GradientShareConfig(BaseModel):
    """Let a method's weight follow its share of the student's gradient (RT-DETRv4, arXiv 2510.25257).

    A share is the norm of the gradient of the method's weighted terms over that norm plus the norm of the gradient of
    everything else; a `schedule` multiplies the weight that is found. Each measurement costs a backward pass.
    """

    model_config = _STRICT

    target: float = Field(default=0.11, gt=0, lt=1)
    """Share to keep; as published, 0.11 to 0.20."""
    tolerance: float = Field(default=0.01, ge=0, lt=1)
    """The weight stays as it is within this distance of the target."""
    every: int = Field(default=50, ge=1, le=2**31 - 1)
    """Steps from one measurement to the next; the first is the first step."""
