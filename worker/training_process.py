"""A training process as its worker sees it."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time

from detrdistill.engine.processes import never_spin
from detrdistill.events import StageChanged
from worker.journal import JournalEntry
from worker.protocol import RunSpec

SPEC_FILE = "spec.json"
LOG_FILE = "log.txt"
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_ENVIRONMENT_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "OMP_", "GOMP_", "KMP_", "MKL_", "PYTORCH_", "TORCH_")
"""What a training may know of its surroundings; no credentials."""
_DEATH_SECONDS = 10.0
"""A killed process that hangs in the kernel is waited for so long; it will do nothing more."""


class TrainingProcess:
    """Starts `worker.training_main` in a process group of its own, reads its events and notes its signs of progress.

    Raises:
        OSError: it cannot be started, or its files cannot be written.
    """

    def __init__(self, spec: RunSpec):
        spec.paths.work.mkdir(parents=True, exist_ok=True)
        spec_file = spec.paths.work / SPEC_FILE
        spec_file.write_text(spec.model_dump_json(indent=2))
        with (spec.paths.work / LOG_FILE).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.training_main", str(spec_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=spec.paths.work,
                env=_environment(),
                start_new_session=True,
            )
        self._log = spec.paths.work / LOG_FILE
        self._heard_at = time.monotonic()
        self._is_under_way = False
        self._entries: queue.Queue[JournalEntry] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="read-events", daemon=True)
        self._reader.start()

    def entries(self, wait_seconds: float) -> list[JournalEntry]:
        """What has been reported since the last call, after waiting a moment for the first."""
        found: list[JournalEntry] = []
        try:
            found.append(self._entries.get(timeout=wait_seconds))
            while True:
                found.append(self._entries.get_nowait())
        except queue.Empty:
            return found

    @property
    def ended(self) -> bool:
        """The process is gone and everything it reported has been read or is in the queue."""
        if self._process.poll() is None:
            return False
        self._kill_group()  # what it had started may hold the pipe
        return not self._reader.is_alive()

    @property
    def returncode(self) -> int | None:
        """Exit status; the negative number of the signal that killed it."""
        return self._process.returncode

    @property
    def silent_seconds(self) -> float:
        """Time since the last sign of progress."""
        return time.monotonic() - self._heard_at

    @property
    def is_under_way(self) -> bool:
        """It has given a sign of progress in its present stage; the first may take long: imports, a first step."""
        return self._is_under_way

    def send_heartbeat(self) -> None:
        """Tell the process that its worker is alive and owns the job."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b".")
            self._process.stdin.flush()
        except OSError:
            return  # it has just ended; `ended` will say so

    def ask_to_stop(self) -> None:
        """Ask for a checkpoint and an end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all it has started, now."""
        self._kill_group()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DEATH_SECONDS)
        self._reader.join(_DEATH_SECONDS)

    def _kill_group(self) -> None:
        if self._process.poll() is None or self._reader.is_alive():  # else the group's number may be another's
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def log_tail(self, lines: int = 8) -> str:
        """End of the log, as far as it can be read."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._heard_at = time.monotonic()
            if line == b"\n":
                self._is_under_way = True
                continue
            try:
                entry = JournalEntry.parse(line)
            except ValueError as error:
                sys.stderr.write(f"{error}: {line[:200]!r}\n")
                continue
            if isinstance(entry.event, StageChanged):
                self._is_under_way = False
            self._entries.put(entry)


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    never_spin(kept)
    return kept | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
