"""AdamW with parameter groups, the learning-rate schedule, and the moving average of the weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from detrdistill.detectors.detector import Detector
from detrdistill.schema.run import TrainingConfig


def build_optimizer(detector: Detector, methods: nn.Module, training: TrainingConfig) -> AdamW:
    """AdamW over the detector and the methods' projections.

    The backbone learns at `backbone_lr_factor`, the family's slow layers at a tenth; vectors (biases, normalisation
    scales) are not decayed.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}

    def add(parameter: nn.Parameter, factor: float) -> None:
        decay = training.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((training.lr * factor, decay), []).append(parameter)

    for name, parameter in detector.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith(detector.backbone_prefixes()):
            add(parameter, training.backbone_lr_factor)
        else:
            add(parameter, 0.1 if any(part in name for part in detector.slow_layers) else 1.0)
    for parameter in methods.parameters():
        add(parameter, 1.0)
    return AdamW([{"params": group, "lr": lr, "weight_decay": decay} for (lr, decay), group in groups.items()])


def build_schedule(optimizer: AdamW, training: TrainingConfig, total_steps: int) -> LambdaLR:
    """Linear warm-up, then the configured shape, per optimiser step."""
    warmup = min(training.warmup_steps, total_steps // 10)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        match training.schedule:
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total_steps - warmup, 1)))
            case "step":
                return 0.1 ** sum(step >= drop * total_steps for drop in training.drops)
            case "constant":
                return 1.0
            case _:
                assert_never(training.schedule)

    return LambdaLR(optimizer, factor)


@dataclass(frozen=True)
class StudentWithEma:
    """A detector in training, student or control, and the exponential moving average (EMA) of its weights."""

    detector: Detector
    ema: AveragedModel | None

    @property
    def eval_model(self) -> Detector:
        """What is evaluated and exported: the EMA, or the plain weights where there is none."""
        return self.detector if self.ema is None else self.ema.module  # pyright: ignore[reportReturnType]


def moving_average(detector: Detector, decay: float) -> AveragedModel:
    """Exponential moving average of weights and buffers; after n updates it forgets at min(decay, (1+n)/(10+n))."""
    return AveragedModel(detector, multi_avg_fn=_ramped(decay), use_buffers=True)


def _ramped(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        steps = int(count)
        share = 1 - min(decay, (1 + steps) / (10 + steps))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), share)  # pyright: ignore[reportPrivateImportUsage]
        else:
            torch._foreach_copy_(list(averaged), list(current))  # pyright: ignore[reportPrivateImportUsage]

    return update
