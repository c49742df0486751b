"""Starts everything in order, keeps it running, stops everything in order."""

import fcntl
import json
import os
import socket
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from alembic import command as alembic
from alembic.config import Config

from worker.embedded.binaries import Unavailable
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.processes import Service
from worker.embedded.valkey import EmbeddedValkey

_ROOT = Path(__file__).resolve().parents[2]
_STOP_WORKER_SECONDS = 150.0
"""A worker that is asked to stop first has its training process write a checkpoint."""


class Stack:
    """Servers and processes of one state folder.

    Args:
        state: everything the stack writes is below it.
        host: address the api listens on.
        port: port the api listens on.
        say: shows a line to the user.
    """

    def __init__(self, state: Path, host: str, port: int, say: Callable[[str], None]):
        self.state = state.resolve()
        self.host = host
        self.port = port
        self.say = say
        self.logs = self.state / "logs"
        self.url = f"http://{host}:{port}"
        self._cleanup = ExitStack()
        self._kept: list[Service] = []
        self._processes: list[Service] = []

    def start(self) -> None:
        """Start all that is needed.

        Raises:
            Unavailable: with what is wrong and what to do; what was started has been stopped again.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        try:
            self._lock()
            self._check_port()
            environment = self._start_servers()
            _migrate(environment["DATABASE_URL"])
            self._start_processes(environment)
            self._write_address(environment)
        except BaseException:
            self.stop()
            raise

    def watch(self) -> None:
        """Start again what has ended. Call it every second or so.

        Raises:
            Unavailable: something keeps ending.
        """
        for service in self._kept:
            if service.keep_alive():
                self.say(f"{service.name} had ended and was started again (log: {service.log}).")

    def stop(self) -> None:
        """Stop everything: workers first, servers last."""
        self._kept.clear()
        self._cleanup.close()

    def _lock(self) -> None:
        lock: IO[str] = self._cleanup.enter_context((self.state / "lock").open("a+"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            address = self.state / "up.json"
            where = f" at {json.loads(address.read_text())['url']}" if address.is_file() else ""
            raise Unavailable(f"It is already running in {self.state}{where}.") from error
        (self.state / "up.json").unlink(missing_ok=True)  # of a stack that was killed

    def _check_port(self) -> None:
        with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise Unavailable(
                    f"Port {self.port} of {self.host} cannot be used: {error.strerror}. "
                    f"Choose another: make up PORT={self.port + 1}"
                ) from error

    def _start_servers(self) -> dict[str, str]:
        """The environment of the processes; servers that it names already are not started."""
        environment = dict(os.environ)
        if "DATABASE_URL" not in environment:
            self.say("starting PostgreSQL")
            postgres = EmbeddedPostgres(self.state, self.logs / "postgres.log")
            self._cleanup.callback(postgres.service.stop)
            postgres.start()
            environment["DATABASE_URL"] = postgres.url
            self._kept.append(postgres.service)
        if "REDIS_URL" not in environment:
            self.say("starting Valkey")
            valkey = EmbeddedValkey(self.state, self.logs / "valkey.log")
            self._cleanup.callback(valkey.service.stop)
            valkey.start()
            environment["REDIS_URL"] = valkey.url
            self._kept.append(valkey.service)
        temporary = self.state / "tmp"
        temporary.mkdir(exist_ok=True)
        environment.setdefault("DETRDISTILL_STORAGE_DIR", str(self.state / "storage"))
        environment.setdefault("DETRDISTILL_ALLOWED_HOSTS", json.dumps(["localhost", "127.0.0.1", "[::1]", self.host]))
        environment["TMPDIR"] = str(temporary)  # uploads are spooled on the disk that will keep them
        return environment

    def _start_processes(self, environment: dict[str, str]) -> None:
        python = [sys.executable, "-m"]
        celery = ["celery", "-A", "worker.app", "worker", "--concurrency", "1", "--loglevel", "INFO"]
        uvicorn = ["uvicorn", "--factory", "api.app:create_app", "--host", self.host, "--port", str(self.port)]
        uvicorn += ["--timeout-graceful-shutdown", "5"]  # the streams of open tabs never end by themselves
        api = Service("api", [*python, *uvicorn], log=self.logs / "api.log", environment=environment)
        checker = Service(
            "checker", [*python, "worker.checker"], log=self.logs / "checker.log", environment=environment
        )
        scheduler = Service(
            "scheduler", [*python, "worker.scheduler"], log=self.logs / "scheduler.log", environment=environment
        )
        worker = Service(
            "worker",
            [*python, *celery, "--without-gossip", "--without-mingle"],
            log=self.logs / "worker.log",
            environment=environment,
            stop_seconds=_STOP_WORKER_SECONDS,
        )
        self.say("starting api, scheduler, checker and worker")
        self._processes = [api, scheduler, checker, worker]
        for service in self._processes:
            self._cleanup.callback(service.stop)
            service.start()
        self._kept += self._processes
        self._cleanup.callback(self._ask_all_to_stop)
        api.wait_until(lambda: self._health() is not None, seconds=60)
        # nobody waits for the checker: it loads its libraries meanwhile, and uploads are answered without it
        worker.wait_until(lambda: (self._health() or {}).get("workers", 0) > 0, seconds=90)

    def _ask_all_to_stop(self) -> None:
        """The slowest first, so that they stop side by side."""
        for service in self._processes:
            service.ask_to_stop()

    def _health(self) -> dict[str, Any] | None:
        """What the api says of the service; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as response:  # noqa: S310
                return json.load(response)
        except (OSError, ValueError):
            return None

    def _write_address(self, environment: dict[str, str]) -> None:
        address = self.state / "up.json"
        names = ("DATABASE_URL", "REDIS_URL", "DETRDISTILL_STORAGE_DIR")
        content = {"url": self.url, "pid": os.getpid()} | {name: environment[name] for name in names}
        address.touch(mode=0o600)
        address.write_text(json.dumps(content, indent=2) + "\n")
        self._cleanup.callback(address.unlink, missing_ok=True)


def _migrate(database_url: str) -> None:
    config = Config(_ROOT / "alembic.ini")
    config.attributes["database_url"] = database_url
    try:
        alembic.upgrade(config, "head")
    except Exception as error:
        raise Unavailable(f"The database cannot be migrated: {error}") from error
