"""Runs one job: owns its lease, watches its training process, and writes down how it ended."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.jobs import repository, states
from api.jobs.events import StateChanged
from api.jobs.files import job_files
from api.jobs.states import Claim, JobState
from api.settings import Settings
from api.storage import Storage
from detrdistill.events import Event, RunFailed, RunFinished, RunStopped, StageChanged, StepLogged
from worker.failures import failure_of
from worker.interruptions import StopReason, interruption
from worker.journal import JournalEntry, begin, read_last
from worker.redaction import Redactor, redactor_of
from worker.reporter import DATABASE_DOWN, Reporter
from worker.specs import build_spec
from worker.training_process import TrainingProcess

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.25
_FLUSH_SECONDS = 1.0
_SILENCE = 0.9
"""A training process ends itself after this share of a lease without a sign from its worker."""
_STOP_AT, _KILL_AT = 0.6, 0.8
"""Shares of a lease without renewal after which the worker stops, then kills its training process."""
_BEGINNING = "before its first stage"
_FIRST_SIGN = 4
"""The first sign of progress of a stage may take so many times as long as the next: imports, compilation, a first
step."""


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
        event = StateChanged(state=JobState.RUNNING, attempt=owned.attempt, worker=worker)
        repository.add_events(session, job_id, [event])
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
        self.redact = Redactor({self.work: "<job>", self.storage.root: "<storage>"})
        self.reporter = Reporter(engine, owned)
        self.outcome: Event | None = None
        self.ending: list[JournalEntry] = []
        """How the run ended, which is written together with the state that follows from it."""
        self.where = _BEGINNING
        self.state: JobState | None = None
        self.stop_reason: StopReason | None = None
        self.stop_asked_at = 0.0
        self.renewed_at = time.monotonic()
        left = owned.seconds_left
        self.run_until = float("inf") if left is None else time.monotonic() + left
        self.process: TrainingProcess | None = None

    def run(self, draining: Callable[[], bool]) -> None:
        """Train in a process of its own until it ends or the job is lost.

        Whatever goes wrong here ends the job with its reason. Only while the database is away nothing can be written:
        then the job is resumed when its lease has expired.
        """
        try:
            is_ours = self._prepare() and self._watch(draining)
        except DATABASE_DOWN as error:
            _log.warning("job %s: given up, the database is away: %s", self.owned.job_id, error)
            return
        except Exception as error:  # noqa: BLE001  whatever it is, the job ends with it
            _log.exception("job %s", self.owned.job_id)
            is_ours, self.outcome = True, self._failure(error)
        finally:
            if self.process is not None:
                self.process.kill()
                self.reporter.add(self.process.entries(0))
        if is_ours:
            self._conclude()

    def _failure(self, error: Exception) -> RunFailed:
        failure = failure_of(error)
        return failure.model_copy(update={"message": self.redact(failure.message)})

    def _prepare(self) -> bool:
        """Write what the attempt before left unwritten, and start the training; false if the job is no longer ours.

        A run that had ended is not started again.
        """
        if self.owned.begin_anew and not self._clear():
            return False
        self._note(read_last(self.work, self.owned.fence, self.owned.sequence))
        with Session(self.engine) as session, session.begin():
            if not self.reporter.write(session):
                return False
        self.reporter.written()
        if isinstance(self.outcome, RunFinished | RunFailed):
            return True
        self.outcome, self.where = None, _BEGINNING
        if time.monotonic() > self.run_until:
            self.stop_reason = "max_runtime"
            return True
        journal = begin(self.work, self.owned.fence)
        with Session(self.engine) as session:
            spec = build_spec(
                session,
                self.storage,
                self.owned.job_id,
                journal=journal,
                sequence=self.reporter.sequence,
                silence_seconds=_SILENCE * self.settings.lease_seconds,
            )
        self.redact = redactor_of(spec)
        self.process = TrainingProcess(spec)
        return True

    def _clear(self) -> bool:
        """Begin with an empty work folder; false if the job is no longer ours."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.work)
        with Session(self.engine) as session, session.begin():
            return states.began_anew(session, self.owned)

    def _watch(self, draining: Callable[[], bool]) -> bool:
        """Follow the training to its end; false if the job is no longer ours."""
        if (process := self.process) is None:
            return True
        process.send_heartbeat()
        flushed_at = 0.0
        while not process.ended:
            self._note(process.entries(_POLL_SECONDS))
            if time.monotonic() - flushed_at > _FLUSH_SECONDS:
                flushed_at = time.monotonic()
                if not self.reporter.flush():
                    return False
            if not self._keep_lease(process):
                return False
            if draining():
                self._stop(process, "drain")
            if time.monotonic() > self.run_until:
                self._stop(process, "max_runtime")
            self._end_stall(process)
        self._note(process.entries(0))
        return True

    def _note(self, entries: list[JournalEntry]) -> None:
        others: list[JournalEntry] = []
        for entry in entries:
            event = entry.event
            (self.ending if isinstance(event, RunFinished | RunFailed) else others).append(entry)
            self.outcome = event if isinstance(event, RunFinished | RunFailed | RunStopped) else None
            match event:
                case StageChanged():
                    self.where = f"in stage {event.stage}"
                case StepLogged():
                    stage = f"train_{event.role}"
                    self.where = f"in stage {stage}, after step {event.step} of {event.total_steps}"
                case _:
                    pass
        self.reporter.add(others)

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
                process.send_heartbeat()
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

    def _end_stall(self, process: TrainingProcess) -> None:
        """Kill a training that has given no sign of progress for too long; it would not answer a request to stop."""
        limit = self.settings.stall_seconds * (1 if process.is_under_way else _FIRST_SIGN)
        if self.stop_reason is None and process.silent_seconds > limit:
            _log.warning("job %s: no progress for %.0f s", self.owned.job_id, process.silent_seconds)
            self.stop_reason = "stalled"
            process.kill()

    def _conclude(self) -> None:
        """Write how the attempt ended, as soon as the database takes it; if it never does, the job is resumed."""
        self.reporter.add(self.ending)
        deadline = time.monotonic() + self.settings.lease_seconds
        while not self._write_end():
            if time.monotonic() > deadline:
                _log.warning("job %s: its end could not be written; it will be resumed", self.owned.job_id)
                return
            time.sleep(_FLUSH_SECONDS)
        if self.state is not None and self.state.final:
            self._record_files()

    def _write_end(self) -> bool:
        """Final state and the last events in one transaction; false if that is to be tried again."""
        try:
            with Session(self.engine) as session, session.begin():
                if self.reporter.write(session):
                    self.state = self._end(session)
        except DATABASE_DOWN as error:
            _log.warning("job %s: its end waits for the database: %s", self.owned.job_id, error)
            return False
        except SQLAlchemyError as error:
            _log.exception("job %s: its last events cannot be written", self.owned.job_id)
            self.outcome = self._failure(error)
            self.reporter.drop()
            return False
        return True

    def _end(self, session: Session) -> JobState | None:
        """Final state, or back into the queue."""
        owned, error = self.owned, None
        match self.outcome:
            case RunFinished(result=result):
                state: JobState | None = JobState.SUCCEEDED
                states.finish(session, owned, JobState.SUCCEEDED, error=None, result=result.model_dump_json())
            case RunFailed() as failure:
                state, error = JobState.FAILED, failure.model_dump(exclude={"kind"})
                states.finish(session, owned, state, error=json.dumps(error), result=None)
            case _ if self.stop_reason == "cancel":
                state = JobState.CANCELLED
                states.finish(session, owned, state, error=None, result=None)
            case _ if self.stop_reason == "max_runtime":
                state, error = JobState.FAILED, self._interruption()
                states.finish(session, owned, state, error=json.dumps(error), result=None)
            case event:
                asked = isinstance(event, RunStopped) or self.stop_reason in ("drain", "lease")
                error = self._interruption()
                state = states.requeue(session, owned, json.dumps(error), count_attempt=not asked)
        _log.info("job %s: %s", owned.job_id, state)
        if state is not None:
            repository.add_events(session, owned.job_id, [StateChanged(state=state, error=error)])
        return state

    def _interruption(self) -> dict[str, str]:
        process = self.process
        status, tail = (0, "") if process is None else (process.returncode or 0, self.redact(process.log_tail()))
        return interruption(self.stop_reason, self.where, status, tail)

    def _record_files(self) -> None:
        """Note size and digest of the job's files, so that a list of them need not read them again."""
        try:
            with Session(self.engine) as session, session.begin():
                repository.record_artifacts(session, self.owned.job_id, job_files(self.work))
        except (*DATABASE_DOWN, OSError) as error:
            _log.warning("job %s: its files are not recorded: %s", self.owned.job_id, error)
