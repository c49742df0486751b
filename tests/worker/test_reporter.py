"""Events become rows once, whoever writes them and whatever was killed in between."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from api.jobs import states
from api.jobs.models import Job, JobEvent, Metric
from api.jobs.states import Claim, JobState
from api.settings import Settings
from detrdistill.events import CheckpointSaved, Event, RunFailed, StageChanged
from tests.api.test_states import LEASE, add_job
from tests.worker.test_journal import step
from worker.journal import Journal, JournalEntry, begin
from worker.reporter import Reporter
from worker.scheduler import sweep

pytestmark = pytest.mark.fault


@pytest.fixture
def owned(engine: Engine) -> Claim:
    with Session(engine) as session:
        job = add_job(session, max_attempts=1)
        claimed = states.claim(session, job.id, "a", LEASE)
        session.commit()
    assert claimed is not None
    return claimed


def checkpoint(number: int) -> CheckpointSaved:
    return CheckpointSaved(role="student", step=number, file=f"step-{number}.pt", sha256="0")


def numbered(after: int, *events: Event) -> list[JournalEntry]:
    return [JournalEntry(after + index, event) for index, event in enumerate(events, start=1)]


def told(engine: Engine) -> list[tuple[str, int]]:
    with Session(engine) as session:
        rows = session.scalars(select(JobEvent).order_by(JobEvent.id)).all()
    return [(row.kind, row.data.get("step", 0)) for row in rows]


def job_row(engine: Engine) -> Job:
    with Session(engine, expire_on_commit=False) as session:
        return session.scalars(select(Job)).one()


def test_what_a_resumed_run_repeats_is_not_told_again(engine: Engine, owned: Claim):
    reporter = Reporter(engine, owned)
    reporter.add(numbered(0, step(1), step(2), checkpoint(2), step(3), step(4)))
    assert reporter.flush()
    second = Reporter(engine, owned)
    second.sequence = 5
    second.add(numbered(5, StageChanged(stage="train_student"), step(3), step(4), checkpoint(4), step(5)))
    assert second.flush()
    assert told(engine) == [
        ("step", 1),
        ("step", 2),
        ("checkpoint", 2),
        ("step", 3),
        ("step", 4),
        ("stage", 0),
        ("checkpoint", 4),
        ("step", 5),
    ]
    with Session(engine) as session:
        query = select(Metric.step).where(Metric.name == "total").order_by(Metric.step)
        assert session.scalars(query).all() == [1, 2, 3, 4, 5]
    assert job_row(engine).journal_sequence == 10


def test_an_event_that_was_committed_without_an_answer_is_not_written_twice(engine: Engine, owned: Claim):
    reporter = Reporter(engine, owned)
    reporter.add(numbered(0, step(1), StageChanged(stage="export")))
    with Session(engine) as session, session.begin():
        assert reporter.write(session)  # `written` is never called: the connection broke
    reporter.add(numbered(2, step(2)))
    assert reporter.flush()
    assert told(engine) == [("step", 1), ("stage", 0), ("step", 2)]


@pytest.mark.parametrize(
    ("events", "attempts"), [((checkpoint(2),), 0), ((step(1),), 1), ((StageChanged(stage="train_student"),), 1)]
)
def test_progress_is_what_no_attempt_does_again(engine: Engine, owned: Claim, events: tuple[Event, ...], attempts: int):
    reporter = Reporter(engine, owned)
    reporter.add(numbered(0, *events))
    assert reporter.flush()
    assert job_row(engine).attempts_without_progress == attempts


def test_a_checkpoint_that_is_made_again_is_no_progress(engine: Engine, owned: Claim):
    for after in (0, 1):
        reporter = Reporter(engine, owned)
        reporter.add(numbered(after, checkpoint(2)))
        with Session(engine) as session, session.begin():
            session.execute(text("update jobs set attempts_without_progress = 1"))
        assert reporter.flush()
    assert job_row(engine).attempts_without_progress == 1


def test_the_sweeper_writes_what_a_lost_worker_has_not(engine: Engine, owned: Claim, tmp_path: Path):
    """Also for a job that is given up, which no other worker will look at."""
    work = tmp_path / "jobs" / str(owned.job_id)
    journal = Journal(begin(work, owned.fence), 0)
    for event in (step(1), step(2)):
        journal.write(journal.number(event))
    settings = Settings(DATABASE_URL="postgresql://unused", storage_dir=tmp_path)  # pyright: ignore
    with Session(engine) as session, session.begin():
        session.execute(text("update jobs set lease_until = clock_timestamp() - interval '1 s'"))
    sweep(engine, settings)
    assert told(engine) == [("step", 1), ("step", 2), ("state", 0)]
    assert job_row(engine).state == JobState.FAILED


def test_a_journal_that_cannot_be_written_does_not_keep_the_others(engine: Engine, owned: Claim, tmp_path: Path):
    work = tmp_path / "jobs" / str(owned.job_id)
    journal = Journal(begin(work, owned.fence), 0)
    journal.write(journal.number(step(2**40)))  # more than the column takes
    settings = Settings(DATABASE_URL="postgresql://unused", storage_dir=tmp_path)  # pyright: ignore
    with Session(engine) as session, session.begin():
        session.execute(text("update jobs set lease_until = clock_timestamp() - interval '1 s'"))
    sweep(engine, settings)
    assert job_row(engine).state == JobState.FAILED


def test_a_replaced_owner_writes_nothing(engine: Engine, owned: Claim):
    reporter = Reporter(engine, owned)
    reporter.add(numbered(0, step(1), RunFailed(code="x", message="y")))
    with Session(engine) as session, session.begin():
        session.execute(text("update jobs set lease_until = clock_timestamp() - interval '1 s'"))
        states.sweep(session, '{"code": "x", "message": "y"}')
    assert reporter.flush() is False
    assert told(engine) == []
