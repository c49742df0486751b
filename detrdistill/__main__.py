"""`python -m detrdistill run.json`: a run without any service.

The file holds `{"config": {...}, "paths": {"dataset": ..., "work": ..., "teacher": ..., "student": ...}}`; of several
teachers, `paths.teachers` has the path of each by its name in `config.teachers`. Relative paths are relative to the
file.
`paths.dataset_options` says how to read a dataset that leaves it open: `{"val_fraction": 0.2, "seed": 0}`.
Started again, an interrupted run resumes.
"""

import argparse
import json
import logging
import os
import signal
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from detrdistill.engine.processes import never_spin
from detrdistill.errors import DetrDistillError, Stopped
from detrdistill.events import Evaluated, Event, RunFinished, StepLogged
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RunConfig
from detrdistill.schema.validation import findings, unusable


class RunFile(BaseModel):
    """Content of a run file."""

    model_config = ConfigDict(extra="forbid")

    config: RunConfig
    paths: RunPaths


def main(arguments: list[str] | None = None) -> int:
    """Run the file; exit status 0 when finished, 1 on an error the message explains, 3 when stopped."""
    parser = argparse.ArgumentParser(prog="python -m detrdistill", description=__doc__)
    parser.add_argument("run", type=Path, help="run file (JSON)")
    parser.add_argument("--json", action="store_true", help="print every event as one line of JSON")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        file = _read(options.run)
    except (OSError, ValueError, RecursionError) as error:
        print(f"{options.run}: {error}", file=sys.stderr)
        return 1

    never_spin(os.environ)
    from detrdistill.engine.run import run  # noqa: PLC0415  torch loads only when there is something to run

    paths = file.paths.below(options.run.resolve().parent)
    stop = _stop_on_signals()
    try:
        run(file.config, paths, _print_json if options.json else _print_text, lambda: bool(stop))
    except Stopped as error:
        print(error, file=sys.stderr)
        return 3
    except DetrDistillError as error:
        print(f"{_place(error)}{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


def _place(error: DetrDistillError) -> str:
    """Where in the run file the fault is, if it is in a field of it."""
    if error.pointer:
        return f"/config{error.pointer}: "
    return f"/paths{error.path_pointer}: " if error.path_pointer else ""


def _read(path: Path) -> RunFile:
    """The run file.

    Raises:
        ValueError: with one line for each fault and its JSON pointer.
    """
    document = json.loads(path.read_bytes())
    schema = RunFile.model_json_schema()
    found = unusable(document, schema)
    if not found:
        try:
            return RunFile.model_validate(document)
        except ValidationError as error:
            found = findings(error.errors(), document, schema)
    raise ValueError("\n".join(f"{finding.pointer}: {finding.message} {finding.hint}".strip() for finding in found))


def _stop_on_signals() -> list[int]:
    """The signals received so far; the first Ctrl-C asks for a checkpoint, the second kills."""
    received: list[int] = []

    def remember(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, remember)
    return received


def _print_json(event: Event) -> None:
    print(event.model_dump_json(), flush=True)


def _print_text(event: Event) -> None:
    match event:
        case StepLogged():
            text = (
                f"{event.role} step {event.step}/{event.total_steps}  loss {event.losses['total']:.3f}  "
                f"{event.images_per_second:.1f} images/s  {event.progress:.0%}, {event.eta_seconds:.0f} s left"
            )
        case Evaluated():
            text = f"{event.role} epoch {event.epoch:g}  AP {event.metrics.ap:.4f}  AP50 {event.metrics.ap50:.4f}"
        case RunFinished():
            text = event.result.model_dump_json(indent=2, exclude={"student": {"metrics": {"per_class"}}})
            if event.result.verdict is not None:
                text += f"\n{event.result.verdict}"
        case _:
            text = event.model_dump_json()
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
