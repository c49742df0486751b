"""The Celery application: `celery -A worker.app worker --concurrency 1`, one worker for each GPU.

A message only says that a job may be claimed. Losing, doubling or reordering messages does no harm, so they are
acknowledged early and nothing is stored about them.
"""

# Celery and billiard have no types.
# pyright: basic

import contextlib
import logging
import subprocess
import threading
from typing import Any
from uuid import UUID

from billiard.context import ForkContext
from celery import Celery
from celery.signals import worker_process_init, worker_ready, worker_shutdown, worker_shutting_down
from sqlalchemy.orm import Session

from api.db import get_engine
from api.settings import get_settings
from api.workers import repository as workers
from detrdistill.engine.processes import die_with_parent
from worker.reporter import DATABASE_DOWN
from worker.supervisor import run_job

_log = logging.getLogger(__name__)


def _configuration() -> dict[str, Any]:
    return {
        "broker_url": get_settings().redis_url,
        "result_backend": None,
        "task_ignore_result": True,
        "task_default_queue": "jobs",
        "task_acks_late": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_hijack_root_logger": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {"socket_connect_timeout": 2, "socket_timeout": 10, "health_check_interval": 10},
    }


app = Celery("detrdistill")
app.add_defaults(_configuration)  # read when first needed, not at import

_draining = ForkContext().Event()
"""Set in the main process, read in the pool process that it forks."""
_heartbeat_stop = threading.Event()


@app.task(name="worker.run_job", bind=True)
def run(self: Any, job_id: str) -> None:
    """Run the job that a message announces, if it is still to be had."""
    run_job(get_engine(), get_settings(), UUID(job_id), self.request.hostname, _draining.is_set)


def announce(job_id: UUID, expires_seconds: float) -> None:
    """Tell the workers that a job may be claimed.

    Raises:
        kombu.exceptions.OperationalError, OSError: the broker does not answer.
    """
    run.apply_async([str(job_id)], retry=False, expires=expires_seconds)


@worker_process_init.connect
def _in_pool_process(**_: object) -> None:
    die_with_parent()
    get_engine().dispose(close=False)  # connections of the parent are not ours


@worker_ready.connect
def _start_heartbeat(sender: Any, **_: object) -> None:
    def send_heartbeats() -> None:
        started = True
        while True:
            with contextlib.suppress(*DATABASE_DOWN), Session(get_engine()) as session, session.begin():
                workers.seen(session, sender.hostname, _device(), started=started)
                started = False
            if _heartbeat_stop.wait(get_settings().renew_seconds):
                return

    threading.Thread(target=send_heartbeats, name="heartbeat", daemon=True).start()


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    _draining.set()


@worker_shutdown.connect
def _stop_heartbeat(sender: Any, **_: object) -> None:
    _heartbeat_stop.set()
    with contextlib.suppress(*DATABASE_DOWN), Session(get_engine()) as session, session.begin():
        workers.gone(session, sender.hostname)


def _device() -> str:
    """What this worker trains on, found without loading torch into its main process."""
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "cpu"
    return listing.splitlines()[0].partition(" (UUID")[0] if listing.strip() else "cpu"
