"""Weights that keep a method's share of the student's gradient.

Source: RT-DETRv4 (arXiv 2510.25257), which steers the weight of its feature loss by the encoder's share; here the share
is the method's own, over all weights of the student, so that one rule serves every method and family.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrdistill.schema.weighting import GradientShareConfig

_SMALLEST, _LARGEST = 0.1, 10.0
"""Bounds of what one update multiplies a weight by, as published."""


def updated_weight(weight: float, share: float, wanted: GradientShareConfig) -> float:
    """The weight after a measurement: multiplied by the odds of the target over those of the share.

    That is exact where the other gradients stay as they are. A share of zero says that the batch had nothing for the
    method; the weight stays.

    Args:
        weight: present coefficient.
        share: measured with it, in [0, 1].
        wanted: target and tolerance, within which the weight stays as well.
    """
    if share == 0 or abs(share - wanted.target) <= wanted.tolerance:
        return weight
    odds = wanted.target / (1 - wanted.target)
    return weight * min(max(odds * (1 - share) / share, _SMALLEST), _LARGEST)


@dataclass(frozen=True)
class Part:
    """A part of a loss whose share of the gradient is asked for."""

    loss: Tensor
    """At its full weight, with its graph."""
    factor: float
    """What its schedule multiplies it by in the whole."""


def backward(total: Tensor, parts: Sequence[Part], weights: Sequence[nn.Parameter]) -> list[float]:
    """Run the backward pass of a loss, and one more for each part.

    Args:
        total: the whole loss. Gradients of the weights must be unset.
        parts: of the whole; usually none.
        weights: the student's, over which norms are taken.

    Returns:
        The share of each part, `|g| / (|g| + |rest|)`, as if its schedule had it at full weight.
    """
    apart = [torch.autograd.grad(part.loss, weights, retain_graph=True, allow_unused=True) for part in parts]
    total.backward()
    whole = [weight.grad for weight in weights]
    shares: list[float] = []
    for part, gradients in zip(parts, apart, strict=True):
        rest = [
            given if own is None or given is None else given - part.factor * own
            for given, own in zip(whole, gradients, strict=True)
        ]
        own, others = _norm(gradients), _norm(rest)
        shares.append(own / (own + others) if own > 0 else 0.0)
    return shares


def _norm(gradients: Sequence[Tensor | None]) -> float:
    return float(nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None]))
