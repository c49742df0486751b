"""Record what modules give in one forward pass, and let them give it again in another."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn


@contextmanager
def recorded(modules: Sequence[tuple[str, nn.Module]]) -> Iterator[dict[str, list[Any]]]:
    """Record what each module gives, call by call.

    Args:
        modules: names and modules.

    Yields:
        The outputs of each module by its name, in the order of its calls.
    """
    calls: dict[str, list[Any]] = {}
    with ExitStack() as stack:
        for name, module in modules:
            given = calls.setdefault(name, [])

            def after(_: nn.Module, __: Any, output: Any, given: list[Any] = given) -> None:
                given.append(_own_list(output))

            stack.callback(module.register_forward_hook(after).remove)
        yield calls


@contextmanager
def replayed(
    root: nn.Module, modules: Sequence[tuple[str, nn.Module]], calls: Mapping[str, Sequence[Any]]
) -> Iterator[None]:
    """Put what modules gave in their place.

    Args:
        root: of which the names are parts.
        modules: as for `recorded`.
        calls: what `recorded` found.

    Raises:
        ValueError: nothing was recorded.
    """
    if calls.keys() != dict(modules).keys():
        raise ValueError("the earlier forward pass did not keep its feature maps")
    with ExitStack() as stack:
        for name, module in modules:
            parent_name, _, own_name = name.rpartition(".")
            parent = root.get_submodule(parent_name)
            stack.callback(setattr, parent, own_name, module)
            setattr(parent, own_name, _Replay(calls[name]))
        yield


class _Replay(nn.Module):
    """Gives, call by call, what a module gave before."""

    def __init__(self, outputs: Sequence[Any]):
        super().__init__()
        self._outputs = iter(outputs)

    def forward(self, *_: Any, **__: Any) -> Any:
        """The next of the outputs, whatever the input."""
        return _own_list(next(self._outputs))


def _own_list(output: Any) -> Any:
    """The same output, but a list of its own: some encoders replace entries of the list they are given."""
    return list(output) if isinstance(output, list) else output
