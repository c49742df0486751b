"""Claims what is to be checked, has it checked, and writes down what was found."""

import logging
import select
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from api.checking import repository as checkers
from api.checking import states
from api.checking.states import CHECKS_CHANNEL, CheckClaim
from api.settings import Settings
from api.storage import Storage
from worker.checker.client import CheckServer
from worker.checker.protocol import Bounds, CheckRequest, Crashed, Outcome, Passed, Refused
from worker.reporter import DATABASE_DOWN

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_DATABASE_RETRY_SECONDS = 2.0
_GRACE_SECONDS = 60.0
"""A fork server that has not answered so long after the end of a check's time does not answer any more."""
_MIB = 1024**2


@dataclass
class _Running:
    """A check that this checker owns."""

    owned: CheckClaim
    deadline: float
    outcome: Outcome | None = None
    """Known, but not written yet: the database is away."""


@dataclass
class Checker:
    """One checker.

    Args:
        engine: database.
        settings: of this process.
        server: makes the checks; started, and started again when it ends.
        name: of this checker.
    """

    engine: Engine
    settings: Settings
    server: CheckServer
    name: str
    _running: dict[UUID, _Running] = field(default_factory=dict[UUID, _Running], init=False)
    """By the id of the check."""
    _beat_at: float = field(default=float("-inf"), init=False)
    _warned: tuple[str, ...] | None = field(default=None, init=False)
    """What was last shown; None until the fork server has loaded its libraries once: nobody is to wait for that."""

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until asked to stop; what is being checked then is left to others."""
        doorbell = _Doorbell(self.settings.database_url)
        try:
            while not stopping():
                if not self.server.alive:
                    self._replace_server()
                try:
                    self._beat()
                    self._write_outcomes()
                    self._claim()
                except DATABASE_DOWN as error:
                    _log.warning("waiting for the database: %s", error)
                    self._listen(_DATABASE_RETRY_SECONDS)
                else:
                    doorbell.wait(self.server, _POLL_SECONDS)
                    self._listen(0.0)
        finally:
            doorbell.close()
            self._hand_back()

    def _listen(self, wait_seconds: float) -> None:
        """Take what the fork server says."""
        for answer in self.server.answers(wait_seconds):
            if answer.id is not None and (running := self._running.get(answer.id)):
                running.outcome = answer.outcome
        late = [running for running in self._running.values() if not running.outcome and _is_over(running.deadline)]
        if late:
            _log.error("the fork server does not answer; it is ended")
            self._replace_server()

    def _replace_server(self) -> None:
        """Start the fork server, again if it has ended; its checks have ended with it."""
        self.server.close()
        for running in self._running.values():
            running.outcome = running.outcome or Crashed(how="ended with the process that had started it")
        self.server.start()

    def _beat(self) -> None:
        """Show that this checker is alive, and that it owns what it checks."""
        shown = tuple(self.server.warnings) if self.server.ready else self._warned
        if shown == self._warned and not _is_over(self._beat_at + self.settings.renew_seconds):
            return
        lost: list[UUID] = []
        with Session(self.engine) as session, session.begin():
            if shown is not None:
                checkers.seen(session, self.name, shown)
            for check, running in self._running.items():
                if not states.renew(session, running.owned, self.settings.lease_seconds):
                    lost.append(check)
        if shown != self._warned:
            _log.info("ready; %s", " ".join(shown or ()) or "checks are isolated")
        self._beat_at, self._warned = time.monotonic(), shown
        for check in lost:
            _log.warning("%s: somebody else checks it now", self._running[check].owned.id)
            self.server.end(check)
            del self._running[check]

    def _claim(self) -> None:
        """Start checks as long as there are any to be had and room for them."""
        for kind in states.RESOURCES:
            while self._has_room(kind):
                with Session(self.engine) as session, session.begin():
                    owned = states.claim(session, kind, self.settings.lease_seconds)
                if owned is None:
                    break
                self._start(owned)

    def _has_room(self, kind: states.ResourceKind) -> bool:
        """A long check of a dataset does not hold up the short ones of checkpoints."""
        datasets = sum(running.owned.kind == "datasets" for running in self._running.values())
        most = self.settings.checks_at_once
        return len(self._running) < most and (kind != "datasets" or datasets < max(1, most - 1))

    def _start(self, owned: CheckClaim) -> None:
        _log.info("%s %s: check %d", owned.kind, owned.id, owned.attempt)
        seconds = self.settings.check_seconds + owned.size / _MIB
        check = uuid4()  # a resource may come back while the answer to its last check is under way
        running = self._running[check] = _Running(owned, time.monotonic() + seconds + _GRACE_SECONDS)
        if owned.attempt > self.settings.check_attempts:
            running.outcome = _crashed_too_often(owned.attempt - 1, "ended with its checker")
            return
        bounds = Bounds(
            memory_bytes=self.settings.check_memory_bytes,
            silence_seconds=self.settings.check_silence_seconds,
            total_seconds=seconds,
        )
        folder = Storage(self.settings.storage_dir).locate(owned.path, owned.kind, owned.id)
        request = CheckRequest(id=check, kind=owned.kind, folder=folder, options=owned.options, bounds=bounds)
        self.server.send(request)

    def _write_outcomes(self) -> None:
        for check, running in list(self._running.items()):
            if running.outcome is not None:
                _log.info("%s %s: %s", running.owned.kind, running.owned.id, _in_short(running.outcome))
                self._write(running.owned, running.outcome)
                del self._running[check]

    def _write(self, owned: CheckClaim, outcome: Outcome) -> None:
        match outcome:
            case Passed():
                try:
                    with Session(self.engine) as session, session.begin():
                        states.accept(session, owned, outcome.facts)
                except DataError as error:
                    _log.warning("%s: what was found cannot be stored: %s", owned.id, error.orig)
                    self._refuse(owned, _not_storable(owned))
            case Refused():
                self._refuse(owned, outcome)
            case Crashed() if owned.attempt >= self.settings.check_attempts:
                self._refuse(owned, _crashed_too_often(owned.attempt, outcome.how))
            case Crashed():
                with Session(self.engine) as session, session.begin():
                    states.give_back(session, owned, count_attempt=True)

    def _refuse(self, owned: CheckClaim, refused: Refused) -> None:
        """Write the reason and remove the files, unless they are the operator's own."""
        error = refused.model_dump(exclude={"kind"}) | {"pointer": refused.pointer or owned.pointer}
        with Session(self.engine) as session, session.begin():
            if states.refuse(session, owned, error) and owned.path is None:
                Storage(self.settings.storage_dir).remove(owned.kind, owned.id)

    def _hand_back(self) -> None:
        """Leave to others what is not finished, without counting it as an attempt."""
        try:
            self._write_outcomes()
            with Session(self.engine) as session, session.begin():
                for running in self._running.values():
                    states.give_back(session, running.owned, count_attempt=False)
                checkers.gone(session, self.name)
        except DATABASE_DOWN as error:
            _log.warning("leases are left to expire: %s", error)
        for check in self._running:
            self.server.end(check)


class _Doorbell:
    """Wakes a checker when there is something to check. Without the database it only lets time pass."""

    def __init__(self, database_url: str):
        self._dsn = database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._connection: psycopg.Connection | None = None

    def wait(self, server: CheckServer, seconds: float) -> None:
        """Wait until there may be something to check, the fork server speaks, or time is up."""
        waiting: list[psycopg.Connection | CheckServer] = [server] if server.fileno() >= 0 else []
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=3)
                self._connection.execute(f"LISTEN {CHECKS_CHANNEL}".encode())
            if self._connection in select.select([*waiting, self._connection], [], [], seconds)[0]:
                list(self._connection.notifies(timeout=0))
        except (psycopg.Error, OSError) as error:
            _log.warning("no notifications: %s", error)
            self.close()
            select.select(waiting, [], [], seconds)

    def close(self) -> None:
        """Stop listening."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_over(position: float) -> bool:
    return time.monotonic() > position


def _crashed_too_often(times: int, how: str) -> Refused:
    return Refused(
        code="check_crashed",
        message=f"The check of these files was tried {times} times; the last time its process {how}.",
        hint="Save or export the files again; the log of the checker has the details.",
    )


def _not_storable(owned: CheckClaim) -> Refused:
    return Refused(
        code=f"{owned.kind.removesuffix('s')}_invalid",
        message="A name in the files has characters, or a number has a size, that the database cannot keep.",
        hint="Use names without control characters, and numbers below two billion.",
    )


def _in_short(outcome: Outcome) -> str:
    match outcome:
        case Passed():
            return "ready"
        case Refused():
            return f"refused, {outcome.code}: {outcome.message[:200]}"
        case Crashed():
            return f"its process {outcome.how}"
