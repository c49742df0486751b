"""What a checkpoint folder holds, read from its headers. Torch-free; no tensor is loaded and no code is run.

A checkpoint is a folder as `save_pretrained` writes it: config.json, model.safetensors, preprocessor_config.json.
Pickled weights are refused: opening one can run any code.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors import SafetensorError, safe_open

from detrdistill.catalog import CATALOG, FamilyName, family_of
from detrdistill.errors import CheckpointError
from detrdistill.preprocessing import FILE_NAME as PREPROCESSOR
from detrdistill.preprocessing import Preprocessing
from detrdistill.validation import MAX_CLASSES, names_fault

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
_TWO_STAGE_QUERIES = ("two_stage_num_proposals", 300)
_LARGEST_COUNT = 100_000
"""Of queries, layers or channels; far above any detector that can be run."""
FILES = (CONFIG, WEIGHTS, PREPROCESSOR)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


@dataclass(frozen=True)
class CheckpointCard:
    """Facts of a detector checkpoint."""

    family: FamilyName
    classes: tuple[str, ...]
    parameters: int
    """Elements of all tensors in the file."""
    queries: int
    two_stage: bool
    """Queries are picked among proposals, in a family that else learns them (Deformable DETR)."""
    decoder_layers: int
    width: int
    image_size: tuple[int, int] | None
    """Height and width of the input in pixels; None where it was trained on images of varying size."""


def inspect_checkpoint(folder: Path) -> CheckpointCard:
    """Check that a folder is a detector the project can load, and describe it.

    Raises:
        CheckpointError: files are missing or unsafe, the architecture is not supported, or the weights do not fit
            the configuration.
    """
    _refuse_unsafe(folder)
    config = read_config(folder / CONFIG)
    family = family_of(str(config.get("model_type")))
    classes = class_names(config)
    shapes = _tensor_shapes(folder / WEIGHTS)
    _check_class_tensors(shapes, family, len(classes) + (CATALOG[family].scores == "softmax"))
    fields = CATALOG[family].config_fields
    two_stage = bool(config.get("two_stage"))
    return CheckpointCard(
        family=family,
        classes=classes,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        queries=_count(config, *_TWO_STAGE_QUERIES if two_stage else fields.queries),
        two_stage=two_stage,
        decoder_layers=_count(config, *fields.decoder_layers),
        width=_count(config, *fields.width),
        image_size=_image_size(folder),
    )


def class_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Class names by output index, from `id2label` (or `num_labels`) of a config.json.

    Raises:
        CheckpointError: the indices are not 0, 1, 2, ...
    """
    labels: Any = config.get("id2label")
    try:
        if labels is None:
            return tuple(f"LABEL_{index}" for index in range(_count(config, "num_labels", 2, MAX_CLASSES)))
        found = {int(index): name for index, name in labels.items()}
        names = tuple(found[index] for index in range(len(found)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{CONFIG}: id2label is not a list of classes.",
            hint="id2label must map every output index, from 0 and without gaps, to a name.",
        ) from error
    if fault := names_fault(names):
        raise CheckpointError(f"{CONFIG}: id2label: {fault}.", hint="Correct id2label in config.json.")
    return names


def class_map(teacher: tuple[str, ...], dataset: tuple[str, ...]) -> tuple[int, ...]:
    """Teacher output index of every class of the data set, by name.

    Where the teacher's names are placeholders (LABEL_0, ...) and the counts agree, the order is taken as given.

    Raises:
        CheckpointError: a class of the data set is not among the teacher's.
    """
    if teacher == tuple(f"LABEL_{index}" for index in range(len(teacher))) and len(teacher) == len(dataset):
        return tuple(range(len(dataset)))
    position = {name.strip().casefold(): index for index, name in enumerate(teacher)}
    unknown = [name for name in dataset if name.strip().casefold() not in position]
    if unknown:
        raise CheckpointError(
            f"The teacher has {len(teacher)} classes and does not know {len(unknown)} of the {len(dataset)} classes "
            f"of the data set: {', '.join(unknown[:5])}.",
            hint="Fine-tune the teacher on this data set with a train job first, or rename the categories.",
        )
    return tuple(position[name.strip().casefold()] for name in dataset)


def _refuse_unsafe(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    missing = [name for name in FILES if name not in names]
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    if pickles and WEIGHTS in missing:
        raise CheckpointError(
            f"{pickles[0]} is a pickle, and opening one can run any code.",
            hint="Convert it: model.save_pretrained(folder) writes model.safetensors.",
        )
    if missing:
        raise CheckpointError(
            f"The checkpoint lacks {', '.join(missing)}; it holds {', '.join(names[:8]) or 'nothing'}.",
            hint="Save model and image processor into one folder with save_pretrained.",
        )


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json.

    Raises:
        CheckpointError: it is missing, is no JSON object, or asks to run code.
    """
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{CONFIG} is not valid JSON: {error}.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{CONFIG} is not a JSON object.")
    if config.get("auto_map"):  # pyright: ignore[reportUnknownMemberType]
        raise CheckpointError(
            f"{CONFIG} asks to run code of its own (auto_map).",
            hint="Only architectures of transformers are loaded.",
        )
    return config  # pyright: ignore[reportUnknownVariableType]


def _tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        opened: Any = cast("Any", safe_open)(path, framework="numpy")  # the library has no types
        with opened as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{WEIGHTS} is not a safetensors file: {error}.") from error


def _check_class_tensors(shapes: dict[str, tuple[int, ...]], family: FamilyName, rows: int) -> None:
    pattern = re.compile(CATALOG[family].class_tensors)
    heads = {name: shape for name, shape in shapes.items() if pattern.search(name) and "denoising" not in name}
    if not heads:
        raise CheckpointError(
            f"{WEIGHTS} has no classification head: this is not a whole {family} detector.",
            hint="A backbone alone cannot be used; give the weights of the complete detector.",
        )
    for name, shape in heads.items():
        if shape[:1] != (rows,):
            raise CheckpointError(
                f"{CONFIG} names classes for {rows} rows but {name} has the shape {list(shape)}.",
                hint="Correct id2label in config.json.",
            )


def _image_size(folder: Path) -> tuple[int, int] | None:
    preprocessing = Preprocessing.read(folder, fallback_size=0)
    return (preprocessing.height, preprocessing.width) if preprocessing.height else None


def _count(config: dict[str, Any], key: str, default: int, largest: int = _LARGEST_COUNT) -> int:
    """A field of config.json, which leaves out what equals the library's default."""
    value = config.get(key, default)
    if type(value) is not int or not 1 <= value <= largest:
        raise CheckpointError(
            f"{CONFIG}: {key} is {str(value)[:50]}, not an integer from 1 to {largest}.", hint=f"Correct {key}."
        )
    return value
