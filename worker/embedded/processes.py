"""Child processes of the embedded stack: started, watched, stopped in order."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from worker.embedded.binaries import Unavailable

_PR_SET_PDEATHSIG = 1
_MOST_RESTARTS = 5
_RESTART_WINDOW_SECONDS = 60.0


class Service:
    """One child process with its log. It outlives neither a stop nor, on Linux, the death of its parent."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_seconds: float = 15.0,
        run_as: int | None = None,
    ):
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._environment = dict(environment)
        self._stop_signal = stop_signal
        self._stop_seconds = stop_seconds
        self._run_as = run_as
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts: list[float] = []

    def start(self) -> None:
        """Start, in a session of its own so that Ctrl-C on the terminal does not reach it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
                preexec_fn=self._die_with_parent,  # noqa: PLW1509  one system call, in a process with one thread
                user=self._run_as,
                group=self._run_as,
                extra_groups=None if self._run_as is None else [],
            )

    @property
    def alive(self) -> bool:
        """The process is running."""
        return self._process is not None and self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for the service to answer.

        Raises:
            Unavailable: it ended or did not answer in time; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive:
                raise Unavailable(f"{self.name} ended while starting:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} did not answer within {seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def keep_alive(self) -> bool:
        """Start again if it has ended; true if it had.

        Raises:
            Unavailable: it keeps ending.
        """
        if self.alive:
            return False
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < _RESTART_WINDOW_SECONDS] + [now]
        if len(self._restarts) > _MOST_RESTARTS:
            raise Unavailable(f"{self.name} keeps ending:\n{self.log_tail()}")
        self.start()
        return True

    def ask_to_stop(self) -> None:
        """Ask for an orderly end."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop_signal)

    def stop(self) -> None:
        """End it: orderly if it can within its time, else with all it has started."""
        self.ask_to_stop()
        if self._process is None:
            return
        try:
            self._process.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self, lines: int = 12) -> str:
        """End of its log, and where to read more."""
        try:
            end = self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            end = []
        return "\n".join([*(f"  | {line}" for line in end), f"  (whole log: {self.log})"])

    def _die_with_parent(self) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, self._stop_signal)
