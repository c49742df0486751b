"""Several groups of queries in one decoder pass, and tokens as feature maps."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def attention_within_groups(decoder: nn.Module, sizes: Sequence[int]) -> Iterator[None]:
    """Let queries attend only within their group, by one self-attention call per group.

    Args:
        decoder: has `layers`, each with a `self_attn` called with keyword arguments, the first of them
            `hidden_states`; what else has the queries on axis 1 (positions, boxes) is split like them.
        sizes: consecutive numbers of queries; a mask argument belongs to the first group.
    """

    def grouped(attention: nn.Module) -> Any:
        ungrouped = attention.forward

        def forward(hidden_states: Tensor, **rest: Any) -> tuple[Tensor, None]:
            masked = {"attention_mask": rest.pop("attention_mask")} if "attention_mask" in rest else {}
            per_query = {name: value.split(list(sizes), dim=1) for name, value in rest.items() if _is_per_query(value)}
            parts = []
            for index, hidden in enumerate(hidden_states.split(list(sizes), dim=1)):
                own = {name: parts_of[index] for name, parts_of in per_query.items()}
                mask = masked if index == 0 else dict.fromkeys(masked)
                parts.append(ungrouped(hidden_states=hidden, **mask, **(rest | own))[0])
            return torch.cat(parts, dim=1), None

        return forward

    def _is_per_query(value: Any) -> bool:
        return isinstance(value, Tensor) and value.ndim >= 2 and value.shape[1] == sum(sizes)

    attentions = [layer.self_attn for layer in decoder.layers]  # pyright: ignore[reportGeneralTypeIssues]
    for attention in attentions:
        attention.forward = grouped(attention)
    try:
        yield
    finally:
        for attention in attentions:
            del attention.forward


def consecutive(sizes: Iterable[int]) -> list[slice]:
    """Slices of these sizes that follow each other from 0."""
    slices: list[slice] = []
    end = 0
    for size in sizes:
        slices.append(slice(end, end + size))
        end += size
    return slices


def unflatten(tokens_BTD: Tensor, shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    """Tokens of all levels to one `feature_BDHW` per level."""
    levels = tokens_BTD.split([height * width for height, width in shapes], dim=1)
    return tuple(
        level.transpose(1, 2).unflatten(2, (height, width))
        for level, (height, width) in zip(levels, shapes, strict=True)
    )
