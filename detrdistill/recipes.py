"""Recipes: named configurations. `"recipe": "rt-detr-r18"` fills every field that is not given. Data only, no torch.

The papers' recipes are those of `docs/reproduce.md`; the modern ones are the published training settings of the
student with the methods that this project recommends.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

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


_THREE = ("matched_logits", "target_features", "query_prior")
_COCO_INPUT = {"image_size": 640, "horizontal_flip": True, "photometric": False, "crop": True}


def _methods(variant: str) -> list[dict[str, str]]:
    return [{"kind": kind, "variant": variant} for kind in _THREE]


def _paper(title: str, family: str, size: str, training: dict[str, Any], criterion: dict[str, Any] | None) -> Recipe:
    return Recipe(
        title=f"{title} {size} in the recipe of DETRDistill",
        teacher=f"{title} with ResNet-101, trained by the same recipe",
        source="arXiv 2211.10156, Tables 3 and 10",
        config={
            "student": {"family": family, "size": size},
            "data": _COCO_INPUT,
            "training": training,
            "methods": _methods("paper"),
            **({} if criterion is None else {"criterion": criterion}),
        },
    )


_FIFTY_EPOCHS = {
    "epochs": 50, "batch_size": 16, "lr": 2e-4, "backbone_lr_factor": 0.1, "weight_decay": 1e-4, "warmup_steps": 0,
    "schedule": "step", "drops": [0.8], "clip_norm": 0.1, "ema_decay": None, "freeze_batch_norm": True,
}  # fmt: skip
_TWELVE_EPOCHS = {
    "epochs": 12, "batch_size": 16, "lr": 2.5e-5, "backbone_lr_factor": 1.0, "weight_decay": 1e-4,
    "warmup_steps": 1000, "schedule": "step", "drops": [8 / 12, 11 / 12], "clip_norm": 1.0, "ema_decay": None,
    "freeze_batch_norm": True,
}  # fmt: skip
