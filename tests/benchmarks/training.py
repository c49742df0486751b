"""Time of a short training of the demo: `python -m tests.benchmarks.training data [--apart]`, one line of JSON.

The demo's own configuration, student and control, for some epochs and with one evaluation. `--apart` trains one after
the other. The time is that of the two trainings, without loading the libraries and the gate.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from detrdistill.engine.processes import never_spin
from detrdistill.events import Event, StepLogged
from detrdistill.schema.run import RUN_CONFIG

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
EPOCHS = 2


def measure(data: Path, *, apart: bool) -> dict[str, Any]:
    """Threads, seconds of both trainings by wall and by CPU of all processes, and milliseconds of a step."""
    from detrdistill.engine import threads
    from detrdistill.engine.run import run
    from detrdistill.schema.paths import RunPaths

    threads.LEAST_SECONDS_BESIDE = float("inf") if apart else 0.0
    config = json.loads((DIGITS / "distill.json").read_text())
    config["training"]["epochs"], config["evaluation"] = EPOCHS, {"every_epochs": EPOCHS}
    stages: dict[str, float] = {}
    speeds: dict[str, list[float]] = {"student": [], "control": []}

    def report(event: Event) -> None:
        if event.kind == "stage":
            stages[event.stage] = time.perf_counter()
        elif isinstance(event, StepLogged):
            speeds[event.role].append(event.images_per_second)

    with tempfile.TemporaryDirectory() as work:
        run(
            RUN_CONFIG.validate_python(config),
            RunPaths(dataset=data, work=Path(work), teacher=DIGITS / "teacher"),
            report,
        )
        cost = json.loads((Path(work) / "state" / "step_cost.json").read_text())
    times = os.times()
    return {
        "threads": cost["threads"],
        "seconds": stages["export"] - stages["train_student"],
        "cpu_seconds": times.user + times.system + times.children_user + times.children_system,
        "step_ms": {role: 1000 * config["training"]["batch_size"] / median(found) for role, found in speeds.items()},
    }


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the digits")
    parser.add_argument("--apart", action="store_true", help="train one after the other")
    options = parser.parse_args()
    never_spin(os.environ)
    print(json.dumps(measure(options.data, apart=options.apart)))


if __name__ == "__main__":
    main()
