"""The training process: `python -m worker.runner spec.json`. See `worker.protocol` for how it talks to its worker."""

import errno
import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from detrdistill.engine.processes import die_with_parent
from detrdistill.errors import DetrDistillError, Stopped, TrainingProcessLost
from detrdistill.events import Event, RunFailed, RunStopped
from worker.protocol import RunSpec


def main() -> int:
    """Run the job of the spec file; exit status 0 unless the process should be started again."""
    die_with_parent()
    events = _take_standard_output()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    spec = RunSpec.model_validate_json(Path(sys.argv[1]).read_bytes())
    _watch_worker(spec.silence_seconds)
    stop = threading.Event()

    def ask_to_stop(*_: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on a terminal is the worker's to answer

    def report(event: Event) -> None:
        print(event.model_dump_json(), file=events, flush=True)

    outcome = _run(spec, report, stop.is_set)
    if outcome is not None:
        report(outcome)
    return 0


def _run(spec: RunSpec, report: Callable[[Event], None], should_stop: Callable[[], bool]) -> Event | None:
    """Run to the end; an event that says why, if the end was not reached."""
    import torch  # noqa: PLC0415  after the watchdog has started: this takes seconds

    from detrdistill.engine.run import run  # noqa: PLC0415
    from detrdistill.engine.session import Paths  # noqa: PLC0415

    paths = Paths(spec.dataset, spec.work, spec.teacher, spec.further_teachers, spec.student, spec.dataset_options)
    try:
        run(spec.config, paths, report, should_stop)
    except Stopped:
        return RunStopped()
    except TrainingProcessLost:
        raise  # another attempt may succeed
    except DetrDistillError as error:
        return RunFailed(code=error.code, message=error.message, hint=error.hint, pointer=error.pointer)
    except (torch.OutOfMemoryError, MemoryError) as error:
        hint = "Lower training.batch_size or data.image_size, or use a smaller teacher or student."
        return RunFailed(code="out_of_memory", message=f"Memory ran out: {error}", hint=hint)
    except torch.AcceleratorError:
        raise  # the device is to blame: another attempt may succeed
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return RunFailed(code="storage_full", message="The storage is full.", hint="Free space and submit it again.")
    except Exception as error:  # noqa: BLE001  the process ends here; the log keeps the trace
        traceback.print_exc()
        message = f"Unexpected {type(error).__name__}: {error}"
        return RunFailed(code="internal", message=message, hint="log.txt among the job's files has the details.")
    return None


def _take_standard_output() -> TextIO:
    """Keep standard output for events; whatever else prints goes to standard error, which is the log."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _watch_worker(silence_seconds: float) -> None:
    """End the whole process group when the worker closes the pipe or falls silent."""

    def watch() -> None:
        while select.select([0], [], [], silence_seconds)[0] and os.read(0, 64):
            pass
        print("the worker is gone or silent; ending", file=sys.stderr, flush=True)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="watch-worker", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
