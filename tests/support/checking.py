"""A checker in this process, whose fork server all tests of the session share."""

import atexit
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from uuid import uuid4

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from api.checking.models import CheckerRow
from api.settings import Settings
from worker.checker.checker import Checker
from worker.checker.client import CheckServer


@lru_cache
def _server() -> CheckServer:
    server = CheckServer()
    atexit.register(server.close)
    return server


def shared_server() -> CheckServer:
    """Loading its libraries takes some seconds, so that it is done once. One checker may use it at a time."""
    server = _server()
    if not server.alive:
        server.close()
        server.start()
    return server


def wait_until_seen(engine: Engine, running: Checker) -> None:
    """Its fork server has loaded its libraries, and uploads wait for it."""
    deadline = time.monotonic() + 300
    while True:
        with Session(engine) as session:
            if session.get(CheckerRow, running.name) is not None:
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def checker(settings: Settings, server: CheckServer | None = None) -> Iterator[Checker]:
    """A checker in a thread; on any end, stop it."""
    stop = threading.Event()
    engine = create_engine(settings.database_url, connect_args={"connect_timeout": 3})
    running = Checker(engine, settings, server or shared_server(), f"test-{uuid4().hex[:8]}")
    thread = threading.Thread(target=running.run, args=[stop.is_set], name="checker")
    thread.start()
    try:
        wait_until_seen(engine, running)
        yield running
    finally:
        stop.set()
        thread.join()
        engine.dispose()
