"""What initial weights are worth: `python -m tests.benchmarks.initial_weights published|library`.

Trains RT-DETRv2 pico on the digits of the demo for 4 epochs (372 steps), from the weights `build_detector` draws or
from those transformers draws, and prints the loss of the denoising boxes and the AP.
"""

import sys
import tempfile
from pathlib import Path
from statistics import mean

from detrdistill.detectors import build
from detrdistill.engine.run import run
from detrdistill.events import Event, StepLogged
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG
from examples.digits.make_dataset import make_dataset

CONFIG = {
    "kind": "train",
    "student": {"family": "rt-detr-v2", "size": "pico"},
    "data": {"image_size": 128, "horizontal_flip": False, "photometric": False, "crop": False},
    "training": {"epochs": 4, "batch_size": 16, "lr": 0.001, "warmup_steps": 50, "ema_decay": 0.99},
    "evaluation": {"every_epochs": 4},
}


def main() -> None:
    """Train once from the named weights."""
    if sys.argv[1] == "library":
        build._init_as_published = lambda model: None
    elif sys.argv[1] != "published":
        sys.exit(__doc__)
    losses: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepLogged):
            losses.append(event.losses["denoising.l1"])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder / "digits")
        result = run(
            RUN_CONFIG.validate_python(CONFIG), RunPaths(dataset=folder / "digits", work=folder / "work"), listen
        )
    print(f"{sys.argv[1]}: denoising.l1 {mean(losses[-10:]):.3f}, AP {result.student.metrics.ap:.3f}")


if __name__ == "__main__":
    main()
