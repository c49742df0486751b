"""Reads and writes of job data that do not change a job's state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.jobs.events import AnyEvent, data_of
from api.jobs.files import JobFile
from api.jobs.models import Artifact, EvaluationRow, Job, JobEvent, Metric
from api.jobs.states import JobState
from api.live import CHANNEL
from api.pagination import newest_first

EventKey = tuple[str, str, str, int]
"""Kind, role or stage, name of a teacher, and step."""
_RUN_EVENTS = ("stage", "step", "evaluated", "checkpoint")


def find(session: Session, job_id: UUID) -> Job | None:
    """A job by id."""
    return session.get(Job, job_id)


def page(session: Session, state: JobState | None, after: UUID | None, limit: int) -> tuple[list[Job], bool]:
    """Jobs in a state, or all, newest first, after a given one; and whether there are more."""
    query = select(Job) if state is None else select(Job).where(Job.state == state)
    rows, has_more = newest_first(session, query, Job.id, after, limit)
    return [row[0] for row in rows], has_more


def add_events(session: Session, job_id: UUID, events: Iterable[AnyEvent]) -> None:
    """Append events and wake whoever watches the job. The caller has locked the job's row in this transaction."""
    rows = [{"job_id": job_id, "kind": event.kind, "data": data_of(event)} for event in events]
    if rows:
        session.execute(insert(JobEvent), rows)
        session.execute(select(func.pg_notify(CHANNEL, str(job_id))))


def told(session: Session, job_id: UUID) -> set[EventKey]:
    """What the log of a job has already said of its stages, steps, evaluations and checkpoints."""
    data = JobEvent.data
    query = select(
        JobEvent.kind,
        func.coalesce(data["role"].astext, data["stage"].astext),
        func.coalesce(data["teacher"].astext, ""),
        func.coalesce(data["step"].astext.cast(BigInteger), 0),
    ).where(JobEvent.job_id == job_id, JobEvent.kind.in_(_RUN_EVENTS))
    return {(row[0], row[1], row[2], row[3]) for row in session.execute(query)}


def forget_run(session: Session, job_id: UUID) -> None:
    """Take curves, evaluations and the run's own events back: the job begins anew."""
    session.execute(delete(Metric).where(Metric.job_id == job_id))
    session.execute(delete(EvaluationRow).where(EvaluationRow.job_id == job_id))
    session.execute(delete(JobEvent).where(JobEvent.job_id == job_id, JobEvent.kind.in_(_RUN_EVENTS)))


def events_after(session: Session, job_id: UUID, after: int, limit: int) -> Sequence[JobEvent]:
    """Events with a greater id, oldest first."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after)
    return session.scalars(query.order_by(JobEvent.id).limit(limit)).all()


def last_event_id(session: Session, job_id: UUID) -> int:
    """Id of the newest event; 0 if there is none."""
    return session.scalar(select(func.max(JobEvent.id)).where(JobEvent.job_id == job_id)) or 0


def add_metrics(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write curve points; a step that a resumed run repeats replaces its earlier value."""
    if rows:
        statement = insert(Metric)
        values = {name: statement.excluded[name] for name in ("epoch", "value")}
        session.execute(
            statement.on_conflict_do_update(index_elements=list(Metric.__mapper__.primary_key), set_=values), rows
        )


def add_evaluation(session: Session, row: Mapping[str, Any]) -> None:
    """Write COCO metrics; an evaluation that a resumed run repeats replaces the earlier one."""
    statement = insert(EvaluationRow).values(**row)
    values = {name: statement.excluded[name] for name in row if name not in ("job_id", "role", "teacher", "step")}
    keys = list(EvaluationRow.__mapper__.primary_key)
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def evaluations(session: Session, job_id: UUID) -> Sequence[EvaluationRow]:
    """COCO metrics of a job, by role and step."""
    query = select(EvaluationRow).where(EvaluationRow.job_id == job_id)
    return session.scalars(query.order_by(EvaluationRow.role, EvaluationRow.teacher, EvaluationRow.step)).all()


def best_aps(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, dict[str, float]]:
    """Highest AP of each role so far, for a list of jobs."""
    query = select(EvaluationRow.job_id, EvaluationRow.role, func.max(EvaluationRow.ap)).where(
        EvaluationRow.job_id.in_(job_ids)
    )
    found: dict[UUID, dict[str, float]] = {}
    for job_id, role, ap in session.execute(query.group_by(EvaluationRow.job_id, EvaluationRow.role)):
        found.setdefault(job_id, {})[role] = ap
    return found


def metrics(
    session: Session, job_id: UUID, role: str | None, names: Sequence[str], max_points: int
) -> Sequence[tuple[str, str, int, float, float]]:
    """Curve points (role, name, step, epoch, value), thinned to at most `max_points` a curve by averaging buckets."""
    query = select(Metric).where(Metric.job_id == job_id)
    if role is not None:
        query = query.where(Metric.role == role)
    if names:
        query = query.where(Metric.name.in_(names))
    curve = (Metric.role, Metric.name)
    bucket = func.ntile(max_points).over(partition_by=curve, order_by=Metric.step)
    points = query.add_columns(bucket.label("bucket")).subquery()
    thinned = (
        select(
            points.c.role,
            points.c.name,
            func.max(points.c.step),
            func.max(points.c.epoch),
            func.avg(points.c.value),
        )
        .group_by(points.c.role, points.c.name, points.c.bucket)
        .order_by(points.c.role, points.c.name, func.max(points.c.step))
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in session.execute(thinned)]


def record_artifacts(session: Session, job_id: UUID, files: Iterable[JobFile]) -> None:
    """Note the digests of the files that a job has left."""
    session.execute(delete(Artifact).where(Artifact.job_id == job_id))
    session.add_all(Artifact(job_id=job_id, **asdict(file)) for file in files)


def artifacts(session: Session, job_id: UUID) -> Sequence[Artifact]:
    """Files that a job had left when it ended, by name."""
    return session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name)).all()
