"""The configuration of a checkpoint folder, in words that today's transformers reads without asking the network.

Until transformers 4.57 the detectors of the DETR line named their backbone (`"backbone": "resnet50"` with
`backbone_kwargs` and `use_timm_backbone`); transformers 5 looks such a name up on the hub. Here it becomes a
`backbone_config` of type `timm_backbone`, which describes the same network and needs nobody.
"""

import re
from pathlib import Path
from typing import Any, cast

import timm
import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from detrdistill.catalog import CATALOG, family_of
from detrdistill.errors import CheckpointError
from detrdistill.files.checkpoints import CONFIG, read_config

_NAMES_A_BACKBONE = ("detr", "table-transformer", "conditional_detr", "dab-detr", "deformable_detr")
"""Model types whose backbone is one of timm unless they say otherwise."""
_TIMM_FIELDS = {"in_chans": "num_channels", "num_channels": "num_channels", "out_indices": "out_indices"}
_TIMM_FIELDS |= {"output_stride": "output_stride", "freeze_batch_norm_2d": "freeze_batch_norm_2d"}
_WITHOUT_EFFECT = ("features_only", "pretrained")
_NOT_OF_THE_MODEL = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "_name_or_path")
_NOT_OF_THE_MODEL += ("fusion_config", "_commit_hash", "dtype", "torch_dtype", "transformers_version")
_NOT_OF_THE_MODEL += ("return_dict", "output_attentions", "output_hidden_states", "torchscript")


def stored_config(folder: Path) -> PreTrainedConfig:
    """Read the config.json of a folder.

    Raises:
        CheckpointError: it is broken, or names a backbone that it does not describe.
    """
    values = {key: value for key, value in read_config(folder / CONFIG).items() if key not in _NOT_OF_THE_MODEL}
    model_type = CATALOG[family_of(str(values.pop("model_type", None)))].model_type
    if values.get("id2label") is not None:
        values.pop("num_labels", None)  # where the two differ, transformers drops the names
    values = _with_backbone(values, model_type)
    try:
        default = AutoConfig.for_model(model_type)
        values = {key: _like(getattr(default, key, None), value) for key, value in values.items()}
        values = {key: value for key, value in values.items() if value is not None or not _is_plain(default, key)}
        return AutoConfig.for_model(model_type, **values)
    except Exception as error:  # a validation error of transformers is none of a narrower kind in every version
        raise CheckpointError(
            f"{CONFIG} does not describe a {model_type}: {' '.join(str(error).split())[:400]}",
            hint="Give the config.json that was saved with these weights.",
        ) from error


def _is_plain(config: PreTrainedConfig, field: str) -> bool:
    """A field that is a number, truth value or text.

    Transformers 4 wrote null into some of these (`dilation` of a detector without timm), which version 5 refuses.
    """
    return isinstance(getattr(config, field, None), (bool, int, float, str))


def _like(default: Any, value: Any) -> Any:
    """A number in the type of a field's default: tools that are not Python write 1 for 1.0, or 2.0 for 2."""
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(default) is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _with_backbone(values: dict[str, Any], model_type: str) -> dict[str, Any]:
    """Describe the backbone in `backbone_config`, never with weights of its own."""
    name = values.pop("backbone", None)
    given: Any = values.pop("backbone_kwargs", None) or {}
    from_timm = values.pop("use_timm_backbone", None)
    values.pop("use_pretrained_backbone", None)
    described: Any = values.get("backbone_config")
    if described:
        if not isinstance(described, dict):
            raise CheckpointError(f"{CONFIG}: backbone_config is no object.")
        backbone = dict(cast("dict[str, Any]", described))
        kind = backbone.get("model_type")
        if kind is not None and kind not in CONFIG_MAPPING:
            raise CheckpointError(
                f"{CONFIG}: backbone_config has the model_type {str(kind)[:80]!r}, which transformers "
                f"{transformers.__version__} does not have.",
                hint="Use a newer transformers, or give the config.json that was saved with these weights.",
            )
        if backbone.get("model_type") in ("timm_backbone", "timm_wrapper"):
            backbone |= {"backbone": _timm_name(backbone.get("backbone")), "use_pretrained_backbone": False}
        return values | {"backbone_config": backbone}
    if from_timm or (from_timm is None and (name or model_type in _NAMES_A_BACKBONE)):
        return values | {"backbone_config": _timm_config(_timm_name(name or "resnet50"), given, values, model_type)}
    if name:
        raise CheckpointError(
            f"{CONFIG} names the backbone {str(name)[:120]!r} of another repository and does not describe it.",
            hint="Load the model where that repository can be read, set config.backbone_config to "
            "AutoConfig.from_pretrained(its name), and save it again.",
        )
    return values


def _timm_config(name: str, given: Any, values: dict[str, Any], model_type: str) -> dict[str, Any]:
    """A `timm_backbone` with the outputs that its detector read in transformers 4."""
    if not isinstance(given, dict):
        raise CheckpointError(f"{CONFIG}: backbone_kwargs is no object.")
    kwargs = cast("dict[str, Any]", given)
    unknown = sorted(kwargs.keys() - _TIMM_FIELDS.keys() - set(_WITHOUT_EFFECT))
    if unknown:
        raise CheckpointError(
            f"{CONFIG}: backbone_kwargs has {unknown[0][:80]!r}, which cannot be carried over.",
            hint="Load the model with the transformers it was saved with, and save it with a backbone_config.",
        )
    outputs = [1, 2, 3, 4]
    if model_type == "deformable_detr":
        outputs = [2, 3, 4] if values.get("num_feature_levels", 4) > 1 else [4]
    elif model_type not in _NAMES_A_BACKBONE:
        outputs = [2, 3, 4]
    config = {
        "model_type": "timm_backbone",
        "backbone": name,
        "num_channels": values.get("num_channels", 3),
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": outputs,
    }
    if values.get("dilation"):
        config["output_stride"] = 16
    return config | {_TIMM_FIELDS[key]: value for key, value in kwargs.items() if key in _TIMM_FIELDS}


def _timm_name(name: Any) -> str:
    """The name of a model that timm builds by itself; one with a scheme, as `hf-hub:`, would be looked up elsewhere.

    Raises:
        CheckpointError: timm has no such model.
    """
    plain = str(name).removeprefix("timm/")
    known = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", plain) is not None and timm.is_model(plain)
    if not known:
        raise CheckpointError(
            f"{CONFIG} names the backbone {str(name)[:120]!r}, which timm {timm.__version__} does not have.",
            hint="Describe the backbone in backbone_config, or use a newer timm.",
        )
    return plain
