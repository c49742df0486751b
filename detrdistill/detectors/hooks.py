"""What distillation reads of one forward pass, and the hooks that read it.

A model of `transformers` is left as it is. Hooks on its decoder see the call that the model makes, may change it, and
see what each layer and the whole give. They know nothing of families: a decoder is a module with `layers`, and queries
are keyword arguments of its call, with the query axis second.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from detrdistill.detectors.groups import attention_within_groups


@dataclass
class Decoding:
    """One decoder call: what went in, and what each layer and the whole gave."""

    call: dict[str, Any] = field(default_factory=dict)
    layers: list[Tensor] = field(default_factory=list)
    """Hidden states `[B, Q, D]` after each decoder layer, before any last normalisation."""
    output: Any = None


@dataclass
class Tap:
    """What the hooks saw during one forward pass."""

    neck: tuple[Tensor, ...] = ()
    own_call: dict[str, Any] = field(default_factory=dict)
    """The decoder call as the model made it, with the queries that take the place of its own."""
    decoding: Decoding = field(default_factory=Decoding)
    """The decoder call as it was carried out."""


@contextmanager
def tapped(
    decoder: nn.Module,
    watch_neck: Callable[[Callable[[tuple[Tensor, ...]], None]], RemovableHandle],
    content_argument: str,
    *,
    override_queries: Mapping[str, Tensor] | None = None,
    extra_queries: Sequence[Mapping[str, Tensor]] = (),
) -> Iterator[Tap]:
    """Context in which one forward pass is read, and its decoder call changed.

    Args:
        decoder: has `layers`, and is called once, with keyword arguments.
        watch_neck: hooks the module that gives the feature maps before the encoder; see `Detector.watch_neck`.
        content_argument: name of the argument of the queries' content `[B, Q, D]`.
        override_queries: arguments of the queries that take the place of the model's own.
        extra_queries: arguments of each extra group of queries. They join the call along the query axis, and queries
            attend within their group alone.

    Yields:
        What the hooks see; complete when the pass has ended.
    """
    tap = Tap()

    def found(neck: tuple[Tensor, ...]) -> None:
        tap.neck = neck

    def before_decoder(
        _: nn.Module, arguments: tuple[Any, ...], call: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        tap.own_call = call | dict(override_queries or {})
        tap.decoding.call = tap.own_call | _joined(tap.own_call, extra_queries)
        if extra_queries:
            sizes = [group[content_argument].shape[1] for group in (tap.own_call, *extra_queries)]
            stack.enter_context(attention_within_groups(decoder, sizes))
        return arguments, tap.decoding.call

    def after_decoder(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        tap.decoding.output = output

    with ExitStack() as stack:
        for handle in (
            watch_neck(found),
            decoder.register_forward_pre_hook(before_decoder, with_kwargs=True),
            decoder.register_forward_hook(after_decoder),
        ):
            stack.callback(handle.remove)
        stack.enter_context(layers_tapped(decoder, tap.decoding))
        yield tap


@contextmanager
def layers_tapped(decoder: nn.Module, decoding: Decoding) -> Iterator[None]:
    """Context in which what each layer of a decoder gives is added to `decoding.layers`.

    Args:
        decoder: has `layers`, which give hidden states, or a tuple that begins with them.
        decoding: of one decoder call.
    """

    def after_layer(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
        decoding.layers.append(output[0] if isinstance(output, tuple) else output)

    layers: Any = decoder.layers
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_hook(after_layer).remove)
        yield


def _joined(own: Mapping[str, Any], extra_queries: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The arguments of all groups of queries in one, along the query axis."""
    names = extra_queries[0] if extra_queries else ()
    return {name: torch.cat([own[name], *(group[name] for group in extra_queries)], dim=1) for name in names}
