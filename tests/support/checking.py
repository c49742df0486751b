"""A checker in this process, whose fork server all tests of the session share."""

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from uuid import uuid4

from sqlalchemy import create_engine

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


@contextmanager
def checker(settings: Settings, server: CheckServer | None = None) -> Iterator[Checker]:
    """A checker in a thread; on any end, stop it."""
    stop = threading.Event()
    engine = create_engine(settings.database_url, connect_args={"connect_timeout": 3})
    running = Checker(engine, settings, server or shared_server(), f"test-{uuid4().hex[:8]}")
    thread = threading.Thread(target=running.run, args=[stop.is_set], name="checker")
    thread.start()
    try:
        yield running
    finally:
        stop.set()
        thread.join()
        engine.dispose()
