"""What the job routes take and give."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.forms import PLAIN_TEXT
from api.jobs.files import JobFile
from api.jobs.models import EvaluationRow, Job
from api.jobs.pointers import teacher_pointer
from api.jobs.states import JobState
from api.pagination import Page
from detrdistill.errors import FieldError
from detrdistill.events import CocoMetrics, CocoSummary, ModelReport, Role, RunResult, Stage
from detrdistill.schema.run import MAX_TEACHERS, SINGLE_TEACHER, DistillConfig, RunConfig, TeacherName

_ROW = ConfigDict(frozen=True, extra="ignore")
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=PLAIN_TEXT)]


class JobCreate(BaseModel):
    """A job to be run."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="for people; need not be unique", examples=["digits: nano to pico"])
    dataset_id: UUID = Field(description="dataset to train and evaluate on")
    teacher_ids: dict[TeacherName, UUID] = Field(
        default={},
        max_length=MAX_TEACHERS,
        description="checkpoint of each of `config.teachers`, by name; a teacher whose source is `ema` has none",
    )
    teacher_id: UUID | None = Field(
        default=None,
        description=f"short form for a single teacher, the one called `{SINGLE_TEACHER}`: its checkpoint",
    )
    student_id: UUID | None = Field(
        default=None,
        description="checkpoint the student starts from; give this or `config.student`, not both",
    )
    allow_partial: bool = Field(
        default=False,
        description="take checkpoints that leave a part of their detector at random values; as `config.allow_partial`",
    )
    max_runtime_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        strict=True,
        description="longest time that all attempts together may run; then the job ends with the code `max_runtime`, "
        "keeping its best weights and a checkpoint. null: no limit",
    )
    config: RunConfig = Field(description="what to do; `kind` chooses between training and distillation")

    @model_validator(mode="after")
    def _expand(self) -> Self:
        if self.allow_partial:
            self.config = self.config.model_copy(update={"allow_partial": True})
        if self.teacher_id is not None:
            if self.teacher_ids:
                raise FieldError(
                    "the short form is for a single teacher; move it into teacher_ids", pointer="/teacher_id"
                )
            self.teacher_ids = {SINGLE_TEACHER: self.teacher_id}
        return self

    def as_given(self, pointer: str) -> str:
        """A pointer in the long form as one into the document that was sent."""
        if pointer == teacher_pointer(SINGLE_TEACHER) and (self.teacher_id is not None or not self.teacher_ids):
            return "/teacher_id"
        if pointer.startswith("/config/") and isinstance(self.config, DistillConfig):
            return "/config" + self.config.as_given(pointer.removeprefix("/config"))
        return pointer


class JobRetry(BaseModel):
    """How to run a job again."""

    model_config = ConfigDict(extra="forbid")

    begin: Literal["checkpoint", "start"] = Field(
        default="checkpoint",
        alias="from",
        description="`checkpoint`: go on from the newest one; `start`: forget what earlier attempts have done",
    )


class JobError(BaseModel):
    """Why a job ended, or had to be started again."""

    code: str = Field(examples=["teacher_below_floor"])
    message: str
    hint: str = ""
    pointer: str = Field(default="", description="JSON pointer into the request that made the job, if one is to blame")


class MetricsSummary(CocoSummary):
    """The COCO numbers of one detector, without the AP of each class."""

    model_config = _ROW


class ModelSummary(ModelReport):
    """One row of the final table, without the AP of each class."""

    model_config = _ROW
    metrics: MetricsSummary  # pyright: ignore[reportIncompatibleVariableOverride]  fewer fields, on purpose


class ResultSummary(RunResult):
    """What the run found, without the AP of each class."""

    model_config = _ROW
    student: ModelSummary  # pyright: ignore[reportIncompatibleVariableOverride]
    teachers: dict[str, ModelSummary] = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default={}, description="every teacher by its name in the configuration"
    )
    control: ModelSummary | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class JobView(BaseModel):
    """A job, as a list shows it."""

    id: UUID
    name: str
    kind: Literal["train", "distill"]
    state: JobState
    waiting_for: list[str] = Field(
        description="pointers to the dataset and checkpoints that are still being checked; the job is held meanwhile"
    )
    cancel_requested: bool = Field(description="a running job that was asked to stop")
    stage: Stage | None = Field(description="what a running job is doing")
    progress: float = Field(description="share of all training steps done, in [0, 1]")
    eta_seconds: float | None = Field(description="estimated time to the end of a running job")
    attempt: int = Field(description="how often it was started")
    attempts_without_progress: int = Field(
        description="how often it was started since its last checkpoint or finished stage; after three it is given up"
    )
    max_runtime_seconds: float | None = Field(description="longest time that all attempts together may run")
    worker: str | None
    dataset_id: UUID
    teacher_ids: dict[str, UUID] = Field(description="checkpoint of each teacher by its name in `config.teachers`")
    student_id: UUID | None
    ap: dict[Role, float] = Field(description="highest AP so far of teachers, student and control")
    error: JobError | None
    result: ResultSummary | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, ap: dict[str, float], **more: Any) -> Self:
        """The view of a row."""
        fields = {name: getattr(job, name) for name in JobView.model_fields if name != "ap"}
        return cls.model_validate(fields | {"ap": ap} | more)


class JobDetail(JobView):
    """A job with its configuration."""

    result: RunResult | None  # pyright: ignore[reportIncompatibleVariableOverride]  more fields than in a list
    config: RunConfig = Field(description="every default filled in")
    last_event_id: int = Field(description="newest event this view includes; events after it come from the stream")


class JobPage(Page[JobView]):
    """Some jobs, newest first."""


class Series(BaseModel):
    """One training curve."""

    role: Role
    name: str = Field(examples=["total", "lr", "detection.l1", "matched_logits.classification"])
    steps: list[int]
    epochs: list[float]
    values: list[float]


class EvaluationView(CocoMetrics):
    """COCO metrics of one detector at one step."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    role: Role
    teacher: str = Field(description="name of the teacher; empty for other roles")
    step: int
    epoch: float

    @classmethod
    def of(cls, row: EvaluationRow) -> "EvaluationView":
        """The view of a row."""
        return cls.model_validate(row)


class JobMetrics(BaseModel):
    """Training curves and evaluations of a job."""

    series: list[Series] = Field(description="thinned to `max_points` a curve")
    evaluations: list[EvaluationView]


class ArtifactView(BaseModel):
    """A file that can be downloaded."""

    name: str = Field(examples=["student/model.safetensors"])
    size: int = Field(description="bytes")
    sha256: str
    url: str = Field(description="where to download it; answers Range requests")
    created_at: datetime

    @classmethod
    def of(cls, job_id: UUID, file: JobFile) -> "ArtifactView":
        """The view of a file."""
        return cls(
            name=file.name,
            size=file.size,
            sha256=file.sha256,
            url=f"/jobs/{job_id}/artifacts/{file.name}",
            created_at=datetime.fromtimestamp(file.modified_ns / 1e9, UTC),
        )


class ArtifactList(BaseModel):
    """Files of a job."""

    data: list[ArtifactView]
