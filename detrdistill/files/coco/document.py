"""One annotation file: its fields checked, and what tools write in other ways brought into one form."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detrdistill.errors import DatasetError
from detrdistill.files.coco.fields import (
    EXAMPLES,
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
from detrdistill.files.coco.folder import Folder, Parts
from detrdistill.files.coco.layouts import COCO_HINT, read_document
from detrdistill.files.coco.outlines import Box, box_of
from detrdistill.files.coco.records import MIN_BOX_PX, Id

MAX_CATEGORIES = 20_000
_MAX_AREA = 1e14
_MOST_OF_BOX = 1.1
"""Polygons that overlap count twice."""
_TINY_PX = 16
_BBOX_HINT = "Give a bbox of four numbers in pixels, each below 10 million, or a polygon in segmentation."


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
    whole_name: bool = True
    """It was found by all of its name; also set there."""
    upright: bool = True
    """See `ImageRecord.upright`."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, once they are settled."""
        assert self.width is not None
        assert self.height is not None
        return self.width, self.height


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

    def warn_of(self, what: str, items: Sequence[tuple[int, Any]]) -> None:
        """Note what was made of some annotations: how many, and the index and value of the first."""
        if items:
            self.warn(f"{len(items)} {what}, first at /annotations/{items[0][0]} ({shown(items[0][1])}).")


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
    _settle_spellings(document)
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
    hint = f"Name the file of each image in file_name. Keys of the first image are {listed(list(items[0]))}."
    refuse(where, "images", _without(items, names, "file_name"), "have no file_name", hint)
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
    by_file = _unique_files(document.entries)
    by_key: dict[Key, int] = {category.key: place for place, category in enumerate(document.categories)}
    by_name = _unique_names(document.categories)
    bad: dict[str, list[tuple[int, Any]]] = {"image_id": [], "category_id": [], "bbox": [], "iscrowd": []}
    unusable: list[tuple[int, Any]] = []
    odd: list[tuple[int, Any]] = []
    outlined: list[tuple[int, Any]] = []
    ignored: list[tuple[int, Any]] = []
    for index, item in enumerate(items):
        entry = _entry_of(item.get("image_id"), entries, by_file)
        category = _category_of(item.get("category_id"), by_key, by_name)
        crowd = flag(item.get("iscrowd"))
        bbox, from_outline = _bbox(item)
        if entry is None or category is None or crowd is None or bbox is None:
            for name, value in (("image_id", entry), ("category_id", category), ("bbox", bbox), ("iscrowd", crowd)):
                if value is None:
                    bad[name].append((index, item.get(name)))
            continue
        area = number(item.get("area"), _MAX_AREA)
        if (area is None or area <= 0) and "area" in item:
            unusable.append((index, item["area"]))
        elif area is not None and not _is_area_in(bbox, area):
            odd.append((index, {"bbox": list(bbox), "area": area}))
            area = None
        if item.get("ignore") and not crowd:
            ignored.append((index, item["ignore"]))
        if from_outline:
            outlined.append((index, list(bbox)))
        document.categories[category].annotations += 1
        entry.annotations.append(Annotation(index, category, bbox, area if area and area > 0 else None, crowd))
    known = f"Ids of images begin with {listed([entry.id for entry in document.entries[:EXAMPLES]])}."
    hint = f"{known} Correct these entries, or take them out."
    refuse(where, "annotations", bad["image_id"], "name an unknown image_id", hint)
    known = f"Ids of categories begin with {listed([category.id for category in document.categories[:EXAMPLES]])}."
    hint = f"{known} Correct these entries, or list their categories."
    refuse(where, "annotations", bad["category_id"], "name an unknown category_id", hint)
    complaint = "have no bbox of four finite numbers [x, y, width, height]"
    refuse(where, "annotations", bad["bbox"], complaint, _BBOX_HINT)
    refuse(where, "annotations", bad["iscrowd"], "have an iscrowd that is neither 0 nor 1")
    document.warn_of("annotations have an area that is no positive number; that of their box is taken", unusable)
    document.warn_of("annotations have an area that no object in their box can have; that of the box is taken", odd)
    document.warn_of("annotations are marked `ignore`, and are taken like any; mark them iscrowd if not", ignored)
    document.warn_of("annotations have no bbox; the box around their segmentation is taken", outlined)


def _is_area_in(bbox: Box, area: float) -> bool:
    """An object in this box may have it: no more than the box, and no fraction of the image."""
    if min(bbox[2:]) < MIN_BOX_PX:
        return True  # the box is of no use anyway
    of_box = bbox[2] * bbox[3]
    return area <= _MOST_OF_BOX * of_box + 1 and (area >= 1 or of_box < _TINY_PX)


def _entry_of(value: Any, entries: dict[Key, Entry], by_file: dict[str, Entry]) -> Entry | None:
    """The image that an id, or a file_name in its place, means."""
    key = key_of(value)
    if key is None or key in entries:
        return None if key is None else entries[key]
    return by_file.get(value) if isinstance(value, str) else None


def _unique_files(entries: Sequence[Entry]) -> dict[str, Entry]:
    count = Counter(entry.file_name for entry in entries)
    return {entry.file_name: entry for entry in entries if count[entry.file_name] == 1}


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


def _settle_spellings(document: Document) -> None:
    """Names that differ in case only: an unused one over the other, as exports write it, is no class."""
    spellings: defaultdict[str, list[Category]] = defaultdict(list)
    for category in document.categories:
        spellings[folded(category.name)].append(category)
    for name, same in spellings.items():
        used = [category for category in same if category.annotations]
        over = any(folded(category.supercategory) == name for category in used)
        if len(used) == 1 and len(same) > 1 and over:
            others = [category for category in same if category is not used[0]]
            document.warn(
                f"{listed([category.name for category in others])} stands over {shown(used[0].name)} and has no "
                "annotations; it is no class."
            )
            _remove(document, others)
        elif len(used) > 1:
            document.warn(
                f"the names {listed([category.name for category in used])} differ only in case; they stay "
                f"{len(used)} classes."
            )


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
