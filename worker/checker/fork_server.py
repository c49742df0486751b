"""The fork server: `python -m worker.checker.fork_server <module>`. Loads the libraries once, forks for each check.

It is started with a clean environment and never sees the database: what a check could read of its own memory holds no
credentials. The module gives `preload()` and `check(request, progress)`. Standard input is the socket to the checker.
"""

import gc
import importlib
import logging
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from worker.checker.isolation import isolate
from worker.checker.process import LOG_FILE, PROGRESS, Check, no_memory, run_check, says_no_memory
from worker.checker.protocol import OUTCOME, Answer, CheckRequest, Command, Crashed, Outcome, Refused
from worker.training_main import die_with_parent

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1
_READS_AT_ONCE = 100
_CHUNK = 1024**2
_LONGEST_OUTCOME = 64 * 1024**2
_SLOW_HINT = "Give smaller files, or have the operator raise {}."


def main() -> None:
    """Serve until the checker closes the socket."""
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal is the checker's to answer
    checker = socket.socket(fileno=0)
    module = importlib.import_module(sys.argv[1])
    module.preload()
    warnings = _isolation_warnings()
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        _log.warning("%d threads run; a process that is forked from this one has a single one", threads)
    gc.collect()
    gc.freeze()  # so that a collection in a check does not copy what it shares with this process
    ForkServer(checker, module.check).serve(warnings)


class ForkServer:
    """Starts checks, keeps them within their bounds, and passes their outcomes on."""

    def __init__(self, checker: socket.socket, check: Check):
        self._checker = checker
        self._check = check
        self._running: dict[UUID, _Process] = {}
        self._selector = selectors.DefaultSelector()
        self._unread = b""

    def serve(self, warnings: list[str]) -> None:
        """Work until the checker is gone, then end what runs."""
        self._tell(Answer(id=None, warnings=warnings))
        self._selector.register(self._checker, selectors.EVENT_READ)
        try:
            while True:
                ready = self._selector.select(_LOOK_SECONDS if self._running else None)
                if any(key.fileobj is self._checker for key, _ in ready) and not self._obey():
                    return
                for process in list(self._running.values()):
                    self._look_after(process)
        finally:
            for process in self._running.values():
                process.kill()

    def _obey(self) -> bool:
        """Carry out the commands that have come; false if the checker is gone."""
        chunk = self._checker.recv(_CHUNK)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            command = Command.model_validate_json(line)
            if command.start is not None:
                process = _Process(command.start, self._check)
                self._running[command.start.id] = process
                self._selector.register(process.output, selectors.EVENT_READ)
            if command.end is not None and (ended := self._running.get(command.end)):
                ended.kill()
        return bool(chunk)

    def _look_after(self, process: "_Process") -> None:
        outcome = process.poll()
        if outcome is not None:
            identifier = process.request.id
            self._selector.unregister(process.output)
            process.close()
            del self._running[identifier]
            self._tell(Answer(id=identifier, outcome=outcome))

    def _tell(self, reply: Answer) -> None:
        self._checker.sendall(reply.model_dump_json().encode() + b"\n")


class _Process:
    """One check as the fork server sees it."""

    def __init__(self, request: CheckRequest, check: Check):
        self.request = request
        self.scratch = Path(tempfile.mkdtemp(prefix="check-"))
        self.output, output = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                _close_all_but(output)
                run_check(check, request, output, self.scratch)
                status = 0
            finally:
                os._exit(status)  # nothing of the fork server is to be cleaned up here
        os.close(output)
        os.set_blocking(self.output, False)
        self._outcome = bytearray()
        self._refused: Refused | None = None
        self._started_at = self._heard_at = time.monotonic()
        self._shared_bytes = _anonymous_bytes(self.pid)

    def poll(self) -> Outcome | None:
        """Read what it says and hold it to its bounds; its outcome once it has ended."""
        self._read()
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            self._refused = self._refused or self._beyond_bounds()
            if self._refused is not None:
                self.kill()
            return None
        self._end_group()
        self._read()
        return self._conclude(status)

    def kill(self) -> None:
        """End it and all it has started. It has not been waited for, so that the number is its own."""
        os.kill(self.pid, signal.SIGKILL)
        self._end_group()

    def close(self) -> None:
        """Remove what it leaves."""
        os.close(self.output)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _end_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            for _ in range(_READS_AT_ONCE):
                chunk = os.read(self.output, _CHUNK)
                if not chunk:
                    return
                self._heard_at = time.monotonic()
                self._outcome += chunk if self._outcome else chunk.lstrip(PROGRESS)

    def _beyond_bounds(self) -> Refused | None:
        bounds, now = self.request.bounds, time.monotonic()
        if _anonymous_bytes(self.pid) - self._shared_bytes > bounds.memory_bytes:
            return no_memory(bounds)
        if len(self._outcome) > _LONGEST_OUTCOME:
            return Refused(
                code=f"{self.request.noun}_invalid",
                message=f"What there is to say of these files is longer than {_LONGEST_OUTCOME >> 20} MiB.",
                hint="Give files with fewer and shorter names.",
            )
        if now - self._heard_at > bounds.silence_seconds:
            message = f"The check of these files made no progress for {bounds.silence_seconds:.0f} s and was ended."
            hint = _SLOW_HINT.format("DETRDISTILL_CHECK_SILENCE_SECONDS")
            return Refused(code="check_timed_out", message=message, hint=hint)
        if now - self._started_at > bounds.total_seconds:
            message = f"The check of these files took longer than {bounds.total_seconds:.0f} s and was ended."
            hint = _SLOW_HINT.format("DETRDISTILL_CHECK_SECONDS")
            return Refused(code="check_timed_out", message=message, hint=hint)
        return None

    def _conclude(self, status: int) -> Outcome:
        if self._refused is not None:
            return self._refused
        log = self._end_of_log()
        if log:
            _log.info("%s of %s says:\n%s", self.request.noun, self.request.folder, log)
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            with suppress(ValidationError):
                return OUTCOME.validate_json(self._outcome)
        if says_no_memory(log):
            return no_memory(self.request.bounds)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return Crashed(how=how)

    def _end_of_log(self) -> str:
        try:
            return (self.scratch / LOG_FILE).read_bytes()[-4096:].decode(errors="replace").strip()
        except OSError:
            return ""


def _close_all_but(descriptor: int) -> None:
    """Close what a check has from the fork server, the way to the checker above all."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def _anonymous_bytes(pid: int) -> int:
    """Memory of a process and its children that is not that of files; 0 once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    own = sum(int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem"))
    return own * 1024 + sum(_anonymous_bytes(int(child)) for child in children)


def _isolation_warnings() -> list[str]:
    """What this machine cannot take from a check, tried in a process of its own."""
    output, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(written, "\n".join(isolate()).encode())
        finally:
            os._exit(0)
    os.close(written)
    with os.fdopen(output) as lines:
        warnings = lines.read().splitlines()
    os.waitpid(pid, 0)
    return warnings


if __name__ == "__main__":
    main()
