"""The training process: `python -m worker.training_main spec.json`. `worker.protocol` is how it talks to its worker."""

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from detrdistill.engine.processes import die_with_parent
from detrdistill.errors import Stopped
from detrdistill.events import Event, RunFailed, RunStopped
from worker.failures import failure_of, may_succeed_again, resource_failure_of
from worker.inputs import changed_input, check_inputs
from worker.journal import Journal
from worker.protocol import RunSpec
from worker.redaction import Redactor, redact_standard_error, redactor_of

_SIGN_SECONDS = 0.5


def main() -> int:
    """Run the job of the spec file; exit status 0 unless the process should be started again."""
    die_with_parent()
    events = _take_standard_output()
    spec = RunSpec.model_validate_json(Path(sys.argv[1]).read_bytes())
    redact = redactor_of(spec)
    redact_standard_error(redact)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _watch_worker(spec.silence_seconds)
    stop = threading.Event()

    def ask_to_stop(*_: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal is the worker's to answer
    reports = _Reports(Journal(spec.journal, spec.sequence), events)
    outcome = _run(spec, reports, stop.is_set)
    if outcome is not None:
        reports.conclude(_redacted(outcome, redact))
    return 0


class _Reports:
    """Writes events to the journal, then sends them to the worker; and sends signs of progress. For any thread."""

    def __init__(self, journal: Journal, pipe: BinaryIO):
        self._journal = journal
        self._pipe = pipe
        self._lock = threading.Lock()
        self._signed_at = float("-inf")

    def report(self, event: Event) -> None:
        """Report an event.

        Raises:
            OSError: the storage does not take it; it was not sent.
        """
        with self._lock:
            entry = self._journal.number(event)
            self._journal.write(entry)
            self._send(entry.line)

    def conclude(self, event: Event) -> None:
        """Report how the run ended, even if the storage does not take it."""
        with self._lock:
            entry = self._journal.number(event)
            with contextlib.suppress(OSError):
                self._journal.write(entry)
            self._send(entry.line)

    def alive(self) -> None:
        """Send a sign of progress; it may be called as often as there is progress."""
        if time.monotonic() - self._signed_at > _SIGN_SECONDS:
            with self._lock:
                self._signed_at = time.monotonic()
                self._send(b"\n")

    def _send(self, line: bytes) -> None:
        self._pipe.write(line)
        self._pipe.flush()


def _run(spec: RunSpec, reports: _Reports, should_stop: Callable[[], bool]) -> Event | None:
    """Run to the end; an event that says why, if the end was not reached."""
    try:
        if (refused := check_inputs(spec)) is not None:
            return refused
        _train(spec, reports, should_stop)
    except Stopped:
        return RunStopped()
    except Exception as error:
        if _is_interruption(error):
            raise  # another attempt may succeed
        with contextlib.suppress(OSError):  # the log may be on a full disk
            traceback.print_exc()
        return resource_failure_of(error) or changed_input(spec, error) or failure_of(error)
    return None


def _train(spec: RunSpec, reports: _Reports, should_stop: Callable[[], bool]) -> None:
    from detrdistill.engine.run import run  # noqa: PLC0415  after the watchdog has started: torch takes seconds

    run(spec.config, spec.paths, reports.report, should_stop, reports.alive)


def _is_interruption(error: Exception) -> bool:
    """The device or a helping process is to blame, not the run."""
    torch = sys.modules.get("torch")
    return may_succeed_again(error) or (torch is not None and isinstance(error, torch.AcceleratorError))


def _redacted(event: Event, redact: Redactor) -> Event:
    if not isinstance(event, RunFailed):
        return event
    return event.model_copy(update={"message": redact(event.message), "hint": redact(event.hint)})


def _take_standard_output() -> BinaryIO:
    """Keep standard output for the worker; whatever else prints goes to standard error, which is the log."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _watch_worker(silence_seconds: float) -> None:
    """End the whole process group when the worker closes the pipe or falls silent."""

    def watch() -> None:
        while select.select([0], [], [], silence_seconds)[0] and os.read(0, 64):
            pass
        with contextlib.suppress(OSError):
            print("the worker is gone or silent; ending", file=sys.stderr, flush=True)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-worker", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
