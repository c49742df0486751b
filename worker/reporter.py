"""Turns the events of a run into rows: progress, curves, COCO metrics, and the event log that watchers follow."""

import json
import logging
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from api.jobs import repository, states
from api.jobs.states import Claim
from detrdistill.events import Evaluated, Event, StageChanged, StepLogged

DATABASE_DOWN = (OperationalError, InterfaceError)
_log = logging.getLogger(__name__)


class Reporter:
    """Collects events and writes them in batches; while the database is away they wait in memory."""

    def __init__(self, engine: Engine, owned: Claim):
        self._engine = engine
        self._owned = owned
        self._waiting: list[Event] = []

    def add(self, events: list[Event]) -> None:
        """Remember events for the next `flush`."""
        self._waiting += events

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
        self._waiting.clear()
        return True

    def write(self, session: Session) -> bool:
        """Write what waits into a transaction of the caller's; false if the job is no longer ours."""
        job_id = self._owned.job_id
        progress: dict[str, Any] = {}
        for event in self._waiting:
            match event:
                case StageChanged():
                    progress["stage"] = event.stage
                case StepLogged():
                    progress |= {"progress": event.progress, "eta_seconds": event.eta_seconds}
                case _:
                    pass
        if not states.update_progress(session, self._owned, progress):
            return False
        repository.add_metrics(session, [row for event in self._waiting for row in _curve_points(job_id, event)])
        for event in self._waiting:
            if isinstance(event, Evaluated) and not event.teacher:  # there is one teacher in the table and the charts
                row = {"job_id": job_id, "role": event.role, "step": event.step, "epoch": event.epoch}
                repository.add_evaluation(session, row | event.metrics.model_dump())
        repository.add_events(
            session,
            job_id,
            [(event.kind, json.loads(event.model_dump_json(exclude={"kind"}))) for event in self._waiting],
        )
        return True


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
