"""The schema of how a method's weight changes in the course of training. Torch-free."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Schedule(BaseModel):
    """When a method is at work, and how much it counts. Times are fractions of the student's training, in [0, 1].

    Outside `start` and `end` the method is not computed at all; while none is at work, neither is the teacher.
    """

    model_config = _STRICT

    start: float = Field(default=0.0, ge=0, lt=1)
    end: float = Field(default=1.0, gt=0, le=1)
    warmup: float = Field(default=0.0, ge=0, le=1)
    """Length of the linear rise from zero to the full weight, counted from `start`."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the weight falls from the end of the rise to zero at `end`."""

    @model_validator(mode="after")
    def _ordered(self) -> "Schedule":
        if self.start >= self.end:
            raise ValueError("start must come before end")
        if self.warmup > self.end - self.start:
            raise ValueError("warmup must end before end")
        return self
