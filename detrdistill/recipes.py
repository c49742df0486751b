"""Recipes: named configurations. `"recipe": "rt-detr-v2-r18"` fills every field that is not given. Torch-free data.

The papers' recipes are explained in `docs/reproduce.md`, with what of them is not reproduced; the modern ones are the
published training settings of the student with the methods that this project recommends.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

from detrdistill.errors import ConfigError

RecipeName = Literal[
    "adamixer-r50",
    "adamixer-r18",
    "adamixer-mobilenetv2",
    "deformable-detr-r50",
    "deformable-detr-r18",
    "deformable-detr-mobilenetv2",
    "conditional-detr-r50",
    "conditional-detr-r18",
    "conditional-detr-mobilenetv2",
    "rt-detr-r18",
    "rt-detr-v2-r18",
    "d-fine-s",
    "rf-detr-nano",
    "deimv2-atto",
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One named configuration."""

    title: str
    teacher: str
    """The teacher it was made for, in words."""
    source: str
    config: Mapping[str, Any]
    """Fields of a `DistillConfig`; what is missing has the schema's default."""


def _methods(variant: str) -> list[dict[str, str]]:
    return [{"kind": kind, "variant": variant} for kind in ("matched_logits", "target_features", "query_prior")]


_FIFTY_EPOCHS = {
    "epochs": 50, "batch_size": 16, "lr": 2e-4, "backbone_lr_factor": 0.1, "weight_decay": 1e-4, "warmup_steps": 0,
    "schedule": "step", "drops": [0.8], "clip_norm": 0.1, "ema_decay": None, "freeze_batch_norm": True,
}  # fmt: skip
"""Deformable DETR's recipe in the release of DETRDistill; taken for Conditional DETR too, whose recipe is not known."""
_TWELVE_EPOCHS = {
    "epochs": 12, "batch_size": 16, "lr": 2.5e-5, "weight_decay": 1e-4, "warmup_steps": 500, "schedule": "step",
    "drops": [8 / 12, 11 / 12], "clip_norm": 1.0, "ema_decay": None, "freeze_batch_norm": True,
}  # fmt: skip
"""AdaMixer's published 1x schedule (MCG-NJU/AdaMixer, adamixer_r50_1x_coco)."""
_REAL_TIME = {
    "epochs": 72, "batch_size": 16, "lr": 1e-4, "backbone_lr_factor": 0.1, "weight_decay": 1e-4,
    "warmup_steps": 2000, "schedule": "cosine", "clip_norm": 0.1, "ema_decay": 0.9999,
}  # fmt: skip
"""RT-DETR's published optimiser settings (arXiv 2304.08069, Table A) with a cosine in place of the constant rate."""


def _paper(title: str, family: str, size: str, training: Mapping[str, Any]) -> Recipe:
    return Recipe(
        title=f"{title} {size}, as in DETRDistill",
        teacher=f"{title} with ResNet-101, trained by the same recipe",
        source="arXiv 2211.10156, Tables 3 and 10",
        config={
            "student": {"family": family, "size": size},
            "data": {"image_size": 640, "photometric": False, "crop": family != "adamixer"},
            "training": training,
            "methods": _methods("official" if family == "deformable-detr" else "paper"),
        },
    )


def _modern(title: str, family: str, size: str, teacher: str, **training: Any) -> Recipe:
    return Recipe(
        title=f"{title} {size}",
        teacher=teacher,
        source="settings of this project, chosen by the measurements in docs/results.md",
        config={
            "student": {"family": family, "size": size},
            "data": {"image_size": 640},
            "training": _REAL_TIME | training,
            "methods": _methods("recommended"),
        },
    )


_RECIPES: dict[RecipeName, Recipe] = {
    "adamixer-r50": _paper("AdaMixer", "adamixer", "r50", _TWELVE_EPOCHS),
    "adamixer-r18": _paper("AdaMixer", "adamixer", "r18", _TWELVE_EPOCHS),
    "adamixer-mobilenetv2": _paper("AdaMixer", "adamixer", "mobilenetv2", _TWELVE_EPOCHS),
    "deformable-detr-r50": _paper("Deformable DETR", "deformable-detr", "r50", _FIFTY_EPOCHS),
    "deformable-detr-r18": _paper("Deformable DETR", "deformable-detr", "r18", _FIFTY_EPOCHS),
    "deformable-detr-mobilenetv2": _paper("Deformable DETR", "deformable-detr", "mobilenetv2", _FIFTY_EPOCHS),
    "conditional-detr-r50": _paper("Conditional DETR", "conditional-detr", "r50", _FIFTY_EPOCHS),
    "conditional-detr-r18": _paper("Conditional DETR", "conditional-detr", "r18", _FIFTY_EPOCHS),
    "conditional-detr-mobilenetv2": _paper("Conditional DETR", "conditional-detr", "mobilenetv2", _FIFTY_EPOCHS),
    "rt-detr-r18": _modern("RT-DETR", "rt-detr", "r18", "RT-DETR r50 or r101"),
    "rt-detr-v2-r18": _modern("RT-DETRv2", "rt-detr-v2", "r18", "RT-DETRv2 r50 or r101"),
    "d-fine-s": _modern("D-FINE", "d-fine", "s", "D-FINE l or x"),
    "rf-detr-nano": _modern("RF-DETR", "rf-detr", "nano", "RF-DETR medium or large", freeze_batch_norm=False),
    "deimv2-atto": _modern("DEIMv2", "deimv2", "atto", "DEIMv2 femto or larger", lr=4e-4, backbone_lr_factor=1.0),
}

RECIPES: Mapping[RecipeName, Recipe] = MappingProxyType(_RECIPES)
"""Every recipe by name."""


def with_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lay given fields over those of the recipe they name; without one they stay as they are.

    Objects are merged field by field, lists are replaced; a field given as null is null.

    Raises:
        ConfigError: there is no such recipe.
    """
    name = values.get("recipe")
    if name is None:
        return dict(values)
    if not isinstance(name, str) or name not in RECIPES:
        raise ConfigError(f"There is no recipe {name!r}.", hint=f"Choose one of: {', '.join(RECIPES)}.")
    return _merged(RECIPES[cast("RecipeName", name)].config, values)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value))
        else:
            merged[key] = value
    return merged
