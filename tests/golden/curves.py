"""Training curves that must not change: `python -m tests.golden.curves` writes them anew, or those that it is given.

The total loss of 20 AdamW steps for each method and variant. A refactor leaves them untouched; whoever means to change
a loss writes them anew and says why.

Teacher and student are RT-DETRv2 at 64 px of different width, depth and number of queries, on two images of noise.
Rounding must not decide anything, so that the curves are the same for other versions of the libraries:

- Weights and images come from numpy's frozen `RandomState` and the tensors' names, not from the order in which a
  library draws its own; denoising queries, which it draws too, are off.
- The student has a query for each of its 84 cells, so that none is at the edge of being picked.
- Weights of methods are such that a twentieth of the loss or more is theirs.
- The rate is low, so that what rounding changes stays small.
"""

import json
import math
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from detrdistill.data.dataset import Batch
from detrdistill.detectors.build import build_detector
from detrdistill.detectors.detector import Detector
from detrdistill.schema.run import RUN_CONFIG, ArchitectureConfig, DistillConfig
from tests.core.engine.test_step import HALFWAY, methods_of, step_of
from tests.support.factories import targets_of

FILE = Path(__file__).with_name("curves.json")
STEPS = 20
SIDE = 64
LEARNING_RATE = 5e-5
CASES: Mapping[str, dict[str, object]] = MappingProxyType(
    {
        "matched_logits, official": {"kind": "matched_logits", "variant": "official"},
        "matched_logits, paper": {"kind": "matched_logits", "variant": "paper"},
        "matched_logits, recommended": {"kind": "matched_logits", "variant": "recommended"},
        "target_features, official": {"kind": "target_features", "variant": "official"},
        "target_features, paper": {"kind": "target_features", "variant": "paper", "weight": 500.0},
        "target_features, recommended": {"kind": "target_features", "variant": "recommended", "weight": 1.0},
        "query_prior, official": {"kind": "query_prior", "variant": "official"},
        "query_prior, paper": {"kind": "query_prior", "variant": "paper"},
        "query_prior, recommended": {"kind": "query_prior", "variant": "recommended"},
        "distillation_points, paper": {"kind": "distillation_points", "variant": "paper", "general": 20},
        "distillation_points, recommended": {
            "kind": "distillation_points",
            "variant": "recommended",
            "general": 20,
        },
        "feature_maps, fitnet": {"kind": "feature_maps"},
        "feature_maps, mgd": {"kind": "feature_maps", "form": "mgd", "weight": 0.1},
        "foreground_memory": {"kind": "foreground_memory", "foreground_weight": 0.02, "background_weight": 0.02},
    }
)


def curve(method: Mapping[str, object]) -> list[float]:
    """Total loss of each step."""
    config = RUN_CONFIG.validate_python({"kind": "distill", "methods": [method]})
    assert isinstance(config, DistillConfig)
    student = _detector("pico", queries=84, layers=2)
    teacher = _detector("nano", queries=12, layers=3, fresh=False)
    step = step_of(student, teacher, config)
    methods = methods_of(step)
    for module in methods:
        _fix_weights(module, module.name)
    parameters = [*student.parameters(), *(weight for module in methods for weight in module.parameters())]
    optimizer = torch.optim.AdamW(
        [weight for weight in parameters if weight.requires_grad], lr=LEARNING_RATE, foreach=True
    )
    batch = _batch()
    torch.manual_seed(0)  # random points and masks
    losses: list[float] = []
    for _ in range(STEPS):
        total = step(batch, HALFWAY).total
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        losses.append(round(total.item(), 5))
    return losses


def _detector(size: str, *, queries: int, layers: int, fresh: bool = True) -> Detector:
    architecture = ArchitectureConfig(family="rt-detr-v2", size=size, queries=queries, decoder_layers=layers)
    detector = build_detector(architecture.family, architecture.resolve(), ["a", "b", "c"], SIDE, seed=0)
    detector.model.config.num_denoising = 0
    _fix_weights(detector, size, fresh=fresh)
    return detector


@torch.no_grad()
def _fix_weights(module: nn.Module, seed: str, *, fresh: bool = True) -> None:
    """Draw weights anew, matrices by their fan-in and biases small.

    What is built as a constant stays: scales of normalisation, and unless `fresh` is false the start of the heads.
    """
    for name, parameter in module.named_parameters():
        scale = parameter.ndim == 1 and name.endswith("weight")
        if scale or (fresh and torch.equal(parameter, parameter.flatten()[0].expand_as(parameter))):
            continue
        deviation = 0.02 if parameter.ndim == 1 else math.sqrt(len(parameter) / parameter.numel() / 3)
        draws = np.random.RandomState(zlib.crc32(f"{seed} {name}".encode())).standard_normal(parameter.shape)
        parameter.copy_(torch.from_numpy(deviation * draws))


def _batch() -> Batch:
    noise = np.random.RandomState(0).randint(0, 256, (2, 3, SIDE, SIDE)).astype(np.uint8)
    targets = (
        targets_of([0, 2, 1], [[0.3, 0.3, 0.2, 0.3], [0.6, 0.6, 0.4, 0.2], [0.7, 0.2, 0.1, 0.1]]),
        targets_of([1], [[0.4, 0.5, 0.5, 0.6]]),
    )
    return Batch((torch.from_numpy(noise),), targets, (1, 2))


def main() -> None:
    """Write the curves, one a line: those that are named, or all; the others stay as they are."""
    known = json.loads(FILE.read_text()) if sys.argv[1:] else {}
    if unknown := set(sys.argv[1:]) - CASES.keys():
        sys.exit(f"There is no case {', '.join(unknown)}; there are: {'; '.join(CASES)}.")
    kept = known.keys() - sys.argv[1:]
    curves = {name: known[name] if name in kept else curve(method) for name, method in CASES.items()}
    rows = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in curves.items()]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
