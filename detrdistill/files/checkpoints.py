"""What a checkpoint folder holds, read from its headers. Torch-free; no tensor is loaded and no code is run.

A checkpoint is a folder as `save_pretrained` writes it: config.json, model.safetensors (or its shards with their
index) and preprocessor_config.json. Pickled weights are refused: opening one can run any code.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open

from detrdistill.catalog import CATALOG, FamilyName, Scores, family_of
from detrdistill.errors import CheckpointError, PartialCheckpoint
from detrdistill.files.limits import (
    LONGEST_CLASS_NAME,
    LONGEST_TENSOR_NAME,
    MOST_CLASSES,
    MOST_HEADER_BYTES,
    MOST_PARAMETERS,
    MOST_SHARDS,
    MOST_TENSORS,
    check_config,
    read_json,
    refuse_pointer,
)
from detrdistill.files.preprocessing import FILE_NAME as PREPROCESSOR
from detrdistill.files.preprocessing import Preprocessing, processor_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Says which shard holds which tensor, where the weights are more than one file."""
_TWO_STAGE_QUERIES = ("two_stage_num_proposals", 300)
FILES = (CONFIG, WEIGHTS, PREPROCESSOR)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
LEAST_COVERAGE = 0.99
"""Share of a detector's tensors that its file must fill before it may teach or be trained further.

A file that fits leaves none. One in a hundred covers what exports leave out although the detector works without it (an
embedding of denoising queries, a head of a layer that is not read); the smallest part without which a detector is
another one, the three layers of a box head with their biases, is more than that in all families up to 600 tensors.
"""
_SHOWN = 20


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


_FROZEN = ConfigDict(frozen=True, extra="forbid")


class CoverageFacts(BaseModel):
    """How completely a file fills the detector that its configuration describes."""

    model_config = _FROZEN

    loaded: int = Field(description="tensors of the detector that the file fills")
    total: int = Field(description="tensors of the detector: weights and statistics, shared ones once, no counters")
    missing: tuple[str, ...] = Field(default=(), description="tensors the file does not fill; the first 20")
    unexpected: tuple[str, ...] = Field(default=(), description="tensors of the file that have no place; the first 20")
    renamed: tuple[str, ...] = Field(default=(), description="what was changed in the names of the file")

    @classmethod
    def of(
        cls, total: int, missing: tuple[str, ...], unexpected: tuple[str, ...], renamed: tuple[str, ...] = ()
    ) -> "CoverageFacts":
        """The facts, with the first names of long lists."""
        return cls(
            loaded=total - len(missing),
            total=total,
            missing=missing[:_SHOWN],
            unexpected=unexpected[:_SHOWN],
            renamed=renamed[:_SHOWN],
        )

    def __str__(self) -> str:
        text = f"{self.loaded} of {self.total} tensors are in the file"
        if self.missing:
            names, count = ", ".join(self.missing[:5]), self.total - self.loaded
            text += f"; missing: {names}{', ...' if count > 5 else ''}"
        if self.unexpected:
            text += f"; not used: {', '.join(self.unexpected[:5])}{', ...' if len(self.unexpected) > 5 else ''}"
        return text


class CheckpointFacts(BaseModel):
    """What registration finds out about a folder."""

    model_config = _FROZEN

    kind: Literal["detector", "onnx", "detections"]
    family: FamilyName | None = None
    scores: Scores | None = None
    """Of a black box; a family knows it itself."""
    classes: tuple[str, ...] = ()
    parameters: int | None = None
    queries: int | None = None
    two_stage: bool | None = None
    decoder_layers: int | None = None
    width: int | None = None
    image_size: tuple[int, int] | None = None
    """Height and width of the input in pixels."""
    coverage: CoverageFacts | None = None
    """None for a black box."""
    warnings: tuple[str, ...] = ()


def check_coverage(coverage: CoverageFacts, *, allow_partial: bool, path_pointer: str) -> None:
    """Refuse a checkpoint that leaves too much of its detector at random.

    Raises:
        PartialCheckpoint: it fills less than `LEAST_COVERAGE`, and nobody has said that this is meant.
    """
    if allow_partial or coverage.loaded >= LEAST_COVERAGE * coverage.total:
        return
    raise PartialCheckpoint(
        f"The checkpoint fills {coverage.loaded / coverage.total:.1%} of its detector, less than {LEAST_COVERAGE:.0%}: "
        f"{coverage}. What is missing starts at random values.",
        hint='Give a checkpoint of exactly this architecture, or set "allow_partial": true if this is meant.',
        path_pointer=path_pointer,
    )


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
    shapes = tensor_shapes(folder)
    _check_class_tensors(shapes, family, len(classes) + (CATALOG[family].scores == "softmax"))
    fields = CATALOG[family].config_fields
    two_stage = bool(config.get("two_stage"))
    preprocessing = Preprocessing.read(folder, fallback_size=0)
    return CheckpointCard(
        family=family,
        classes=classes,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        queries=_positive(config, *_TWO_STAGE_QUERIES if two_stage else fields.queries),
        two_stage=two_stage,
        decoder_layers=_positive(config, *fields.decoder_layers),
        width=_positive(config, *fields.width),
        image_size=(preprocessing.height, preprocessing.width) if preprocessing.height else None,
    )


def class_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Class names by output index, from `id2label` (or `num_labels`) of a config.json.

    Raises:
        CheckpointError: the indices are not 0, 1, 2, ..., a name is not plain text, or there are too many.
    """
    labels: Any = config.get("id2label")
    if labels is None:
        count = config.get("num_labels", 2)
        if type(count) is not int or not 1 <= count <= MOST_CLASSES:
            raise CheckpointError(
                f"{CONFIG}: num_labels is {count!r:.60}; it must be from 1 to {MOST_CLASSES}.",
                hint="Name the classes in id2label.",
            )
        return tuple(f"LABEL_{index}" for index in range(count))
    ordered = _in_order(labels)
    for index, name in enumerate(ordered):
        if not isinstance(name, str) or not _is_plain_name(name):
            raise CheckpointError(
                f"{CONFIG}: id2label/{index} is {name!r:.60}, not a name of 1 to {LONGEST_CLASS_NAME} printable "
                "characters.",
                hint="Correct id2label in config.json.",
            )
    return tuple(ordered)


def _in_order(labels: Any) -> list[Any]:
    """The values of `id2label` by output index."""
    hint = "id2label must map every output index, from 0 and without gaps, to a name."
    if not isinstance(labels, dict):
        raise CheckpointError(f"{CONFIG}: id2label is {labels!r:.60}, no object.", hint=hint)
    given = cast("dict[Any, Any]", labels)
    if not 1 <= len(given) <= MOST_CLASSES:
        raise CheckpointError(
            f"{CONFIG}: id2label has {len(given)} classes; it must have from 1 to {MOST_CLASSES}.", hint=hint
        )
    names: dict[int, Any] = {}
    for key, name in given.items():
        if re.fullmatch(r"[0-9]{1,9}", str(key)) is None:
            raise CheckpointError(f"{CONFIG}: id2label is keyed by output index, and {key!r:.60} is none.", hint=hint)
        if int(key) in names:
            raise CheckpointError(f"{CONFIG}: id2label names output {int(key)} twice.", hint=hint)
        names[int(key)] = name
    gap = next((index for index in range(len(names)) if index not in names), None)
    if gap is not None:
        raise CheckpointError(
            f"{CONFIG}: id2label names output {max(names)} and not output {gap}.",
            hint=f"{hint} Outputs that mean nothing may be called N/A.",
        )
    return [names[index] for index in range(len(names))]


def repeated_names(classes: tuple[str, ...]) -> dict[str, int]:
    """Class names that occur more than once, and how often."""
    return {name: count for name, count in Counter(classes).items() if count > 1}


def _is_plain_name(name: str) -> bool:
    if not name.strip() or len(name) > LONGEST_CLASS_NAME:
        return False
    return not any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in name)


def has_weights(folder: Path) -> bool:
    """A folder holds weights in the form of safetensors, in one file or in shards."""
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()


def identity_file(folder: Path) -> Path:
    """The file whose digest tells weights from others: the weights themselves, or the index of their shards."""
    return folder / (WEIGHTS if (folder / WEIGHTS).is_file() else INDEX)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a folder: the single one, or the shards that its index names.

    Raises:
        CheckpointError: the index is broken, names a path outside the folder, or a shard is not there.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    return tuple(folder / name for name in dict.fromkeys(_weight_map(folder).values()))


def _weight_map(folder: Path) -> dict[str, str]:
    """Shard of every tensor, as the index says."""
    found: Any = read_json(folder / INDEX).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise CheckpointError(f"{INDEX} has no weight_map.", hint="Save the weights again with save_pretrained.")
    mapping = cast("dict[str, Any]", found)
    shards = set(map(str, mapping.values()))
    if len(shards) > MOST_SHARDS:
        raise CheckpointError(f"{INDEX} names {len(shards)} shards; at most {MOST_SHARDS} are read.")
    for name in sorted(shards):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,250}\.safetensors", name):
            raise CheckpointError(
                f"{INDEX} names {name[:120]!r}, which is no safetensors file of this folder.",
                hint="Save the weights again with save_pretrained.",
            )
        if not (folder / name).is_file() or (folder / name).is_symlink():
            raise CheckpointError(
                f"{INDEX} names {name}, which is not there.", hint="Send all shards together with the index."
            )
    return cast("dict[str, str]", mapping)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in the weights of a folder; only headers are read.

    Raises:
        CheckpointError: a file is no safetensors file or too large, or the index does not say what the shards hold.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        for name, shape in _shapes_of(path).items():
            if name in shapes:
                raise CheckpointError(f"{name[:120]} is in two shards.", hint="Save the weights again.")
            shapes[name] = shape
    if not (folder / WEIGHTS).is_file():
        wrong = sorted(_weight_map(folder).keys() ^ shapes.keys())
        if wrong:
            raise CheckpointError(
                f"{INDEX} and the shards differ in {len(wrong)} tensors: {', '.join(wrong[:5])[:300]}.",
                hint="Send the index that was saved with these shards.",
            )
    if len(shapes) > MOST_TENSORS:
        raise CheckpointError(f"The weights hold {len(shapes)} tensors; at most {MOST_TENSORS} are read.")
    elements = sum(math.prod(shape) for shape in shapes.values())
    if elements > MOST_PARAMETERS:
        raise CheckpointError(f"The weights hold {elements} numbers; at most {MOST_PARAMETERS} are read.")
    return shapes


def _shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    refuse_pointer(path)
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MOST_HEADER_BYTES:
        raise CheckpointError(
            f"{path.name} is not a safetensors file: its header has {header} bytes, more than {MOST_HEADER_BYTES}."
        )
    try:
        opened: Any = cast("Any", safe_open)(path, framework="numpy")  # safetensors has no types
        with opened as tensors:
            names = list(tensors.keys())
            for name in names:
                if len(name) > LONGEST_TENSOR_NAME or not name.isprintable():
                    raise CheckpointError(f"{path.name} holds a tensor called {name[:60]!r}: that is no usable name.")
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, OverflowError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not a safetensors file: {str(error)[:200]}.") from error


def _refuse_unsafe(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    present = {
        CONFIG: (folder / CONFIG).is_file(),
        WEIGHTS: has_weights(folder),
        PREPROCESSOR: processor_file(folder) is not None,
    }
    missing = [name for name in FILES if not present[name]]
    pickles = [name for name in names if name.lower().endswith(PICKLES)]
    if pickles and WEIGHTS in missing:
        raise CheckpointError(
            f"{pickles[0]} is a pickle, and opening one can run any code.",
            hint="Convert it: model.save_pretrained(folder) writes model.safetensors.",
        )
    if missing:
        hint = "Save model and image processor into one folder with save_pretrained."
        if missing == [WEIGHTS] and any(name.endswith(".safetensors") for name in names):
            hint = f"Call the weights {WEIGHTS}, or send {INDEX} together with its shards."
        held = ", ".join(names[:8]) or "nothing"
        raise CheckpointError(f"The checkpoint lacks {', '.join(missing)}; it holds {held}.", hint=hint)


_FOREIGN = {
    "auto_map": "asks to run code of its own (auto_map)",
    "quantization_config": "describes quantised weights (quantization_config)",
    "transformers_weights": "names another file of weights (transformers_weights)",
}


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json.

    Raises:
        CheckpointError: it is missing, is no JSON object, asks to run code, or has a number beyond its bound.
    """
    config = read_json(path)
    nested = [cast("dict[str, Any]", value) for value in config.values() if isinstance(value, dict)]
    for part in (config, *nested):
        for key, complaint in _FOREIGN.items():
            if part.get(key):
                raise CheckpointError(
                    f"{CONFIG} {complaint}.",
                    hint="Only architectures of transformers are loaded, from plain weights in model.safetensors.",
                )
    check_config(config, path.name)
    return config


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


def _positive(config: dict[str, Any], key: str, default: int) -> int:
    """A field of config.json, which leaves out what equals transformers' default."""
    value = config.get(key, default)
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(value) is not int or value < 1:
        raise CheckpointError(f"{CONFIG}: {key} is {value!r:.60}, not a positive integer.")
    return value
