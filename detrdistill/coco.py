"""COCO detection data: find the files, read them, say precisely what is wrong. Torch-free.

The api checks an upload with it and the engine trains from it, so what was accepted is what is trained on.
Left out on purpose: other formats (importers will produce this form), masks and keypoints.
"""

import json
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from PIL import Image, UnidentifiedImageError

from detrdistill.errors import DatasetError
from detrdistill.validation import names_fault

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
MAX_PIXELS = 50_000_000
_SPLIT_WORDS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation")}
_EXAMPLES = 5
MIN_BOX_PX = 1.0
"""Boxes with a thinner side are left out."""


@dataclass(frozen=True)
class ImageRecord:
    """One image and its boxes, ready to train on."""

    id: int
    path: Path
    width: int
    height: int
    boxes_xyxy_px: tuple[tuple[float, float, float, float], ...]
    """Clipped to the image; crowd regions and boxes thinner than one pixel are left out."""
    labels: tuple[int, ...]
    """Index into `CocoSet.classes` of each box."""


@dataclass(frozen=True)
class CocoSet:
    """One split of a data set."""

    classes: tuple[str, ...]
    """Names in the order of their COCO ids: the class indices of the project."""
    category_ids: tuple[int, ...]
    """COCO id of each class."""
    images: tuple[ImageRecord, ...]
    annotations: dict[str, Any] = field(repr=False)
    """The file as it was read: the ground truth of the evaluation, crowd regions included."""
    warnings: tuple[str, ...] = ()


def find_root(folder: Path) -> Path:
    """Descend through folders that hold nothing but one folder, as archives often begin."""
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        folder = entries[0]


def find_annotations(root: Path, split: Split) -> Path:
    """The annotation file of a split, in any of the usual layouts.

    Understood: `train.json`, `train2017.json`, `instances_train2017.json` at the root or in `annotations/`, and
    `train/_annotations.coco.json`; likewise for `val`, `valid` and `validation`.

    Raises:
        DatasetError: no file, or more than one, could be meant.
    """
    words = _SPLIT_WORDS[split]
    found = [
        path
        for folder in (root, root / "annotations")
        for path in sorted(folder.glob("*.json"))
        if _word_of(path.stem) in words
    ]
    found += [path for word in words if (path := root / word / "_annotations.coco.json").is_file()]
    if len(found) == 1:
        return found[0]
    listing = ", ".join(sorted(str(path.relative_to(root)) for path in found or root.rglob("*.json"))[:_EXAMPLES])
    if found:
        raise DatasetError(
            f"Several files could be the {split} split: {listing}.", hint=f"Keep one {split} annotation file."
        )
    raise DatasetError(
        f"No annotation file of the {split} split was found; JSON files there are: {listing or 'none'}.",
        hint=f"Put COCO annotations at {split}.json or annotations/instances_{split}2017.json.",
    )


def _word_of(stem: str) -> str:
    """`instances_train2017` to `train`."""
    return stem.lower().removeprefix("instances_").rstrip("0123456789").rstrip("_-")


def read_split(root: Path, split: Split, *, check_files: bool = False) -> CocoSet:
    """Read one split.

    Args:
        root: folder of the data set.
        split: `train` or `val`.
        check_files: also open the header of every image and compare its size with the annotations.

    Raises:
        DatasetError: with the number of offending entries and the first of them.
    """
    path = find_annotations(root, split)
    where = str(path.relative_to(root))
    document = _read_json(path, where)
    names = _categories(document, where)
    warnings: list[str] = []
    records = _images(document, where, root, path, split)
    boxes = _boxes(document, where, records, names, warnings)
    category_ids = tuple(sorted(names))
    index = {category: position for position, category in enumerate(category_ids)}
    images = tuple(
        ImageRecord(
            id=identifier,
            path=record.path,
            width=record.width,
            height=record.height,
            boxes_xyxy_px=tuple(box for box, _ in boxes.get(identifier, ())),
            labels=tuple(index[category] for _, category in boxes.get(identifier, ())),
        )
        for identifier, record in records.items()
    )
    if not any(image.labels for image in images):
        raise DatasetError(f"{where} has no boxes to learn from.", hint="Annotate the images of this split.")
    if check_files:
        _check_files(images, where)
    return CocoSet(tuple(names[category] for category in category_ids), category_ids, images, document, tuple(warnings))


def read_splits(root: Path, *, check_files: bool = False) -> dict[Split, CocoSet]:
    """Read both splits and check that they agree on the classes.

    Raises:
        DatasetError: as `read_split`, or the splits name different categories.
    """
    sets: dict[Split, CocoSet] = {split: read_split(root, split, check_files=check_files) for split in SPLITS}
    train, val = sets["train"], sets["val"]
    if (train.classes, train.category_ids) != (val.classes, val.category_ids):
        raise DatasetError(
            f"The splits name different categories: train has {list(train.classes)}, val has {list(val.classes)}.",
            hint="Use one list of categories, with the same ids, in both files.",
        )
    return sets


@dataclass(frozen=True)
class _Entry:
    path: Path
    width: int
    height: int


def _read_json(path: Path, where: str) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is not valid JSON: {error}.", hint="Export the annotations again.") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{where} is not a COCO file: the top level is not an object.", hint=_COCO_HINT)
    document = cast("dict[str, Any]", content)
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise DatasetError(f"{where} is not a COCO file: it has no list {key!r}.", hint=_COCO_HINT)
        _refuse(document[key], lambda item: not isinstance(item, dict), where, key, "are not objects")
    return document


_COCO_HINT = "A COCO detection file has the lists images, annotations and categories."


def _refuse(items: Iterable[Any], wrong: Callable[[Any], bool], where: str, what: str, complaint: str) -> None:
    """Raise if any item is wrong, with how many and where the first are (JSON pointers)."""
    bad = [f"/{what}/{index}" for index, item in enumerate(items) if wrong(item)]
    if bad:
        raise DatasetError(
            f"{where}: {len(bad)} of {what} {complaint}, first at {', '.join(bad[:_EXAMPLES])}.",
            hint="Correct these entries and upload again.",
        )


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_coordinate(value: Any) -> bool:
    """A finite number of pixels; the comparison is false for NaN and needs no conversion of huge integers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e7 < value < 1e7


def _duplicates(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]


def _categories(document: dict[str, Any], where: str) -> dict[int, str]:
    items: list[dict[str, Any]] = document["categories"]
    if not items:
        raise DatasetError(f"{where} lists no categories.", hint="List every class under categories.")
    _refuse(
        items,
        lambda item: not (_is_id(item.get("id")) and isinstance(item.get("name"), str) and item["name"].strip()),
        where,
        "categories",
        "lack an integer id or a name",
    )
    for key in ("id", "name"):
        if twice := _duplicates(item[key] for item in items):
            raise DatasetError(
                f"{where}: categories share the {key} {twice[0]!r}.", hint="Ids and names must be unique."
            )
    if fault := names_fault([item["name"] for item in items]):
        raise DatasetError(f"{where}: categories: {fault}.", hint="Correct the categories and upload again.")
    return {item["id"]: item["name"] for item in items}


def _images(document: dict[str, Any], where: str, root: Path, annotations: Path, split: Split) -> dict[int, _Entry]:
    items: list[dict[str, Any]] = document["images"]
    if not items:
        raise DatasetError(f"{where} lists no images.", hint=_COCO_HINT)

    def malformed(item: dict[str, Any]) -> bool:
        sides: tuple[Any, Any] = (item.get("width"), item.get("height"))
        return not (
            _is_id(item.get("id"))
            and isinstance(item.get("file_name"), str)
            and all(_is_id(side) and 0 < side <= MAX_PIXELS for side in sides)
        )

    _refuse(items, malformed, where, "images", "lack an integer id, a file_name or a positive width and height")
    if twice := _duplicates(item["id"] for item in items):
        raise DatasetError(f"{where}: images share the id {twice[0]}.", hint="Image ids must be unique.")
    locate = _locator(root, annotations, split)
    paths = {item["id"]: locate(item["file_name"]) for item in items}
    _refuse(items, lambda item: paths[item["id"]] is None, where, "images", "name a file that is not there")
    return {
        item["id"]: _Entry(path, item["width"], item["height"])
        for item in items
        if (path := paths[item["id"]]) is not None
    }


def _locator(root: Path, annotations: Path, split: Split) -> Callable[[str], Path | None]:
    """Find image files: below the usual folders, remembering where the last one was."""
    stem = annotations.stem.removeprefix("instances_")
    names = (
        "images",
        stem,
        f"images/{stem}",
        *_SPLIT_WORDS[split],
        *(f"images/{w}" for w in _SPLIT_WORDS[split]),
    )
    folders = [annotations.parent, root, *(root / name for name in names)]
    inside = root.resolve()

    def locate(file_name: str) -> Path | None:
        for position, folder in enumerate(folders):
            path = folder / file_name
            try:
                found = path.is_file() and path.resolve().is_relative_to(inside)
            except (OSError, ValueError, RuntimeError):  # a name that no file can have
                return None
            if found:
                folders.insert(0, folders.pop(position))
                return path
        return None

    return locate


def _boxes(
    document: dict[str, Any],
    where: str,
    records: dict[int, _Entry],
    names: dict[int, str],
    warnings: list[str],
) -> dict[int, list[tuple[tuple[float, float, float, float], int]]]:
    items: list[dict[str, Any]] = document["annotations"]

    def unknown(key: str, known: Container[int]) -> Callable[[dict[str, Any]], bool]:
        return lambda item: not (_is_id(item.get(key)) and item[key] in known)

    def malformed(item: dict[str, Any]) -> bool:
        box: Any = item.get("bbox")
        return not (isinstance(box, list) and [_is_coordinate(value) for value in cast("list[Any]", box)] == [True] * 4)

    _refuse(items, unknown("image_id", records), where, "annotations", "name an unknown image_id")
    _refuse(items, unknown("category_id", names), where, "annotations", "name an unknown category_id")
    _refuse(items, malformed, where, "annotations", "have no bbox of four finite numbers [x, y, width, height]")
    _refuse(
        items,
        lambda item: not _is_id(item.get("id", 0)),
        where,
        "annotations",
        "have an id that is no integer",
    )
    if twice := _duplicates(item["id"] for item in items if "id" in item):
        raise DatasetError(f"{where}: annotations share the id {twice[0]}.", hint="Annotation ids must be unique.")
    kept: dict[int, list[tuple[tuple[float, float, float, float], int]]] = {}
    clipped = dropped = 0
    for item in items:
        if item.get("iscrowd"):
            continue
        image = records[item["image_id"]]
        x, y, width, height = item["bbox"]
        box = (max(x, 0.0), max(y, 0.0), min(x + width, image.width), min(y + height, image.height))
        if box[2] - box[0] < MIN_BOX_PX or box[3] - box[1] < MIN_BOX_PX:
            dropped += 1
            continue
        clipped += min(x, y, image.width - x - width, image.height - y - height) < -MIN_BOX_PX
        kept.setdefault(item["image_id"], []).append((box, item["category_id"]))
    if clipped:
        warnings.append(f"{where}: {clipped} boxes reach outside their image and were clipped for training.")
    if dropped:
        warnings.append(f"{where}: {dropped} boxes are thinner than one pixel and are not trained on.")
    return kept


def _check_files(images: Iterable[ImageRecord], where: str) -> None:
    wrong: list[str] = []
    for image in images:
        try:
            with Image.open(image.path, formats=IMAGE_FORMATS) as header:
                size = header.size
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            wrong.append(f"{image.path.name} is not a readable image ({', '.join(IMAGE_FORMATS)})")
            continue
        if size != (image.width, image.height):
            wrong.append(f"{image.path.name} is {size[0]}x{size[1]}, annotated as {image.width}x{image.height}")
        elif size[0] * size[1] > MAX_PIXELS:
            wrong.append(f"{image.path.name} has more than {MAX_PIXELS} pixels")
    if wrong:
        raise DatasetError(
            f"{where}: {len(wrong)} image files are wrong: {'; '.join(wrong[:_EXAMPLES])}.",
            hint="Replace these files, or correct width and height.",
        )
