"""What a worker writes of the end of a run, when it is killed in that very moment."""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from api.jobs.models import Job, JobEvent
from api.settings import Settings
from detrdistill.events import CocoMetrics, Event, ModelReport, RunFailed, RunFinished, RunResult
from tests.api.test_states import add_job
from tests.worker.test_journal import step
from worker import supervisor
from worker.journal import Journal, JournalEntry
from worker.protocol import RunSpec
from worker.scheduler import sweep

pytestmark = pytest.mark.fault
CONFIG = {"kind": "train", "student": {"family": "rt-detr-v2", "size": "pico"}}
NUMBERS = {name: 0.5 for name in CocoMetrics.model_fields if name != "per_class"}
STUDENT = ModelReport(
    metrics=CocoMetrics.model_validate(NUMBERS | {"per_class": {}}),
    parameters=1,
    milliseconds_per_image=1.0,
    best_epoch=1.0,
)
FINISHED = RunFinished(result=RunResult(student=STUDENT, device="cpu", versions={}))
FAILED = RunFailed(code="diverged", message="The student diverged.")


class Training:
    """A training process that tells its last events, through journal and pipe, and ends."""

    last: ClassVar[Event] = FINISHED
    started: ClassVar[int] = 0
    returncode, silent_seconds, is_under_way = 0, 0.0, True

    def __init__(self, spec: RunSpec):
        type(self).started += 1
        journal = Journal(spec.journal, spec.sequence)
        self.waiting = [journal.number(event) for event in (step(1), self.last)]
        for entry in self.waiting:
            journal.write(entry)
        self.looks = 0

    @property
    def ended(self) -> bool:
        self.looks += 1
        return self.looks > 2

    def entries(self, _: float) -> list[JournalEntry]:
        found, self.waiting = self.waiting, []
        return found

    def send_heartbeat(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def run(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Claims and runs the one job."""
    monkeypatch.setattr(supervisor, "TrainingProcess", Training)
    monkeypatch.setattr(Training, "started", 0)
    settings = Settings(DATABASE_URL="postgresql://unused", storage_dir=tmp_path)  # pyright: ignore
    with Session(engine) as session:
        job_id = add_job(session).id
        session.get_one(Job, job_id).config = CONFIG
        session.commit()

    def claim_and_run() -> None:
        sweep(engine, settings)
        supervisor.run_job(engine, settings, job_id, "worker", lambda: False)

    return claim_and_run


@pytest.mark.parametrize(("last", "state"), [(FINISHED, "succeeded"), (FAILED, "failed")])
@pytest.mark.parametrize("killed_in", ["_conclude", "_write_end"])
def test_a_run_that_has_ended_is_not_run_again_and_its_end_is_told_once(
    engine: Engine,
    run: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    last: Event,
    state: str,
    killed_in: str,
):
    class Killed(BaseException):
        """Nothing after this is carried out."""

    def kill(_: object) -> None:
        raise Killed

    monkeypatch.setattr(Training, "last", last)
    for _ in range(2):  # the second worker finds the end in the journal, and dies, too
        with monkeypatch.context() as patch:
            patch.setattr(supervisor._Attempt, killed_in, kill)
            with pytest.raises(Killed):
                run()
        with Session(engine) as session, session.begin():
            assert session.scalars(select(Job.state)).one() == "running"
            session.execute(text("update jobs set lease_until = clock_timestamp() - interval '1 s'"))
    run()
    with Session(engine) as session:
        job = session.scalars(select(Job)).one()
        told = session.scalars(select(JobEvent.kind).order_by(JobEvent.id)).all()
    assert job.state == state
    assert (job.result is None) == (state == "failed")
    assert Training.started == 1
    assert [told.count(kind) for kind in ("step", last.kind)] == [1, 1]
