"""Errors a user can act on. Each says what is wrong, where, and what to do.

Every error carries a stable `code` (the API turns it into a problem type), a `hint` and, where one input is to blame, a
JSON pointer (RFC 6901): `pointer` into the configuration of the run, or `path_pointer` into its paths. Who has read
them from a larger document puts before a pointer where they are in it: `/config`, `/paths`, or a field of a request.
"""

from typing import ClassVar


class DetrDistillError(Exception):
    """Root of all errors raised on purpose."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, hint: str = "", pointer: str = "", path_pointer: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.pointer = pointer
        self.path_pointer = path_pointer

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class FieldError(ValueError):
    """A fault that a check of the schema finds; pydantic takes only `ValueError`. The pointer is relative to the
    object that is checked."""

    def __init__(self, message: str, *, hint: str = "", pointer: str = ""):
        super().__init__(message)
        self.hint = hint
        self.pointer = pointer

    @classmethod
    def of(cls, error: DetrDistillError, pointer: str | None = None) -> "FieldError":
        """An error of the core, seen as the fault of one field; as it says itself, unless a pointer is given."""
        return cls(error.message, hint=error.hint, pointer=error.pointer if pointer is None else pointer)


class ConfigError(DetrDistillError):
    """The configuration asks for something that does not exist or does not fit together."""

    code = "config_invalid"


class BackboneUntrained(ConfigError):
    """The training is that of a trained backbone, and the student is new: its weights are random."""

    code = "backbone_untrained"


class DatasetError(DetrDistillError):
    """The dataset cannot be read as COCO detection data, or has nothing to train on."""

    code = "dataset_invalid"


class CheckpointError(DetrDistillError):
    """The checkpoint is not a detector that can be loaded, or does not fit the dataset."""

    code = "checkpoint_invalid"


class PartialCheckpoint(CheckpointError):
    """The checkpoint leaves too much of its detector at random values, and the run does not say that this is meant."""

    code = "checkpoint_partial"


class ClassNamesDiffer(CheckpointError):
    """A class of the dataset is not among the teacher's, by name."""

    code = "class_names_differ"


class TeacherRejected(DetrDistillError):
    """The teacher gate measured an AP below the teacher's `min_ap`."""

    code = "teacher_below_floor"


class Diverged(DetrDistillError):
    """A loss term, a gradient, a weight or a detection is NaN or infinite."""

    code = "diverged"


class Stopped(DetrDistillError):
    """The caller asked the run to stop; a checkpoint was written and the run can be resumed."""

    code = "stopped"


class TrainingProcessLost(DetrDistillError):
    """A process of the run ended before it could say why; started again, the run resumes."""

    code = "training_process_lost"
