"""One annotation file: its fields checked, and what tools write in other ways brought into one form."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detrdistill.coco.fields import (
    Key,
    flag,
    folded,
    is_missing,
    key_of,
    listed,
    name_of,
    number,
    refuse,
    shown,
    whole,
)
from detrdistill.coco.folder import Folder, Parts
from detrdistill.coco.layouts import COCO_HINT, read_document
from detrdistill.coco.outlines import Box, box_of
from detrdistill.coco.records import Id
from detrdistill.errors import DatasetError

MAX_CATEGORIES = 20_000
_MAX_AREA = 1e14


@dataclass(slots=True)
class Category:
    """A class of the file."""

    id: Id
    key: Key
    name: str
    supercategory: str
    annotations: int = 0


@dataclass(slots=True)
class Entry:
    """An image of the file."""

    index: int
    id: Id
    key: Key
    file_name: str
    width: int | None
    """None: the file does not say; `turning.settle_sizes` sets both."""
    height: int | None
    annotations: list["Annotation"]
    path: Path = Path()
    """Set by `files.locate`."""
    upright: bool = True
    """See `ImageRecord.upright`."""


@dataclass(slots=True)
class Annotation:
    """A box of the file, in whatever form it gave it."""

    index: int
    category: int
    """Position in `Document.categories`."""
    bbox: Box
    area: float | None
    """None: the file gives none that can be used."""
    crowd: bool


@dataclass
class Document:
    """A file's categories and images."""

    parts: Parts
    categories: list[Category]
    entries: list[Entry]
    warnings: list[str] = field(default_factory=list[str])

    @property
    def where(self) -> str:
        """For messages."""
        return "/".join(self.parts)

    def warn(self, text: str) -> None:
        """Note something that was repaired or left out."""
        self.warnings.append(f"{self.where}: {text}")


def parse_document(folder: Folder, parts: Parts) -> Document:
    """Read an annotation file.

    Raises:
        DatasetError: a field is malformed, with the number of offending entries and the first of them.
    """
    content = read_document(folder, parts)
    document = Document(parts, [], [])
    _read_categories(document, content["categories"])
    _read_images(document, content["images"])
    _read_annotations(document, content["annotations"])
    _keep_one_of_each_name(document)
    return document


def _read_categories(document: Document, items: list[dict[str, Any]]) -> None:
    where = document.where
    if not items:
        raise DatasetError(f"{where} lists no categories.", hint="List every class under categories.")
    if len(items) > MAX_CATEGORIES:
        raise DatasetError(
            f"{where} lists {len(items)} categories, more than {MAX_CATEGORIES}.", hint="List the classes only."
        )
    keys = [key_of(item.get("id")) for item in items]
    names = [name_of(item.get("name")) for item in items]
    refuse(where, "categories", _without(items, keys, "id"), "have no id that is a number or text")
    hint = "Give each class a name of 1 to 200 characters, without control characters."
    refuse(where, "categories", _without(items, names, "name"), "have no usable name", hint)
    for item, key, name in zip(items, keys, names, strict=True):
        assert key is not None
        assert name is not None
        document.categories.append(Category(item["id"], key, name, name_of(item.get("supercategory")) or ""))
    same = {(category.key, category.name): category for category in document.categories}
    if len(same) < len(items):
        document.warn(f"{len(items) - len(same)} categories are listed twice with the same id and name.")
        document.categories = list(same.values())
    if twice := _duplicates([category.key for category in document.categories]):
        raise DatasetError(f"{where}: categories share the id {shown(twice[0])}.", hint="Ids must be unique.")


def _read_images(document: Document, items: list[dict[str, Any]]) -> None:
    where = document.where
    if not items:
        raise DatasetError(f"{where} lists no images.", hint=COCO_HINT)
    keys = [key_of(item.get("id")) for item in items]
    refuse(where, "images", _without(items, keys, "id"), "have no id that is a number or text")
    names = [name if isinstance(name := item.get("file_name"), str) and name.strip() else None for item in items]
    refuse(where, "images", _without(items, names, "file_name"), "have no file_name")
    for side in ("width", "height"):
        bad = [
            (index, item.get(side))
            for index, item in enumerate(items)
            if not is_missing(item.get(side)) and whole(item[side]) is None
        ]
        hint = "Give pixels of the image, or leave width and height out to have them read from the file."
        refuse(where, "images", bad, f"have a {side} that is no positive whole number", hint)
    seen: dict[Key, tuple[int, str]] = {}
    for index, (item, key, name) in enumerate(zip(items, keys, names, strict=True)):
        assert key is not None
        assert name is not None
        first = seen.setdefault(key, (index, name))
        if first[0] == index:
            width, height = whole(item.get("width")), whole(item.get("height"))
            document.entries.append(Entry(index, item["id"], key, name, width, height, []))
        elif first[1] != name:
            raise DatasetError(
                f"{where}: images share the id {shown(item['id'])} (/images/{first[0]} and /images/{index}).",
                hint="Image ids must be unique.",
            )
    if len(seen) < len(items):
        document.warn(f"{len(items) - len(seen)} images are listed twice with the same id and file_name.")


def _read_annotations(document: Document, items: list[dict[str, Any]]) -> None:
    """Ids of annotations are of no use here and are not looked at."""
    where = document.where
    entries = {entry.key: entry for entry in document.entries}
    by_key: dict[Key, int] = {category.key: place for place, category in enumerate(document.categories)}
    by_name = _unique_names(document.categories)
    bad: dict[str, list[tuple[int, Any]]] = {"image_id": [], "category_id": [], "bbox": [], "iscrowd": []}
    unusable = outlined = 0
    for index, item in enumerate(items):
        entry = entries.get(key) if (key := key_of(item.get("image_id"))) is not None else None
        category = _category_of(item.get("category_id"), by_key, by_name)
        crowd = flag(item.get("iscrowd"))
        bbox, from_outline = _bbox(item)
        if entry is None or category is None or crowd is None or bbox is None:
            for name, value in (("image_id", entry), ("category_id", category), ("bbox", bbox), ("iscrowd", crowd)):
                if value is None:
                    bad[name].append((index, item.get(name)))
            continue
        area = number(item.get("area"), _MAX_AREA)
        area = area if area is not None and area > 0 else None
        unusable += area is None and "area" in item
        outlined += from_outline
        document.categories[category].annotations += 1
        entry.annotations.append(Annotation(index, category, bbox, area, crowd))
    refuse(where, "annotations", bad["image_id"], "name an unknown image_id")
    refuse(where, "annotations", bad["category_id"], "name an unknown category_id")
    complaint = "have no bbox of four finite numbers [x, y, width, height]"
    refuse(where, "annotations", bad["bbox"], complaint, "Give a bbox in pixels, or a polygon in segmentation.")
    refuse(where, "annotations", bad["iscrowd"], "have an iscrowd that is neither 0 nor 1")
    if unusable:
        document.warn(f"{unusable} annotations have an area that is no positive number; that of their box is taken.")
    if outlined:
        document.warn(f"{outlined} annotations have no bbox; the box around their segmentation is taken.")


def _category_of(value: Any, by_key: dict[Key, int], by_name: dict[str, int]) -> int | None:
    """Position of the category that an id, or a name in its place, means."""
    key = key_of(value)
    if key is None or key in by_key:
        return None if key is None else by_key[key]
    return by_name.get(folded(value)) if isinstance(value, str) else None


def _bbox(item: dict[str, Any]) -> tuple[Box | None, bool]:
    """The box of an annotation, and whether it is that around its segmentation."""
    box: Any = item.get("bbox")
    if isinstance(box, list) and len(box) == 4:  # pyright: ignore[reportUnknownArgumentType]
        x, y, width, height = (number(side) for side in box)  # pyright: ignore[reportUnknownVariableType]
        if x is None or y is None or width is None or height is None:
            return None, False
        if width > 0 or height > 0:
            return (x, y, width, height), False
        around = box_of(item.get("segmentation"))
        return around or (x, y, width, height), around is not None
    around = box_of(item.get("segmentation")) if is_missing(box) or box == [] else None
    return around, around is not None


def _keep_one_of_each_name(document: Document) -> None:
    """Of categories with one name, those without annotations go: exports repeat a class as its own supercategory."""
    for name in _duplicates([category.name for category in document.categories]):
        same = [category for category in document.categories if category.name == name]
        used = [category for category in same if category.annotations]
        if len(used) > 1:
            raise DatasetError(
                f"{document.where}: categories share the name {shown(name)} (ids {listed([c.id for c in same])}).",
                hint="Names must be unique; give these annotations one category_id.",
            )
        kept = (used or same[-1:])[0]
        document.warn(
            f"category {shown(name)} is listed {len(same)} times; those without annotations are left out "
            f"(ids {listed([category.id for category in same if category is not kept])})."
        )
        _remove(document, [category for category in same if category is not kept])


def _remove(document: Document, unused: list[Category]) -> None:
    """Take categories without annotations off the list."""
    kept = [category for category in document.categories if not any(category is other for other in unused)]
    places = {category.key: place for place, category in enumerate(kept)}
    moved = [places.get(category.key, -1) for category in document.categories]
    for entry in document.entries:
        for annotation in entry.annotations:
            annotation.category = moved[annotation.category]
    document.categories = kept


def _unique_names(categories: list[Category]) -> dict[str, int]:
    count = Counter(folded(category.name) for category in categories)
    return {name: i for i, category in enumerate(categories) if count[name := folded(category.name)] == 1}


def _without(items: list[dict[str, Any]], values: list[Any], field_name: str) -> list[tuple[int, Any]]:
    return [(index, items[index].get(field_name)) for index, value in enumerate(values) if value is None]


def _duplicates(values: list[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]
