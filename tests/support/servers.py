"""Real servers for the tests: PostgreSQL and a Redis-compatible broker, embedded or those of the environment."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

from api.settings import Settings
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.processes import Service
from worker.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = f"detrdistill_test_template_{uuid4().hex[:12]}"
"""Of this process; several may share a server."""


@dataclass(frozen=True)
class Servers:
    """Where the servers are."""

    postgres_url: str
    """Of a database from which others may be created."""
    redis_url: str


@contextmanager
def start_servers(folder: Path) -> Iterator[Servers]:
    """Start what the environment does not name; on any end, stop it."""
    with ExitStack() as stack:
        postgres_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        if postgres_url is None:
            postgres = EmbeddedPostgres(folder, folder / "postgres.log")
            stack.callback(postgres.service.stop)
            postgres.start()
            postgres_url = postgres.url
        if redis_url is None:
            valkey = EmbeddedValkey(folder, folder / "valkey.log")
            stack.callback(valkey.service.stop)
            valkey.start()
            redis_url = valkey.url
        else:
            redis_url = own_redis_database(redis_url)
        yield Servers(postgres_url, redis_url)


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    head, _, tail = url.partition("?")
    base = head.rpartition("/")[0]
    return f"{base}/{name}" + (f"?{tail}" if tail else "")


def own_redis_database(url: str) -> str:
    """A database of the n-th test process (`pytest -n`) on a shared server: n after that of its TCP URL."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if number == 0:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{int(parts.path.strip('/') or 0) + number}"))


@contextmanager
def template_database(url: str) -> Iterator[None]:
    """A migrated, empty database, from which the tests' databases are copied; dropped at the end."""
    drop_database(url, TEMPLATE)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {TEMPLATE}")
    environment = os.environ | {"DATABASE_URL": with_database(url, TEMPLATE)}
    alembic = [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), "upgrade", "head"]
    try:
        subprocess.run(alembic, env=environment, check=True, capture_output=True, cwd=ROOT)
        yield
    finally:
        drop_database(url, TEMPLATE)


@contextmanager
def fresh_database(url: str, template: str = TEMPLATE) -> Iterator[str]:
    """A database of its own, migrated and empty unless another template is named; dropped at the end."""
    name = f"detrdistill_test_{uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}")
    try:
        yield with_database(url, name)
    finally:
        drop_database(url, name)


def drop_database(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"drop database if exists {name} with (force)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class RunningService:
    """Api, scheduler and workers on real servers, as processes of their own."""

    folder: Path
    servers: Servers
    database_url: str
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    processes: dict[str, Service] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Settings:
        """Those of its processes."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return Settings()  # pyright: ignore[reportCallIssue]  the fields come from the environment

    def start(self, name: str, *command: str, **settings: str) -> Service:
        service = Service(
            name,
            [sys.executable, "-m", *command],
            log=self.folder / f"{name}.log",
            environment=os.environ | dict(self.environment) | settings,
            stop_seconds=30,
        )
        service.start()
        self.processes[name] = service
        return service

    def start_api(self) -> None:
        self.start(
            "api",
            "uvicorn",
            "--factory",
            "api.app:create_app",
            "--port",
            str(self.port),
            "--timeout-graceful-shutdown",
            "5",
        ).wait_until(lambda: self._answers("/health"), seconds=60)

    def start_scheduler(self) -> None:
        self.start("scheduler", "worker.scheduler")

    def start_checker(self, name: str = "checker", **settings: str) -> Service:
        """A checker as a process of its own, beside the one that all tests share."""
        return self.start(name, "worker.checker", **settings)

    def start_worker(self, name: str = "worker") -> Service:
        celery = ["celery", "-A", "worker.app", "worker", "--concurrency", "1", "--hostname", f"{name}@test"]
        return self.start(name, *celery, "--without-gossip", "--without-mingle", "--loglevel", "INFO")

    def wait_for_workers(self, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while f'"workers":{count}' not in self._get("/health"):
            assert time.monotonic() < deadline, self.processes["worker"].last_words()
            time.sleep(0.1)

    def stop(self, *, keep: Container[str] = ()) -> None:
        """Stop all processes but those named."""
        ending = [service for name, service in self.processes.items() if name not in keep]
        for service in ending:
            service.ask_to_stop()
        for service in ending:
            service.stop()
        self.processes = {name: service for name, service in self.processes.items() if name in keep}

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as response:
            return response.read().decode()

    def _answers(self, path: str) -> bool:
        try:
            self._get(path)
        except OSError:
            return False
        return True
