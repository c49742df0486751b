"""The life of a job. Every change of state is one guarded UPDATE in this file and nowhere else.

    queued -> running -> succeeded | failed | cancelled
    running -> queued      the worker was lost, drained, or its training process was killed
    queued -> cancelled
    queued -> failed       what a held job waits for was refused, or does not fit it
    failed | cancelled -> queued      somebody asked to retry it

A job is given up after `max_attempts` attempts in a row that left nothing behind: no newer checkpoint, no finished
stage. However often it is interrupted, a job that gets on goes on.

A queued job is held, and neither announced nor claimed, while `waiting_for` names something that is being checked.
A worker owns a job as long as its `fence` is the row's; all times are the database's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session


class JobState(StrEnum):
    """States of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """The run has ended; only a retry changes that."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Claim:
    """Ownership of a running job."""

    job_id: UUID
    fence: int
    attempt: int
    sequence: int = 0
    """Number of the last event of the run that is in the tables."""
    seconds_left: float | None = None
    """What is left of the job's limit of time; None: it has none."""
    begin_anew: bool = False
    """The work folder is to be cleared first."""


def claim(session: Session, job_id: UUID, worker: str, lease_seconds: float) -> Claim | None:
    """Take a queued job; None if somebody else has it or it is not queued."""
    row = session.execute(
        text(
            """
            update jobs set state = 'running', fence = fence + 1, attempt = attempt + 1,
                attempts_without_progress = attempts_without_progress + 1, worker = :worker,
                claimed_at = clock_timestamp(),
                lease_until = clock_timestamp() + make_interval(secs => :lease), next_dispatch_at = null,
                dispatches = 0, started_at = coalesce(started_at, clock_timestamp()), eta_seconds = null, error = null
            where id = :job and state = 'queued' and not cancel_requested and waiting_for = '[]'
            returning fence, attempt, journal_sequence, max_runtime_seconds - ran_seconds as seconds_left, begin_anew
            """
        ),
        {"job": job_id, "worker": worker, "lease": lease_seconds},
    ).one_or_none()
    if row is None:
        return None
    return Claim(job_id, row.fence, row.attempt, row.journal_sequence, row.seconds_left, row.begin_anew)


def began_anew(session: Session, owned: Claim) -> bool:
    """Note that the work folder has been cleared; false if the job is no longer ours."""
    row = session.execute(
        text(
            """
            update jobs set begin_anew = false where id = :job and fence = :fence and state = 'running' returning id
            """
        ),
        _key(owned),
    ).one_or_none()
    return row is not None


def renew(session: Session, owned: Claim, lease_seconds: float) -> bool | None:
    """Extend the lease. True: cancellation was asked for; False: go on; None: the job is no longer ours."""
    row = session.execute(
        text(
            """
            update jobs set lease_until = clock_timestamp() + make_interval(secs => :lease)
            where id = :job and fence = :fence and state = 'running'
            returning cancel_requested
            """
        ),
        _key(owned) | {"lease": lease_seconds},
    ).one_or_none()
    return None if row is None else bool(row.cancel_requested)


def lock(session: Session, owned: Claim) -> int | None:
    """Keep others from changing a job in this transaction.

    Returns:
        Number of the last event of the run that is in the tables; None if the job is no longer ours.
    """
    row = session.execute(
        text("select journal_sequence from jobs where id = :job and fence = :fence and state = 'running' for update"),
        _key(owned),
    ).one_or_none()
    return None if row is None else row.journal_sequence


_NO_PROGRESS = {"stage": None, "progress": None, "eta_seconds": None, "sequence": 0, "progressed": False}


def update_progress(session: Session, owned: Claim, values: Mapping[str, Any]) -> bool:
    """Write how far a job has come; false if the job is no longer ours.

    Values: `stage`, `progress`, `eta_seconds`; `sequence`, of the last event that is written with it; `progressed`,
    true if something was done that no attempt need do again.

    Also locks the row, which puts the events of the same transaction in order.
    """
    row = session.execute(
        text(
            """
            update jobs set stage = coalesce(:stage, stage), progress = coalesce(:progress, progress),
                eta_seconds = coalesce(:eta_seconds, eta_seconds),
                journal_sequence = greatest(journal_sequence, :sequence),
                attempts_without_progress = case when :progressed then 0 else attempts_without_progress end
            where id = :job and fence = :fence and state = 'running'
            returning id
            """
        ),
        _NO_PROGRESS | dict(values) | _key(owned),
    ).one_or_none()
    return row is not None


def finish(session: Session, owned: Claim, state: JobState, *, error: str | None, result: str | None) -> bool:
    """End a running job; false if it is no longer ours. `error` and `result` are JSON."""
    row = session.execute(
        text(
            """
            update jobs set state = cast(:state as text), error = cast(:error as jsonb),
                result = cast(:result as jsonb), lease_until = null, eta_seconds = null,
                finished_at = clock_timestamp(), ran_seconds = ran_seconds
                    + coalesce(extract(epoch from least(clock_timestamp(), lease_until) - claimed_at), 0),
                progress = case when cast(:state as text) = 'succeeded' then 1.0 else progress end
            where id = :job and fence = :fence and state = 'running'
            returning id
            """
        ),
        _key(owned) | {"state": state.value, "error": error, "result": result},
    ).one_or_none()
    return row is not None


def requeue(session: Session, owned: Claim, error: str, *, count_attempt: bool) -> JobState | None:
    """Give a running job back, to be resumed.

    Args:
        error: JSON that says why.
        count_attempt: false where the job is not to blame, as when its worker is shut down.

    Returns:
        `queued`, or `failed` after too many attempts without progress, or `cancelled` if that was asked for; None if
        the job is no longer ours.
    """
    row = session.execute(
        text(
            """
            update jobs set fence = fence + 1, attempt = attempt - (case when :counted then 0 else 1 end),
                attempts_without_progress =
                    greatest(attempts_without_progress - (case when :counted then 0 else 1 end), 0),
                ran_seconds = ran_seconds
                    + coalesce(extract(epoch from least(clock_timestamp(), lease_until) - claimed_at), 0),
                lease_until = null, eta_seconds = null, error = cast(:error as jsonb),
                next_dispatch_at = clock_timestamp(),
                state = case when cancel_requested then 'cancelled'
                             when :counted and attempts_without_progress >= max_attempts then 'failed'
                             else 'queued' end,
                finished_at = case when cancel_requested or (:counted and attempts_without_progress >= max_attempts)
                                   then clock_timestamp() end
            where id = :job and fence = :fence and state = 'running'
            returning state
            """
        ),
        _key(owned) | {"error": error, "counted": count_attempt},
    ).one_or_none()
    return None if row is None else JobState(row.state)


def request_cancel(session: Session, job_id: UUID) -> JobState | None:
    """Cancel a queued job now; ask the worker of a running one to stop.

    Returns:
        The state after it; None if nothing changed, because there is no such job, it has ended, or it was asked for
        before.
    """
    row = session.execute(
        text(
            """
            update jobs set cancel_requested = true, waiting_for = '[]',
                finished_at = case when state = 'queued' then clock_timestamp() end,
                state = case when state = 'queued' then 'cancelled' else state end
            where id = :job and state in ('queued', 'running') and not cancel_requested
            returning state
            """
        ),
        {"job": job_id},
    ).one_or_none()
    return None if row is None else JobState(row.state)


def retry(session: Session, job_id: UUID, *, from_start: bool) -> bool:
    """Put a job that failed or was cancelled into the queue again, with all attempts and all time before it.

    Args:
        from_start: forget what earlier attempts have done; else the job goes on from its newest checkpoint.

    Returns:
        Whether it was done; false where there is no such job, or it is in another state.
    """
    row = session.execute(
        text(
            """
            update jobs set state = 'queued', fence = fence + 1, cancel_requested = false, worker = null,
                attempts_without_progress = 0, ran_seconds = 0, begin_anew = begin_anew or :anew,
                next_dispatch_at = clock_timestamp(), dispatches = 0, error = null, result = null,
                finished_at = null, eta_seconds = null, stage = null,
                progress = case when :anew then 0 else progress end
            where id = :job and state in ('failed', 'cancelled')
            returning id
            """
        ),
        {"job": job_id, "anew": from_start},
    ).one_or_none()
    return row is not None


def sweep(
    session: Session, error: str, before: Callable[[Claim], None] = lambda _: None
) -> list[tuple[UUID, JobState]]:
    """Requeue running jobs whose lease has expired, or end them; returns what became of each.

    Args:
        error: JSON that says why.
        before: called for each while it is still its owner's; the rows are locked.
    """
    found = session.execute(
        text(
            """
            select id, fence, attempt, journal_sequence from jobs
            where state = 'running' and lease_until < clock_timestamp() for update skip locked
            """
        )
    ).all()
    for row in found:
        before(Claim(row.id, row.fence, row.attempt, row.journal_sequence))
    rows = session.execute(
        text(
            """
            update jobs set fence = fence + 1, lease_until = null, eta_seconds = null, error = cast(:error as jsonb),
                next_dispatch_at = clock_timestamp(), ran_seconds = ran_seconds
                    + coalesce(extract(epoch from least(clock_timestamp(), lease_until) - claimed_at), 0),
                state = case when cancel_requested then 'cancelled'
                             when attempts_without_progress >= max_attempts then 'failed' else 'queued' end,
                finished_at = case when cancel_requested or attempts_without_progress >= max_attempts
                                   then clock_timestamp() end
            where id = any(:jobs)
            returning id, state
            """
        ),
        {"error": error, "jobs": [row.id for row in found]},
    ).all()
    return [(row.id, JobState(row.state)) for row in rows]


def take_due(session: Session, redispatch_seconds: float, limit: int = 50) -> list[tuple[UUID, float]]:
    """Queued jobs that are to be announced now, oldest first, each with the time until it is announced again.

    The time doubles with each announcement that nobody answered, up to twenty times the first.
    """
    rows = session.execute(
        text(
            """
            with due as (
                select id, least(:first * power(2, least(dispatches, 10)), :first * 20) as pause from jobs
                where state = 'queued' and next_dispatch_at <= clock_timestamp()
                order by id limit :limit for update skip locked)
            update jobs set next_dispatch_at = clock_timestamp() + make_interval(secs => due.pause),
                dispatches = jobs.dispatches + 1
            from due where jobs.id = due.id
            returning jobs.id, due.pause
            """
        ),
        {"first": redispatch_seconds, "limit": limit},
    ).all()
    return sorted((row.id, float(row.pause)) for row in rows)


def dispatch_failed(session: Session, job_id: UUID, after_seconds: float) -> None:
    """Announce a job again soon: the broker did not take the message."""
    session.execute(
        text(
            """
            update jobs set next_dispatch_at = clock_timestamp() + make_interval(secs => :after),
                dispatches = greatest(dispatches - 1, 0)
            where id = :job and state = 'queued'
            """
        ),
        {"job": job_id, "after": after_seconds},
    )


def hold(session: Session, job_id: UUID, waiting_for: str) -> bool:
    """Change what a held job waits for (a JSON list); an empty list has it announced. False if it is not held."""
    row = session.execute(
        text(
            """
            update jobs set waiting_for = cast(:waiting_for as jsonb),
                next_dispatch_at = case when cast(:waiting_for as jsonb) = '[]' then clock_timestamp() end
            where id = :job and state = 'queued' and waiting_for <> '[]'
            returning id
            """
        ),
        {"job": job_id, "waiting_for": waiting_for},
    ).one_or_none()
    return row is not None


def fail_held(session: Session, job_id: UUID, error: str) -> bool:
    """End a held job that cannot be run; `error` is JSON. False if it is not held."""
    row = session.execute(
        text(
            """
            update jobs set state = 'failed', error = cast(:error as jsonb), waiting_for = '[]',
                finished_at = clock_timestamp()
            where id = :job and state = 'queued' and waiting_for <> '[]'
            returning id
            """
        ),
        {"job": job_id, "error": error},
    ).one_or_none()
    return row is not None


def _key(owned: Claim) -> dict[str, Any]:
    return {"job": owned.job_id, "fence": owned.fence}
