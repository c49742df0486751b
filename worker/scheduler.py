"""Announces queued jobs to the workers and takes back jobs whose worker is lost: `python -m worker.scheduler`.

Any number of copies may run. It keeps nothing in memory: what is due stands in the rows.
"""

import json
import logging
import signal
import threading
import time

from kombu.exceptions import OperationalError as BrokerDown
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.db import get_engine
from api.jobs import held, repository, states
from api.jobs.events import StateChanged
from api.jobs.states import Claim
from api.settings import Settings, get_settings
from api.storage import Storage
from detrdistill.events import RunFailed, RunFinished
from worker.app import announce
from worker.housekeeping import clean_up
from worker.journal import read_last
from worker.reporter import DATABASE_DOWN, Reporter

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_BROKER_RETRY_SECONDS = 2.0
_HOUSEKEEPING_SECONDS = 3600.0
_LEASE_EXPIRED = {
    "code": "worker_lost",
    "message": "The worker stopped answering; the job goes on from its last checkpoint.",
}


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings, engine, stop = get_settings(), get_engine(), threading.Event()

    def ask_to_stop(*_: object) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    swept_at = cleaned_at = float("-inf")
    while not stop.wait(_POLL_SECONDS):
        try:
            held.settle_all(engine)
            dispatch_due(engine, settings)
            if time.monotonic() - swept_at > settings.sweep_seconds:
                swept_at = time.monotonic()
                sweep(engine, settings)
        except DATABASE_DOWN as error:
            _log.warning("waiting for the database: %s", error)
            stop.wait(_BROKER_RETRY_SECONDS)
        if time.monotonic() - cleaned_at > _HOUSEKEEPING_SECONDS:
            cleaned_at = time.monotonic()
            clean_up(engine, settings)


def dispatch_due(engine: Engine, settings: Settings) -> None:
    """Announce the jobs that are due; a message that the broker does not take is tried again soon."""
    with Session(engine) as session, session.begin():
        due = states.take_due(session, settings.redispatch_seconds)
    for job_id, pause in due:
        try:
            announce(job_id, pause)
        except (BrokerDown, OSError) as error:
            _log.warning("job %s: the broker does not answer: %s", job_id, error)
            with Session(engine) as session, session.begin():
                states.dispatch_failed(session, job_id, _BROKER_RETRY_SECONDS)


def sweep(engine: Engine, settings: Settings) -> None:
    """Take back running jobs whose lease has expired; what their journals hold is written first."""
    storage = Storage(settings.storage_dir)
    with Session(engine) as session, session.begin():
        found = states.sweep(
            session, json.dumps(_LEASE_EXPIRED), lambda owned: _write_journal(engine, session, storage, owned)
        )
        for job_id, state in found:
            _log.warning("job %s: its lease has expired; now %s", job_id, state)
            repository.add_events(session, job_id, [StateChanged(state=state, error=_LEASE_EXPIRED)])


def _write_journal(engine: Engine, session: Session, storage: Storage, owned: Claim) -> None:
    """Write what the lost worker has not; how the run ended, if it has, is for the next worker to write.

    Nothing that is wrong with a journal keeps the job from going on.
    """
    reporter = Reporter(engine, owned)
    try:
        entries = read_last(storage.folder("jobs", owned.job_id), owned.fence, owned.sequence)
        reporter.add(entry for entry in entries if not isinstance(entry.event, RunFinished | RunFailed))
        with session.begin_nested():
            reporter.write(session)
    except DATABASE_DOWN:
        raise
    except (OSError, ValueError, SQLAlchemyError):
        _log.exception("job %s: its journal cannot be written", owned.job_id)


if __name__ == "__main__":
    main()
