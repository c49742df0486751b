"""Every family by name, and what callers ask of the catalog."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from detrdistill.catalog.classic import CLASSIC
from detrdistill.catalog.entries import Family, FamilyName, Size, ViT
from detrdistill.catalog.plain import PLAIN
from detrdistill.catalog.real_time import REAL_TIME
from detrdistill.errors import CheckpointError, ConfigError

CATALOG: Mapping[FamilyName, Family] = MappingProxyType(CLASSIC | REAL_TIME | PLAIN)
"""Every family by name."""


def family_of(model_type: str) -> FamilyName:
    """Name the family of a `transformers` model type.

    Raises:
        CheckpointError: no supported family has this model type.
    """
    for name, family in CATALOG.items():
        if family.model_type == model_type:
            return name
    known = ", ".join(sorted(family.model_type for family in CATALOG.values()))
    raise CheckpointError(
        f"Model type {model_type!r} is not a supported detector family.",
        hint=f"Supported model types: {known}.",
    )


def size_of(family: FamilyName, size: str) -> Size:
    """Look up one size of a family.

    Raises:
        ConfigError: the family has no such size.
    """
    sizes = CATALOG[family].sizes
    if size not in sizes:
        raise ConfigError(
            f"{family} has no size {size!r}.",
            hint=f"Choose one of: {', '.join(sizes)}.",
            pointer="/student/size",
        )
    return sizes[size]


def check_queries(
    family: FamilyName, queries: int, image_size: int, *, levels: int = 3, two_stage: bool = False
) -> None:
    """Refuse more queries than the feature maps have cells to pick them from.

    Args:
        family: whose strides count.
        queries: wanted.
        image_size: side of the square input in pixels.
        levels: feature levels of the detector, the coarsest of the family's.
        two_stage: queries are picked from all levels of the memory, in a family that else learns them.

    Raises:
        ConfigError: with the pointer `/student/queries`.
    """
    entry = CATALOG[family]
    strides = entry.memory_strides if two_stage else entry.proposal_strides[-levels:]
    cells = sum(math.ceil(image_size / stride) ** 2 for stride in strides)
    if strides and queries > cells:
        raise ConfigError(
            f"{family} picks its {queries} queries among the {cells} cells of its feature maps at {image_size} px.",
            hint="Raise data.image_size or lower student.queries.",
            pointer="/student/queries",
        )


def check_side(family: FamilyName, side: int, multiple: int) -> None:
    """Refuse an input whose side a detector cannot divide.

    Args:
        family: of the detector; it says why.
        side: height or width of the input in pixels.
        multiple: pixels of which it must be a multiple.

    Raises:
        ConfigError: with the pointer `/data/image_size`.
    """
    if side % multiple:
        below = side // multiple * multiple
        nearest = f"{below} or {below + multiple}" if below else str(multiple)
        raise ConfigError(
            f"image_size {side} is not divisible by {multiple}{_reason(family, multiple)}.",
            hint=f"Set data.image_size to a multiple of {multiple}, such as {nearest}.",
            pointer="/data/image_size",
        )


def _reason(family: FamilyName, multiple: int) -> str:
    """Where the multiple comes from, in brackets; empty where the family has no plain reason."""
    entry = CATALOG[family]
    if any(isinstance(size.backbone, ViT) for size in entry.sizes.values()):
        return " (patch size x windows)"
    return " (the largest stride)" if multiple == max(entry.memory_strides) else ""
