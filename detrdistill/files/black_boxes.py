"""Teachers of which only boxes and scores are known, and the folders that hold them. Torch-free.

A folder holds one of these:

- `model.onnx` with `config.json` and `preprocessor_config.json`. Input `pixel_values` `[B, 3, H, W]`; outputs `logits`
  `[B, Q, C]` and `pred_boxes` `[B, Q, 4]`, (cx, cy, w, h) in [0, 1]. `config.json` names the classes (`id2label`) and
  says what the logits are: `"scores": "sigmoid"`, or `"softmax"` with a last column 'no object'. The `model_type` of a
  family that the catalog knows says it, too.
- `detections.json`: what any detector found on the images of the run, as rows {image_id, category_id, bbox, score}
  with the ids of the dataset, bbox [x, y, width, height] in pixels and score in [0, 1]. A list, as COCO results are;
  where the two splits share ids, an object with the lists `train` and `val`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from detrdistill.catalog import CATALOG, Scores, family_of
from detrdistill.errors import CheckpointError
from detrdistill.files.checkpoints import CONFIG, class_names, has_weights, identity_file, read_config
from detrdistill.files.coco import MIN_BOX_PX, SPLITS, CocoSet, ImageRecord, Split, key_of
from detrdistill.files.limits import MOST_DETECTIONS_BYTES
from detrdistill.files.preprocessing import Preprocessing

MODEL = "model.onnx"
DETECTIONS = "detections.json"
Kind = Literal["onnx", "detections"]
FILES: Mapping[Kind, str] = MappingProxyType({"onnx": MODEL, "detections": DETECTIONS})
"""The file that makes a folder one of its kind."""
_HINT = (
    "Each row is {image_id, category_id, bbox, score}, with the ids of the dataset, bbox [x, y, width, height] in "
    "pixels and score in [0, 1]."
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class BlackBox:
    """Facts of a teacher of which only boxes and scores are known."""

    kind: Kind
    scores: Scores = "sigmoid"
    classes: tuple[str, ...] = ()
    """Names by output index; empty for detections, which name the dataset's own category ids."""
    image_size: tuple[int, int] | None = None
    """Height and width of the input in pixels; None where the folder does not say, or nothing is run."""

    @property
    def title(self) -> str:
        """For messages."""
        return "black-box (ONNX)" if self.kind == "onnx" else "black-box (recorded detections)"


@dataclass(frozen=True)
class Detection:
    """One box that a detector found."""

    box_xyxy_px: tuple[float, float, float, float]
    """Clipped to the image."""
    score: float
    label: int
    """Index into the dataset's classes."""


def kind_of(folder: Path) -> Kind | None:
    """Which black box a folder holds; None: weights of a detector, or nothing that is known."""
    if has_weights(folder):
        return None
    return next((kind for kind, file in FILES.items() if (folder / file).is_file()), None)


def digest_file(folder: Path) -> Path:
    """The file that tells this checkpoint from others: its weights (or their index), model or detections."""
    kind = kind_of(folder)
    return identity_file(folder) if kind is None else folder / FILES[kind]


def inspect_black_box(folder: Path, kind: Kind) -> BlackBox:
    """Check that a folder is a teacher the project can use, and describe it. No model is loaded.

    Raises:
        CheckpointError: with what is missing or wrong.
    """
    if kind == "detections":
        content = _read_rows(folder)
        if not (content if isinstance(content, list) else any(content.values())):
            raise CheckpointError(f"{DETECTIONS} holds no detection.", hint=_HINT)
        return BlackBox(kind)
    config = read_config(folder / CONFIG)
    preprocessing = Preprocessing.read(folder, fallback_size=0)
    size = (preprocessing.height, preprocessing.width) if preprocessing.height else None
    return BlackBox(kind, _scores(config), class_names(config), size)


def read_detections(folder: Path, sets: Mapping[Split, CocoSet]) -> dict[Path, tuple[Detection, ...]]:
    """The detections of each image of both splits by its file, best first; boxes below one pixel are left out.

    A file that is listed under several ids has the detections of all of them.

    Raises:
        CheckpointError: rows are malformed, name an image or category the dataset lacks, or none is of a training
            image.
    """
    found: dict[Path, list[Detection]] = {}
    for split, rows in _of_splits(_read_rows(folder), sets).items():
        images = {key_of(image.id): image for image in sets[split].images}
        labels = {key_of(category): label for label, category in enumerate(sets[split].category_ids)}
        image_keys, category_keys = ([key_of(row[name]) for row in rows] for name in ("image_id", "category_id"))
        _refuse(rows, [key not in images for key in image_keys], f"({split}) name an unknown image_id")
        _refuse(rows, [key not in labels for key in category_keys], f"({split}) name an unknown category_id")
        for row, image_key, category_key in zip(rows, image_keys, category_keys, strict=True):
            image = images[image_key]
            box = _clipped(row["bbox"], image)
            if min(box[2] - box[0], box[3] - box[1]) >= MIN_BOX_PX:
                detection = Detection(box, float(row["score"]), labels[category_key])
                found.setdefault(image.path, []).append(detection)
    if not any(image.path in found for image in sets["train"].images):
        raise CheckpointError(
            f"{DETECTIONS} has nothing on the training images.",
            hint="Run the detector on both splits and write all it finds into this file.",
        )
    return {path: tuple(sorted(dict.fromkeys(rows), key=lambda row: -row.score)) for path, rows in found.items()}


def _scores(config: dict[str, Any]) -> Scores:
    if "scores" not in config and "model_type" in config:
        return CATALOG[family_of(str(config["model_type"]))].scores
    if config.get("scores") not in ("sigmoid", "softmax"):
        raise CheckpointError(
            f"{CONFIG} does not say what the logits are.",
            hint='Set "scores" to "sigmoid", or to "softmax" where the last column is \'no object\'.',
        )
    return config["scores"]


def _read_rows(folder: Path) -> Rows | dict[Split, Rows]:
    if (folder / DETECTIONS).stat().st_size > MOST_DETECTIONS_BYTES:
        raise CheckpointError(
            f"{DETECTIONS} is larger than {MOST_DETECTIONS_BYTES} bytes.", hint="Leave weak scores out."
        )
    try:
        content: Any = json.loads((folder / DETECTIONS).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{DETECTIONS} is not valid JSON: {error}.", hint=_HINT) from error
    lists: list[Any] = [content]
    if isinstance(content, dict):
        given = cast("dict[str, Any]", content)
        lists = [given[split] for split in SPLITS] if given.keys() == set(SPLITS) else [None]
    for rows in lists:
        if not isinstance(rows, list):
            raise CheckpointError(f"{DETECTIONS} is neither a list nor the two lists train and val.", hint=_HINT)
        items = cast("Rows", rows)
        _refuse(items, [not _is_row(row) for row in items], "are malformed")
    return cast("Rows | dict[Split, Rows]", content)


def _of_splits(content: Rows | dict[Split, Rows], sets: Mapping[Split, CocoSet]) -> dict[Split, Rows]:
    """The rows of each split; those of a plain list go where their image is."""
    if isinstance(content, dict):
        return content
    train, val = ({key_of(image.id) for image in sets[split].images} for split in SPLITS)
    if train & val:
        raise CheckpointError(
            f"{len(train & val)} image ids are in both splits, so that {DETECTIONS} does not say which is meant.",
            hint='Write {"train": [...], "val": [...]} instead of one list.',
        )
    in_val = [key_of(row["image_id"]) in val for row in content]
    return {
        "train": [row for row, is_val in zip(content, in_val, strict=True) if not is_val],
        "val": [row for row, is_val in zip(content, in_val, strict=True) if is_val],
    }


def _refuse(rows: Sequence[Any], wrong: Iterable[bool], complaint: str) -> None:
    bad = [index for index, is_bad in enumerate(wrong) if is_bad]
    if bad:
        raise CheckpointError(
            f"{DETECTIONS}: {len(bad)} of {len(rows)} rows {complaint}; the first: {str(rows[bad[0]])[:200]}.",
            hint=_HINT,
        )


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    values = cast("dict[str, Any]", row)
    box: Any = values.get("bbox")
    return (
        all(key_of(values.get(key)) is not None for key in ("image_id", "category_id"))
        and isinstance(box, list)
        and [_is_number(side, 1e7) for side in cast("list[Any]", box)] == [True] * 4
        and _is_number(values.get("score"), 1.0)
        and values["score"] >= 0
    )


def _is_number(value: Any, largest: float) -> bool:
    return type(value) in (int, float) and -largest <= value <= largest


def _clipped(box_xywh_px: list[float], image: ImageRecord) -> tuple[float, float, float, float]:
    x, y, width, height = box_xywh_px
    return (max(x, 0.0), max(y, 0.0), min(x + width, float(image.width)), min(y + height, float(image.height)))
