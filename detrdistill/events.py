"""What a run tells its caller while it works. One line of JSON per event; the schema of that line.

The engine emits these objects through its `report` callback. The worker writes them to rows, the command line
prints them; neither looks into the engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Role = Literal["teacher", "student", "control"]
Stage = Literal["prepare", "teacher_gate", "train_student", "train_control", "export"]


@dataclass(frozen=True)
class StageInfo:
    """A stage in words for people."""

    title: str
    activity: str
    """What the run does meanwhile."""


STAGES: Mapping[Stage, StageInfo] = MappingProxyType({
    "prepare": StageInfo("Prepare", "reading data and weights"),
    "teacher_gate": StageInfo("Teacher gate", "evaluating the teacher"),
    "train_student": StageInfo("Train student", "training the student"),
    "train_control": StageInfo("Train control", "training the control"),
    "export": StageInfo("Export and verify", "exporting and verifying"),
})  # fmt: skip
"""Every stage, in the order of a run; a run without a teacher or a control leaves theirs out."""


@dataclass(frozen=True)
class CurveInfo:
    """A training curve, or a group of them: `<name>` itself, or `<name>.<term>` for each term."""

    title: str
    terms: tuple[str, ...] = ()


_DETECTION_TERMS = ("classification", "l1", "giou", "fgl", "ddf")
CURVES: Mapping[str, CurveInfo] = MappingProxyType({
    "total": CurveInfo("Total loss"),
    "detection": CurveInfo("Detection loss", _DETECTION_TERMS),
    "proposal": CurveInfo("Proposals", _DETECTION_TERMS),
    "denoising": CurveInfo("Denoising", _DETECTION_TERMS),
    "lr": CurveInfo("Learning rate"),
    "grad_norm": CurveInfo("Gradient norm"),
    "images_per_second": CurveInfo("Images per second"),
})  # fmt: skip
"""The curves of every run, beside those of its methods, in the order to show them. `fgl` and `ddf` are there for
detectors alone whose boxes are distributions over bins."""

_FROZEN = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class CocoSummary(BaseModel):
    """The COCO numbers of one detector on one split over all classes; AP in [0, 1], -1 where no box has that size."""

    model_config = _FROZEN

    ap: float = Field(description="AP averaged over IoU 0.50:0.95")
    ap50: float = Field(description="AP at IoU 0.50")
    ap75: float = Field(description="AP at IoU 0.75")
    ap_small: float = Field(description="AP of boxes below 32x32 px")
    ap_medium: float = Field(description="AP of boxes from 32x32 to 96x96 px")
    ap_large: float = Field(description="AP of boxes above 96x96 px")
    ar1: float = Field(description="AR with one detection per image")
    ar10: float = Field(description="AR with ten detections per image")
    ar100: float = Field(description="AR with one hundred detections per image")


class CocoMetrics(CocoSummary):
    """The COCO numbers of one detector on one split, those of every class included."""

    per_class: dict[str, float] = Field(description="AP of each class by name, -1 where it has no box")


class StageChanged(BaseModel):
    """The run entered a stage.

    Where student and control are trained side by side, the stage is `train_student`, and `train_control` when the
    student is done and the control alone is left.
    """

    model_config = _FROZEN
    kind: Literal["stage"] = "stage"
    stage: Stage = Field(description="what the run does from now on")


class WeightsLoaded(BaseModel):
    """How completely a checkpoint filled a detector."""

    model_config = _FROZEN
    kind: Literal["weights_loaded"] = "weights_loaded"
    role: Role = Field(description="which detector")
    teacher: str | None = Field(default=None, description="name of the teacher, where the role is `teacher`")
    loaded: int = Field(description="tensors of the model that the file filled")
    total: int = Field(description="tensors of the model: weights and statistics, shared ones once")
    missing: tuple[str, ...] = Field(description="tensors the file lacks (left at their initial values)")
    unexpected: tuple[str, ...] = Field(description="tensors of the file the model has no place for")
    renamed: tuple[str, ...] = Field(default=(), description="what was changed in the names of the file")
    class_map: dict[str, str] = Field(
        default={}, description="the teacher's class names that were taken for differently spelled ones of the dataset"
    )


class StepLogged(BaseModel):
    """Means over the optimiser steps since the last such event."""

    model_config = _FROZEN
    kind: Literal["step"] = "step"
    role: Role = Field(description="which detector is trained")
    step: int = Field(description="optimiser steps done")
    total_steps: int = Field(description="optimiser steps of the whole training of this detector")
    epoch: float = Field(description="passes over the training set done, fractional")
    lr: float = Field(description="learning rate")
    grad_norm: float = Field(description="L2 norm before clipping")
    losses: dict[str, float] = Field(description="unweighted terms and `total`, the weighted sum")
    weights: dict[str, float] = Field(description="coefficient of each term in the last of these steps")
    images_per_second: float = Field(description="training images per second")
    progress: float = Field(description="fraction of the whole run's training steps done, in [0, 1]")
    eta_seconds: float = Field(description="estimated time to the end of the whole run")


class Evaluated(BaseModel):
    """COCO metrics of one detector on the validation set."""

    model_config = _FROZEN
    kind: Literal["evaluated"] = "evaluated"
    role: Role = Field(description="which detector")
    teacher: str | None = Field(default=None, description="name of the teacher, where the role is `teacher`")
    step: int = Field(description="optimiser steps done; 0 for the teacher")
    epoch: float = Field(description="passes over the training set done, fractional")
    metrics: CocoMetrics = Field(description="COCO metrics on the validation split")


class CheckpointSaved(BaseModel):
    """A resumable state is on disk."""

    model_config = _FROZEN
    kind: Literal["checkpoint"] = "checkpoint"
    role: Role = Field(description="which detector is trained")
    step: int = Field(description="optimiser steps done")
    file: str = Field(description="path below the run's work directory")
    sha256: str = Field(description="digest of the file")


class ModelReport(BaseModel):
    """One row of the final table."""

    model_config = _FROZEN

    metrics: CocoMetrics
    parameters: int | None = Field(description="null where they are not known: a black-box teacher")
    milliseconds_per_image: float | None = Field(
        description="median forward time at batch 1 on the run's device; null for a black-box teacher"
    )
    best_epoch: float | None = Field(description="epoch of the exported weights; null for the teacher")


class RunResult(BaseModel):
    """What the run found. The student's metrics were measured on the exported folder, loaded anew."""

    model_config = _FROZEN

    student: ModelReport
    teachers: dict[str, ModelReport] = Field(
        default={}, description="every teacher by its name in the configuration; not the student's own average"
    )
    control: ModelReport | None = Field(
        None, description="the same student without distillation; null: none was asked for"
    )
    kd_gain: float | None = Field(None, description="student AP minus control AP")
    verdict: str | None = Field(
        None,
        description="why the numbers are no success, as `learned nothing: ...` where the AP is below 0.01, with what "
        "to try; null where there is nothing to say",
    )
    device: str = Field(description="what it ran on")
    versions: dict[str, str] = Field(description="of the packages that decide the numbers")


class RunFinished(BaseModel):
    """The run is complete and its export folder is final."""

    model_config = _FROZEN
    kind: Literal["finished"] = "finished"
    result: RunResult = Field(description="what the run found")


class RunFailed(BaseModel):
    """The run ended with an error a retry will not cure."""

    model_config = _FROZEN
    kind: Literal["failed"] = "failed"
    code: str = Field(description="the kind of error, for programs")
    message: str = Field(description="what went wrong, in words for people")
    hint: str = Field(default="", description="what to do")
    pointer: str = Field(default="", description="JSON pointer to the field at fault, if there is one")


class RunStopped(BaseModel):
    """The run stopped on request; it can be resumed from its last checkpoint."""

    model_config = _FROZEN
    kind: Literal["stopped"] = "stopped"


Event = Annotated[
    StageChanged | WeightsLoaded | StepLogged | Evaluated | CheckpointSaved | RunFinished | RunFailed | RunStopped,
    Field(discriminator="kind"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Parses one line: `EVENT.validate_json(line)`."""

RUN_EVENTS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {model.model_fields["kind"].default: model for model in get_args(get_args(Event)[0])}
)
"""Every event of a run by its kind."""
