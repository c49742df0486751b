"""Turns the events of a run into rows: progress, curves, COCO metrics, and the event log that watchers follow.

Every event is written once. What a resumed run repeats after its checkpoint has been told before: a step, an
evaluation or a checkpoint that the log has is not added again.
"""

import logging
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.orm import Session

from api.jobs import repository, states
from api.jobs.states import Claim
from detrdistill.events import CheckpointSaved, Evaluated, Event, StageChanged, StepLogged
from worker.journal import JournalEntry

DATABASE_DOWN = (OperationalError, InterfaceError, InternalError)
"""The last: a connection that the server ended because its transaction had been idle."""
_LASTING_STAGES = ("train_control", "export")
"""Whoever enters one of these leaves behind what no attempt does again."""
_log = logging.getLogger(__name__)
_Key = repository.EventKey


class Reporter:
    """Collects events and writes them in batches; while the database is away they wait in memory."""

    def __init__(self, engine: Engine, owned: Claim):
        self._engine = engine
        self._owned = owned
        self._waiting: list[JournalEntry] = []
        self._told: set[_Key] | None = None
        self.sequence = owned.sequence
        """Number of the last event that is in the database."""

    def add(self, entries: Iterable[JournalEntry]) -> None:
        """Remember events for the next `flush`."""
        self._waiting += entries

    def drop(self) -> None:
        """Forget what the database does not take."""
        self._waiting.clear()

    @property
    def waits(self) -> bool:
        """There is something to write."""
        return bool(self._waiting)

    def flush(self) -> bool:
        """Write what waits, in one transaction; false if the job is no longer ours."""
        if not self._waiting:
            return True
        try:
            with Session(self._engine) as session, session.begin():
                if not self.write(session):
                    return False
        except DATABASE_DOWN as error:
            _log.warning("%d events wait for the database: %s", len(self._waiting), error)
            return True
        self.written()
        return True

    def written(self) -> None:
        """Note that the transaction of `write` was committed."""
        if self._told is not None:
            self._told.update(key for entry in self._waiting if (key := _key(entry.event)))
        self.sequence = max([self.sequence, *(entry.sequence for entry in self._waiting)])
        self._waiting.clear()

    def write(self, session: Session) -> bool:
        """Write what waits into a transaction of the caller's; false if the job is no longer ours."""
        sequence = states.lock(session, self._owned)
        if sequence is None:
            return False
        if self._told is None or sequence != self.sequence:  # a commit of which the answer was lost
            self._told = repository.told(session, self._owned.job_id)
            self.sequence = sequence
        waiting = [entry for entry in self._waiting if entry.sequence > sequence]
        told, news, progressed = set(self._told), list[Event](), False
        for event in [entry.event for entry in waiting]:
            key = _key(event)
            is_repeated = key is not None and key in told
            if not is_repeated or isinstance(event, StageChanged):  # watchers want to know where the job is
                news.append(event)
            progressed |= not is_repeated and _lasts(event)
            if key is not None:
                told.add(key)
        progress = _progress(entry.event for entry in waiting) | {
            "sequence": max([self.sequence, *(entry.sequence for entry in waiting)]),
            "progressed": progressed,
        }
        if not states.update_progress(session, self._owned, progress):
            return False
        self._add_rows(session, news)
        return True

    def _add_rows(self, session: Session, events: list[Event]) -> None:
        job_id = self._owned.job_id
        repository.add_metrics(session, [row for event in events for row in _curve_points(job_id, event)])
        for event in events:
            if isinstance(event, Evaluated):
                row = {"job_id": job_id, "role": event.role, "teacher": event.teacher or ""}
                row |= {"step": event.step, "epoch": event.epoch}
                repository.add_evaluation(session, row | event.metrics.model_dump())
        repository.add_events(session, job_id, events)


def _key(event: Event) -> _Key | None:
    """What tells an event from others of its kind; None: each is one of its own."""
    match event:
        case StepLogged() | CheckpointSaved():
            return (event.kind, event.role, "", event.step)
        case Evaluated():
            return (event.kind, event.role, event.teacher or "", event.step)
        case StageChanged():
            return (event.kind, event.stage, "", 0)
        case _:
            return None


def _lasts(event: Event) -> bool:
    """Something is done that the next attempt need not do again."""
    match event:
        case CheckpointSaved():
            return True
        case Evaluated():
            return event.role == "teacher"
        case StageChanged():
            return event.stage in _LASTING_STAGES
        case _:
            return False


def _progress(events: Iterable[Event]) -> dict[str, Any]:
    progress: dict[str, Any] = {}
    for event in events:
        match event:
            case StageChanged():
                progress["stage"] = event.stage
            case StepLogged():
                progress |= {"progress": event.progress, "eta_seconds": event.eta_seconds}
            case _:
                pass
    return progress


def _curve_points(job_id: Any, event: Event) -> list[dict[str, Any]]:
    if not isinstance(event, StepLogged):
        return []
    values = event.losses | {
        "lr": event.lr,
        "grad_norm": event.grad_norm,
        "images_per_second": event.images_per_second,
    }
    key = {"job_id": job_id, "role": event.role, "step": event.step, "epoch": event.epoch}
    return [key | {"name": name, "value": value} for name, value in values.items()]
