"""Runs one job: owns its lease, watches its training process, and writes down how it ended."""

import json
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.jobs import repository, states
from api.jobs.models import Job
from api.jobs.states import Claim, JobState
from api.settings import Settings
from api.storage import Storage
from detrdistill.coco import DatasetOptions
from detrdistill.config import RUN_CONFIG
from detrdistill.events import Event, RunFailed, RunFinished, RunStopped
from worker.artifacts import collect
from worker.process import TrainingProcess, folder_of
from worker.protocol import RunSpec
from worker.reporter import DATABASE_DOWN, Reporter

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.25
_FLUSH_SECONDS = 1.0
_SILENCE = 0.9
"""A training process ends itself after this share of a lease without a sign from its worker."""
_STOP_AT, _KILL_AT = 0.6, 0.8
"""Shares of a lease without renewal after which the worker stops, then kills its training process."""

StopReason = Literal["cancel", "drain", "lease"]


def run_job(engine: Engine, settings: Settings, job_id: UUID, worker: str, draining: Callable[[], bool]) -> None:
    """Claim a job and run it to an end; returns at once if it is not to be had.

    Args:
        engine: database.
        settings: of this process.
        job_id: job that was announced.
        worker: name of this worker.
        draining: true once the worker has been asked to shut down.
    """
    with Session(engine) as session, session.begin():
        owned = states.claim(session, job_id, worker, settings.lease_seconds)
        if owned is None:
            return
        event = {"state": JobState.RUNNING, "attempt": owned.attempt, "worker": worker}
        repository.add_events(session, job_id, [("state", event)])
    _log.info("job %s: attempt %d", job_id, owned.attempt)
    _Attempt(engine, settings, owned).run(draining)


class _Attempt:
    """One attempt at a job that this worker owns."""

    def __init__(self, engine: Engine, settings: Settings, owned: Claim):
        self.engine = engine
        self.settings = settings
        self.owned = owned
        self.storage = Storage(settings.storage_dir)
        self.work = self.storage.folder("jobs", owned.job_id)
        self.reporter = Reporter(engine, owned)
        self.last_event: Event | None = None
        self.stop_reason: StopReason | None = None
        self.stop_asked_at = 0.0
        self.renewed_at = time.monotonic()

    def run(self, draining: Callable[[], bool]) -> None:
        """Train in a process of its own until it ends or the job is lost."""
        process = TrainingProcess(self._spec())
        process.beat()
        flushed_at = 0.0
        try:
            while not process.ended:
                self._note(process.events(_POLL_SECONDS))
                if time.monotonic() - flushed_at > _FLUSH_SECONDS:
                    flushed_at = time.monotonic()
                    if not self.reporter.flush():
                        return
                if not self._keep_lease(process):
                    return
                if draining():
                    self._stop(process, "drain")
            self._note(process.events(0))
            self._conclude(process)
        finally:
            process.kill()

    def _note(self, events: list[Event]) -> None:
        if events:
            self.last_event = events[-1]
            self.reporter.add(events)

    def _spec(self) -> RunSpec:
        with Session(self.engine) as session:
            job = session.get_one(Job, self.owned.job_id)
            dataset = session.get_one(Dataset, job.dataset_id)
            return RunSpec(
                config=RUN_CONFIG.validate_python(job.config),
                work=self.work,
                dataset=folder_of(dataset.path, self.storage.folder("datasets", dataset.id)),
                teacher=self._checkpoint(session, job.teacher_id),
                further_teachers={
                    name: folder
                    for name, checkpoint_id in job.further_teacher_ids.items()
                    if (folder := self._checkpoint(session, UUID(checkpoint_id)))
                },
                student=self._checkpoint(session, job.student_id),
                dataset_options=DatasetOptions.model_validate(dataset.options or {}),
                silence_seconds=_SILENCE * self.settings.lease_seconds,
            )

    def _checkpoint(self, session: Session, checkpoint_id: UUID | None) -> Path | None:
        """Folder of a checkpoint."""
        if checkpoint_id is None:
            return None
        row = session.get_one(Checkpoint, checkpoint_id)
        return folder_of(row.path, self.storage.folder("checkpoints", row.id))

    def _keep_lease(self, process: TrainingProcess) -> bool:
        """Renew the lease when it is time, and end the training well before it can expire; false if it is lost."""
        age = time.monotonic() - self.renewed_at
        if age > self.settings.renew_seconds:
            try:
                with Session(self.engine) as session, session.begin():
                    cancel = states.renew(session, self.owned, self.settings.lease_seconds)
            except DATABASE_DOWN as error:
                _log.warning("job %s: the lease cannot be renewed: %s", self.owned.job_id, error)
            else:
                if cancel is None:
                    _log.warning("job %s: somebody else has it now", self.owned.job_id)
                    return False
                self.renewed_at = time.monotonic()
                age = 0.0
                process.beat()
                if cancel:
                    self._stop(process, "cancel")
        if age > _KILL_AT * self.settings.lease_seconds:
            process.kill()
        elif age > _STOP_AT * self.settings.lease_seconds:
            self._stop(process, "lease")
        if self.stop_reason and time.monotonic() - self.stop_asked_at > self.settings.stop_grace_seconds:
            process.kill()
        return True

    def _stop(self, process: TrainingProcess, reason: StopReason) -> None:
        if self.stop_reason is None:
            self.stop_reason = reason
            self.stop_asked_at = time.monotonic()
            process.ask_to_stop()

    def _conclude(self, process: TrainingProcess) -> None:
        """Write how the attempt ended, as soon as the database takes it; if it never does, the job is resumed."""
        finished = isinstance(self.last_event, RunFinished | RunFailed) or self.stop_reason == "cancel"
        artifacts = collect(self.work) if finished else []
        deadline = time.monotonic() + self.settings.lease_seconds
        while time.monotonic() < deadline:
            try:
                with Session(self.engine) as session, session.begin():
                    if self.reporter.write(session):
                        self._end(session, process, artifacts)
            except DATABASE_DOWN as error:
                _log.warning("job %s: its end waits for the database: %s", self.owned.job_id, error)
                time.sleep(_FLUSH_SECONDS)
            else:
                return
        _log.warning("job %s: its end could not be written; it will be resumed", self.owned.job_id)

    def _end(self, session: Session, process: TrainingProcess, artifacts: list[dict[str, Any]]) -> None:
        """Final state, files and the last event in one transaction; or back into the queue."""
        error: dict[str, str] | None = None
        match self.last_event:
            case RunFinished(result=result):
                state: JobState | None = JobState.SUCCEEDED
                states.finish(session, self.owned, JobState.SUCCEEDED, error=None, result=result.model_dump_json())
            case RunFailed() as failure:
                state = JobState.FAILED
                error = failure.model_dump(exclude={"kind"})
                states.finish(session, self.owned, state, error=json.dumps(error), result=None)
            case _ if self.stop_reason == "cancel":
                state = JobState.CANCELLED
                states.finish(session, self.owned, state, error=None, result=None)
            case event:
                asked = isinstance(event, RunStopped) or self.stop_reason is not None
                error = _interruption(process, self.stop_reason)
                state = states.requeue(session, self.owned, json.dumps(error), count_attempt=not asked)
        _log.info("job %s: %s", self.owned.job_id, state)
        if artifacts:
            repository.replace_artifacts(session, self.owned.job_id, artifacts)
        details = {} if error is None else {"error": error}
        repository.add_events(session, self.owned.job_id, [("state", {"state": state} | details)])


def _interruption(process: TrainingProcess, reason: StopReason | None) -> dict[str, str]:
    """Why an attempt ended before the run did."""
    if reason == "drain":
        return {"code": "worker_shut_down", "message": "The worker was shut down; the job goes on with another."}
    if reason == "lease":
        return {"code": "database_lost", "message": "The worker could not reach the database; the job goes on later."}
    status = process.returncode or 0
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return {
        "code": "training_process_lost",
        "message": f"The training process {how}.",
        "hint": f"End of its log:\n{process.last_words()}",
    }
