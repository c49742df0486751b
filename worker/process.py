"""A training process as its worker sees it."""

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from pydantic import ValidationError

from detrdistill.engine.processes import never_spin
from detrdistill.events import EVENT, Event
from worker.protocol import RunSpec

SPEC_FILE = "spec.json"
LOG_FILE = "log.txt"
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_ENVIRONMENT_PREFIXES = ("CUDA_", "NVIDIA_", "NCCL_", "OMP_", "GOMP_", "KMP_", "MKL_", "PYTORCH_", "TORCH_")
"""What a training may know of its surroundings; no credentials."""


class TrainingProcess:
    """Starts `worker.runner` in a process group of its own and reads its events."""

    def __init__(self, spec: RunSpec):
        spec.work.mkdir(parents=True, exist_ok=True)
        spec_file = spec.work / SPEC_FILE
        spec_file.write_text(spec.model_dump_json(indent=2))
        with (spec.work / LOG_FILE).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker.runner", str(spec_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=spec.work,
                env=_environment(),
                start_new_session=True,
            )
        self._log = spec.work / LOG_FILE
        self._events: queue.Queue[Event] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="read-events", daemon=True)
        self._reader.start()

    def events(self, wait_seconds: float) -> list[Event]:
        """What has been reported since the last call, after waiting a moment for the first."""
        found: list[Event] = []
        try:
            found.append(self._events.get(timeout=wait_seconds))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found

    @property
    def ended(self) -> bool:
        """The process is gone and everything it reported has been read or is in the queue."""
        return self._process.poll() is not None and not self._reader.is_alive()

    @property
    def returncode(self) -> int | None:
        """Exit status; the negative number of the signal that killed it."""
        return self._process.returncode

    def beat(self) -> None:
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
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self, lines: int = 8) -> str:
        """End of the log."""
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._events.put(EVENT.validate_json(line))
            except ValidationError:
                sys.stderr.write(f"not an event: {line[:200]!r}\n")


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    never_spin(kept)
    return kept | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def folder_of(path: str | None, stored: Path) -> Path:
    """Where a data set or checkpoint lies: at the operator's path, or in the storage."""
    return stored if path is None else Path(path)
