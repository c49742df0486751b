"""Recipes: named configurations. `"recipe": "rt-detr-v2-r18"` fills every field that is not given. Torch-free data.

Image size, rates and epochs are the published ones, each with its source: a paper, or a file of a public repository at
a commit. What is not reproduced is in `docs/guides/reproduce.md`. Most were published for students whose backbone is
trained already; `detrdistill.compatibility.checks` refuses them for a student with random weights.
"""

from collections.abc import Mapping, Sequence
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
    sources: Mapping[str, str]
    """Where each value of `config` was published, by its JSON pointer below `config`."""

    @property
    def needs_checkpoint(self) -> bool:
        """Its student must start from a checkpoint, because its training is that of a trained backbone."""
        training = self.config["training"]
        return training.get("backbone_lr_factor", 1) < 1 or training.get("freeze_batch_norm", False)


@dataclass(frozen=True)
class _Cited:
    """Values of one section of a configuration, from one source."""

    section: Literal["student", "data", "training"]
    source: str
    values: Mapping[str, Any]


def _recipe(title: str, *, teacher: str, source: str, variant: str, methods: str, cited: Sequence[_Cited]) -> Recipe:
    """Put cited values together; of two for the same field the later one counts.

    Args:
        title: of the recipe.
        teacher: it was made for.
        source: of the recipe as a whole.
        variant: of the three components.
        methods: where the methods come from.
        cited: the other values.
    """
    config: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for part in cited:
        config[part.section] = {**config.get(part.section, {}), **part.values}
        sources |= {f"/{part.section}/{name}": part.source for name in part.values}
    kinds = ("matched_logits", "target_features", "query_prior")
    config["methods"] = [{"kind": kind, "variant": variant} for kind in kinds]
    return Recipe(title=title, teacher=teacher, source=source, config=config, sources=sources | {"/methods": methods})


_DETRDISTILL = "arXiv 2211.10156, Tables 3 and 10"
_DETRDISTILL_CODE = "BIVLab-USTC/DETRDistill b5ee33d, the command of its README"
_DEFORMABLE = "fundamentalvision/Deformable-DETR 11169a6, main.py"
_CONDITIONAL = "Atten4Vis/ConditionalDETR 8ea7c3f, main.py"
_ADAMIXER = "MCG-NJU/AdaMixer a50e33d, configs/adamixer/adamixer_r50_1x_coco.py"
_RT_DETR = "lyuwenyu/RT-DETR 068dfde, rtdetr_pytorch/configs/rtdetr/"
_RT_DETR_V2 = "lyuwenyu/RT-DETR 068dfde, rtdetrv2_pytorch/configs/rtdetrv2/"
_D_FINE = "Peterande/D-FINE 4a1f73a, configs/dfine/"
_DEIM_V2 = "Intellindust-AI-Lab/DEIMv2 0fff8d4, configs/"
_RF_DETR = "roboflow/rf-detr 35ac6ab, rfdetr/"
_MEASURED = "this project's measurements, docs/results.md"

_SHORTER_SIDE = "; the published shorter side, here that of a square"
_PAPER_TRAININGS: Mapping[str, Sequence[_Cited]] = MappingProxyType({
    "deformable-detr": (
        _Cited("data", _DEFORMABLE.replace("main.py", "datasets/coco.py") + _SHORTER_SIDE, {"image_size": 800}),
        _Cited("data", _DEFORMABLE.replace("main.py", "datasets/coco.py"), {
            "horizontal_flip": True, "crop": True, "photometric": False,
        }),
        _Cited("training", _DEFORMABLE, {
            "epochs": 50, "lr": 2e-4, "backbone_lr_factor": 0.1, "weight_decay": 1e-4, "warmup_steps": 0,
            "schedule": "step", "drops": [0.8], "clip_norm": 0.1, "ema_decay": None,
        }),
        _Cited("training", _DEFORMABLE.replace("main.py", "models/backbone.py"), {"freeze_batch_norm": True}),
        _Cited("training", _DETRDISTILL_CODE + ": 8 GPUs of 2 images", {"batch_size": 16}),
    ),
    "conditional-detr": (
        _Cited("data", _CONDITIONAL.replace("main.py", "datasets/coco.py") + _SHORTER_SIDE, {"image_size": 800}),
        _Cited("data", _CONDITIONAL.replace("main.py", "datasets/coco.py"), {
            "horizontal_flip": True, "crop": True, "photometric": False,
        }),
        _Cited("training", _CONDITIONAL, {
            "epochs": 50, "lr": 1e-4, "backbone_lr_factor": 0.1, "weight_decay": 1e-4, "warmup_steps": 0,
            "schedule": "step", "drops": [0.8], "clip_norm": 0.1, "ema_decay": None,
        }),
        _Cited("training", _CONDITIONAL.replace("main.py", "models/backbone.py"), {"freeze_batch_norm": True}),
        _Cited("training", _CONDITIONAL.replace("main.py", "README.md") + ": 8 GPUs of 2 images", {"batch_size": 16}),
    ),
    "adamixer": (
        _Cited("data", _ADAMIXER + _SHORTER_SIDE, {"image_size": 800}),
        _Cited("data", _ADAMIXER, {"horizontal_flip": True, "crop": False, "photometric": False}),
        _Cited("training", _ADAMIXER, {
            "epochs": 12, "lr": 2.5e-5, "backbone_lr_factor": 1.0, "weight_decay": 1e-4, "warmup_steps": 500,
            "schedule": "step", "drops": [8 / 12, 11 / 12], "clip_norm": 1.0, "ema_decay": None,
            "freeze_batch_norm": True,
        }),
        _Cited("training", _ADAMIXER + ": 8 GPUs of 2 images", {"batch_size": 16}),
    ),
})  # fmt: skip
"""By family. For the smaller students the papers name no other settings than for ResNet-50."""

_RT_DETR_18: Sequence[_Cited] = (
    _Cited("data", _RT_DETR + "include/dataloader.yml", {"image_size": 640}),
    _Cited("training", _RT_DETR + "include/optimizer.yml", {
        "epochs": 72, "warmup_steps": 0, "schedule": "constant", "clip_norm": 0.1, "ema_decay": 0.9999,
    }),
    _Cited("training", _RT_DETR + "rtdetr_r18vd_6x_coco.yml", {
        "lr": 1e-4, "backbone_lr_factor": 0.1, "weight_decay": 1e-4, "freeze_batch_norm": False,
    }),
    _Cited("training", _RT_DETR + "include/dataloader.yml: 4 images on each of the README's 4 GPUs", {
        "batch_size": 16,
    }),
)  # fmt: skip
_RT_DETR_V2_18: Sequence[_Cited] = (
    _Cited("data", _RT_DETR_V2 + "include/dataloader.yml", {"image_size": 640}),
    _Cited("training", _RT_DETR_V2 + "include/dataloader.yml", {"batch_size": 16}),
    _Cited("training", _RT_DETR_V2 + "include/optimizer.yml", {
        "lr": 1e-4, "weight_decay": 1e-4, "warmup_steps": 2000, "schedule": "constant", "clip_norm": 0.1,
        "ema_decay": 0.9999,
    }),
    _Cited("training", _RT_DETR_V2 + "rtdetrv2_r18vd_120e_coco.yml", {"epochs": 120, "freeze_batch_norm": False}),
    _Cited("training", _RT_DETR_V2 + "rtdetrv2_r18vd_120e_coco.yml, whose groups replace that of the backbone", {
        "backbone_lr_factor": 1.0,
    }),
)  # fmt: skip
_D_FINE_S: Sequence[_Cited] = (
    _Cited("data", _D_FINE + "include/dataloader.yml", {"image_size": 640}),
    _Cited("training", _D_FINE + "include/dataloader.yml", {"batch_size": 32}),
    _Cited("training", _D_FINE + "include/optimizer.yml", {
        "warmup_steps": 500, "schedule": "constant", "clip_norm": 0.1, "ema_decay": 0.9999,
    }),
    _Cited("training", _D_FINE + "dfine_hgnetv2_s_coco.yml", {
        "epochs": 132, "lr": 2e-4, "weight_decay": 1e-4, "freeze_batch_norm": False,
    }),
    _Cited("training", _D_FINE + "dfine_hgnetv2_s_coco.yml: 1e-4 for the backbone", {"backbone_lr_factor": 0.5}),
)  # fmt: skip
_DEIM_V2_ATTO: Sequence[_Cited] = (
    _Cited("data", _DEIM_V2 + "deimv2/deimv2_hgnetv2_atto_coco.yml", {"image_size": 320}),
    _Cited("training", _DEIM_V2 + "deimv2/deimv2_hgnetv2_atto_coco.yml", {
        "epochs": 500, "batch_size": 128, "lr": 2e-3, "weight_decay": 1e-4, "warmup_steps": 4000,
        "freeze_batch_norm": False,
    }),
    _Cited("training", _DEIM_V2 + "deimv2/deimv2_hgnetv2_atto_coco.yml: 1e-3 for the backbone", {
        "backbone_lr_factor": 0.5,
    }),
    _Cited("training", _DEIM_V2 + "deimv2/deimv2_hgnetv2_atto_coco.yml: 250 epochs, then a cosine to a half of it", {
        "schedule": "constant",
    }),
    _Cited("training", _DEIM_V2 + "base/optimizer.yml", {"clip_norm": 0.1, "ema_decay": 0.9999}),
)  # fmt: skip
_RF_DETR_NANO: Sequence[_Cited] = (
    _Cited("data", _RF_DETR + "config.py, RFDETRNanoConfig", {"image_size": 384}),
    _Cited("data", _RF_DETR + "datasets/coco.py", {"horizontal_flip": True, "crop": True, "photometric": False}),
    _Cited("training", _RF_DETR + "config.py, TrainConfig", {
        "epochs": 100, "lr": 1e-4, "weight_decay": 1e-4, "warmup_steps": 0, "ema_decay": 0.993,
    }),
    _Cited("training", _RF_DETR + "config.py, TrainConfig: the drop comes after the last epoch", {
        "schedule": "constant",
    }),
    _Cited("training", _RF_DETR + "config.py, TrainConfig: 4 images, 4 batches for each step", {"batch_size": 16}),
    _Cited("training", _RF_DETR + "config.py, TrainConfig: 1.5e-4 x 0.7 x 0.7 for the ViT, before its layer decay", {
        "backbone_lr_factor": 0.735,
    }),
    _Cited("training", _RF_DETR + "main.py", {"clip_norm": 0.1}),
)  # fmt: skip


def _paper(title: str, family: str, size: str) -> Recipe:
    return _recipe(
        f"{title} {size}, as in DETRDistill",
        teacher=f"{title} with ResNet-101, trained by the same recipe",
        source=_DETRDISTILL,
        variant="official" if family == "deformable-detr" else "paper",
        methods=_DETRDISTILL_CODE if family == "deformable-detr" else "arXiv 2211.10156, Eqs. 3 to 10",
        cited=[_Cited("student", _DETRDISTILL, {"family": family, "size": size}), *_PAPER_TRAININGS[family]],
    )


def _modern(title: str, family: str, size: str, teacher: str, repository: str, training: Sequence[_Cited]) -> Recipe:
    return _recipe(
        f"{title} {size}",
        teacher=teacher,
        source=f"{repository.partition(',')[0]}, with the methods that this project recommends",
        variant="recommended",
        methods=_MEASURED,
        cited=[_Cited("student", repository, {"family": family, "size": size}), *training],
    )


_RECIPES: dict[RecipeName, Recipe] = {
    "adamixer-r50": _paper("AdaMixer", "adamixer", "r50"),
    "adamixer-r18": _paper("AdaMixer", "adamixer", "r18"),
    "adamixer-mobilenetv2": _paper("AdaMixer", "adamixer", "mobilenetv2"),
    "deformable-detr-r50": _paper("Deformable DETR", "deformable-detr", "r50"),
    "deformable-detr-r18": _paper("Deformable DETR", "deformable-detr", "r18"),
    "deformable-detr-mobilenetv2": _paper("Deformable DETR", "deformable-detr", "mobilenetv2"),
    "conditional-detr-r50": _paper("Conditional DETR", "conditional-detr", "r50"),
    "conditional-detr-r18": _paper("Conditional DETR", "conditional-detr", "r18"),
    "conditional-detr-mobilenetv2": _paper("Conditional DETR", "conditional-detr", "mobilenetv2"),
    "rt-detr-r18": _modern("RT-DETR", "rt-detr", "r18", "RT-DETR r50 or r101", _RT_DETR, _RT_DETR_18),
    "rt-detr-v2-r18": _modern("RT-DETRv2", "rt-detr-v2", "r18", "RT-DETRv2 r50 or r101", _RT_DETR_V2, _RT_DETR_V2_18),
    "d-fine-s": _modern("D-FINE", "d-fine", "s", "D-FINE l or x", _D_FINE, _D_FINE_S),
    "rf-detr-nano": _modern("RF-DETR", "rf-detr", "nano", "RF-DETR medium or large", _RF_DETR, _RF_DETR_NANO),
    "deimv2-atto": _modern("DEIMv2", "deimv2", "atto", "DEIMv2 femto or larger", _DEIM_V2, _DEIM_V2_ATTO),
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
