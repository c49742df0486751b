"""The fork server as the checker sees it."""

import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from uuid import UUID

from worker.checker.protocol import Answer, CheckRequest, Command

CHECKS = "worker.checker.checks"
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""What a check may know of its surroundings; no credentials."""
_FIXED = {
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",  # a GPU is a training's
    "OMP_NUM_THREADS": "1",  # a pool of threads would not survive a fork
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}
_CHUNK = 1024**2
_STOP_SECONDS = 5.0


class CheckServer:
    """Starts the fork server and talks to it. Not to be used by two threads at once.

    Args:
        module: what the checks are, see `worker.checker.fork_server`.
    """

    def __init__(self, module: str = CHECKS):
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._unread = b""
        self.warnings: Sequence[str] = ()
        """Bounds that this machine cannot give to checks, once it is known."""
        self.ready = False
        """It has loaded its libraries. Requests may be sent before."""

    def start(self) -> None:
        """Start it; it loads its libraries for some seconds."""
        ours, its = socket.socketpair()
        self._scratch = tempfile.TemporaryDirectory(prefix="detrdistill-checks-", ignore_cleanup_errors=True)
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        folders = {"HOME": self._scratch.name, "TMPDIR": self._scratch.name}
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.checker.fork_server", self._module],
                stdin=its.fileno(),
                cwd=self._scratch.name,
                env=kept | folders | _FIXED,
                start_new_session=True,
            )
        self._socket, self._unread, self.ready = ours, b"", False

    @property
    def alive(self) -> bool:
        """It is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process number."""
        assert self._process is not None
        return self._process.pid

    def fileno(self) -> int:
        """Readable when there are answers, or when it has ended."""
        return -1 if self._socket is None else self._socket.fileno()

    def send(self, request: CheckRequest) -> None:
        """Ask for a check."""
        self._say(Command(start=request))

    def end(self, identifier: UUID) -> None:
        """End a check whose answer nobody waits for."""
        self._say(Command(end=identifier))

    def answers(self, wait_seconds: float = 0.0) -> list[Answer]:
        """What it has said since the last call, after waiting a while for the first."""
        found: list[Answer] = []
        while self._socket is not None and select.select([self._socket], [], [], 0.0 if found else wait_seconds)[0]:
            chunk = self._socket.recv(_CHUNK)
            *lines, self._unread = (self._unread + chunk).split(b"\n")
            found += [Answer.model_validate_json(line) for line in lines]
            if not chunk:
                self.close()
        for answer in found:
            if answer.id is None:
                self.ready, self.warnings = True, answer.warnings
        return [answer for answer in found if answer.id is not None]

    def close(self) -> None:
        """End it and every check."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its checks end with it
                self._process.wait()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _say(self, command: Command) -> None:
        assert self._socket is not None, "it is started"
        try:
            self._socket.sendall(command.model_dump_json().encode() + b"\n")
        except OSError:
            return  # it has just ended; `alive` will say so
