"""What hooks around one forward pass read of it."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


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
    """The decoder call as the model made it."""
    decoding: Decoding = field(default_factory=Decoding)
    """The decoder call as it was carried out."""
