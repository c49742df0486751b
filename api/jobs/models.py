"""Tables of jobs and of what they produce."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, attribute_keyed_dict, mapped_column, relationship

from api.db import Base, CreatedAt, HasId
from api.jobs.states import JobState


def _job() -> ForeignKey:
    return ForeignKey("jobs.id", ondelete="CASCADE")


class Job(HasId, Base):
    """A run that somebody asked for. The row is the job: the broker only announces it."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(f"state in ({', '.join(repr(state.value) for state in JobState)})", name="state"),
        Index("ix_jobs_due", "next_dispatch_at", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_held", "id", postgresql_where=text("state = 'queued' and waiting_for <> '[]'")),
        Index("ix_jobs_lease", "lease_until", postgresql_where=text("state = 'running'")),
    )

    name: Mapped[str]
    kind: Mapped[str]
    config: Mapped[dict[str, Any]]
    """The validated configuration, every default filled in."""
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"))
    teachers: Mapped[dict[str, "JobTeacher"]] = relationship(
        collection_class=attribute_keyed_dict("name"), cascade="all, delete-orphan", lazy="selectin"
    )
    """Checkpoint of each teacher that has one, by its name in the configuration."""
    student_id: Mapped[UUID | None] = mapped_column(ForeignKey("checkpoints.id"))

    state: Mapped[str] = mapped_column(default=JobState.QUEUED)
    waiting_for: Mapped[list[Any]] = mapped_column(server_default="[]")
    """Pointers to what is still being checked; a queued job is held, and not announced, while there are any."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    attempt: Mapped[int] = mapped_column(default=0)
    attempts_without_progress: Mapped[int] = mapped_column(server_default="0")
    """Attempts begun since the last checkpoint or finished stage."""
    max_attempts: Mapped[int] = mapped_column(default=3)
    """Attempts without progress after which the job is given up."""
    max_runtime_seconds: Mapped[float | None]
    ran_seconds: Mapped[float] = mapped_column(server_default="0")
    """Time that all ended attempts have taken."""
    claimed_at: Mapped[datetime | None]
    begin_anew: Mapped[bool] = mapped_column(server_default="false")
    """The next attempt clears the work folder first."""
    journal_sequence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Number of the last event of the run that is in the tables."""
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    """Grows with every change of owner; a write that carries an older value changes nothing."""
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    next_dispatch_at: Mapped[datetime | None] = mapped_column(server_default=text("clock_timestamp()"))
    dispatches: Mapped[int] = mapped_column(default=0)

    stage: Mapped[str | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    eta_seconds: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def teacher_ids(self) -> dict[str, UUID]:
        """Id of the checkpoint of each teacher that has one, by its name in the configuration."""
        return {name: self.teachers[name].checkpoint_id for name in sorted(self.teachers)}


class JobTeacher(Base):
    """The checkpoint of one teacher of a job."""

    __tablename__ = "job_teachers"

    job_id: Mapped[UUID] = mapped_column(_job(), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    checkpoint_id: Mapped[UUID] = mapped_column(ForeignKey("checkpoints.id"))


class JobEvent(Base):
    """One thing that happened to a job. Ids of one job grow in the order of its transactions."""

    __tablename__ = "job_events"
    __table_args__ = (Index("ix_job_events_job_id_id", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(_job())
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]


class Metric(Base):
    """One value of one training curve."""

    __tablename__ = "metrics"

    job_id: Mapped[UUID] = mapped_column(_job(), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float]
    value: Mapped[float]


class EvaluationRow(Base):
    """COCO metrics of one detector at one step."""

    __tablename__ = "evaluations"

    job_id: Mapped[UUID] = mapped_column(_job(), primary_key=True)
    role: Mapped[str] = mapped_column(primary_key=True)
    teacher: Mapped[str] = mapped_column(primary_key=True, server_default="")
    """Name of the teacher; empty for other roles."""
    step: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[float]
    ap: Mapped[float]
    ap50: Mapped[float]
    ap75: Mapped[float]
    ap_small: Mapped[float]
    ap_medium: Mapped[float]
    ap_large: Mapped[float]
    ar1: Mapped[float]
    ar10: Mapped[float]
    ar100: Mapped[float]
    per_class: Mapped[dict[str, Any]]
    created_at: Mapped[CreatedAt]


class Artifact(HasId, Base):
    """A file of a job that can be downloaded."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    job_id: Mapped[UUID] = mapped_column(_job())
    name: Mapped[str]
    """Path below the job's work directory."""
    size: Mapped[int] = mapped_column(BigInteger)
    modified_ns: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """When the file was last written, in nanoseconds; its digest holds as long as size and time do."""
    sha256: Mapped[str]
