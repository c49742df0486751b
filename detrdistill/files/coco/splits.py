"""Read a dataset: find its files, check them, and bring its splits into one form."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detrdistill.errors import DatasetError
from detrdistill.files.coco.boxes import Truth, settle_boxes
from detrdistill.files.coco.classes import match_classes
from detrdistill.files.coco.document import Document, parse_document
from detrdistill.files.coco.fields import key_of, listed
from detrdistill.files.coco.files import locate, refuse_merged, refuse_unreadable, warn_of_images, warn_of_unused
from detrdistill.files.coco.folder import Folder
from detrdistill.files.coco.images import look_at_images
from detrdistill.files.coco.layouts import find_layout
from detrdistill.files.coco.leaks import leak_between, warn_of_doubles
from detrdistill.files.coco.records import SPLITS, CocoSet, DatasetOptions, Id, ImageRecord, Split
from detrdistill.files.coco.turning import settle_sizes


def read_split(root: Path, split: Split, *, check_files: bool = False) -> CocoSet:
    """Read one split; see `read_splits`."""
    return read_splits(root, check_files=check_files)[split]


def read_splits(
    root: Path,
    *,
    check_files: bool = False,
    options: DatasetOptions = DatasetOptions(),  # noqa: B008  frozen
    on_progress: Callable[[], None] = lambda: None,
) -> dict[Split, CocoSet]:
    """Read both splits.

    Args:
        root: folder of the dataset.
        check_files: also decode every image to its end, and compare the content of files.
        options: what the files leave open.
        on_progress: called after every image.

    Raises:
        DatasetError: with the number of offending entries and the first of them.
    """
    folder = Folder(root)
    layout = find_layout(folder, options)
    files = [layout.train] if layout.val is None else [layout.train, layout.val]
    documents = [parse_document(folder, parts) for parts in files]
    classes = match_classes(documents)
    for document, split in zip(documents, SPLITS if layout.val else (None,), strict=True):
        locate(document, folder, split)
    refuse_merged(documents)
    paths = [entry.path for document in documents for entry in document.entries]
    facts = look_at_images(paths, decode=check_files, on_progress=on_progress)
    for document in documents:
        refuse_unreadable(document, facts)
    settle_sizes(documents, facts)
    truths = [settle_boxes(document) for document in documents]
    for document, boxes in zip(documents, truths, strict=True):
        warn_of_images(document, facts)
        warn_of_doubles(document, facts, boxes)
    sets = [
        _set_of(document, boxes, classes.names, ids, labels)
        for document, boxes, ids, labels in zip(documents, truths, classes.ids, classes.labels, strict=True)
    ]
    train, val = sets if layout.val else _divide(sets[0], documents[0], options)
    of_folder = [*layout.warnings, *warn_of_unused(documents, folder)]
    found = {"train": of_folder + documents[0].warnings, "val": documents[1].warnings if layout.val else []}
    if unseen := [name for name, count in zip(classes.names, train.boxes_per_class, strict=True) if not count]:
        found["train"].append(f"{documents[0].where}: no box to train on is of these classes: {listed(unseen)}.")
    if leak := leak_between(train.images, val.images, facts):
        found["val"].append(f"{documents[-1].where}: {leak}")
    return {"train": replace(train, warnings=tuple(found["train"])), "val": replace(val, warnings=tuple(found["val"]))}


def _set_of(
    document: Document,
    truths: Sequence[Sequence[Truth]],
    names: tuple[str, ...],
    ids: tuple[Id | None, ...],
    labels: tuple[int | None, ...],
) -> CocoSet:
    """A whole file as a set."""
    images: list[ImageRecord] = []
    rows: list[dict[str, Any]] = []
    for entry, kept in zip(document.entries, truths, strict=True):
        boxes = [
            (truth.xyxy, label) for truth in kept if not truth.crowd and (label := labels[truth.category]) is not None
        ]
        width, height = entry.size
        images.append(
            ImageRecord(
                id=entry.id,
                path=entry.path,
                width=width,
                height=height,
                boxes_xyxy_px=tuple(box for box, _ in boxes),
                labels=tuple(label for _, label in boxes),
                upright=entry.upright,
            )
        )
        for truth in kept:
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": entry.id,
                    "category_id": document.categories[truth.category].id,
                    "bbox": list(truth.xywh),
                    "area": truth.area,
                    "iscrowd": int(truth.crowd),
                }
            )
    entries = [{"id": image.id, "width": image.width, "height": image.height} for image in images]
    categories = [{"id": identifier, "name": name} for identifier, name in zip(ids, names, strict=True)]
    truth = {"images": entries, "annotations": rows, "categories": categories}
    return CocoSet(names, ids, tuple(images), truth)


def _divide(whole: CocoSet, document: Document, options: DatasetOptions) -> tuple[CocoSet, CocoSet]:
    """Train and val of one file: by image file, in an order drawn from the seed."""
    assert options.val_fraction is not None
    files = list(dict.fromkeys(image.path for image in whole.images))
    if len(files) < len(SPLITS):
        raise DatasetError(f"{document.where} has one image; two splits need two.", hint="Add images.")
    random.Random(options.seed).shuffle(files)  # noqa: S311  no secret
    count = min(max(1, round(options.val_fraction * len(files))), len(files) - 1)
    chosen = set(files[:count])
    train, val = _part(whole, lambda path: path not in chosen), _part(whole, lambda path: path in chosen)
    for split, part in zip(SPLITS, (train, val), strict=True):
        if not any(part.boxes_per_class):
            raise DatasetError(
                f"{document.where}: the {len(part.images)} images chosen for {split} have no boxes.",
                hint="Choose another seed or val_fraction, or annotate more images.",
            )
    return train, val


def _part(whole: CocoSet, wanted: Callable[[Path], bool]) -> CocoSet:
    images = tuple(image for image in whole.images if wanted(image.path))
    ids = {key_of(image.id) for image in images}
    content = {
        name: [item for item in whole.annotations[name] if key_of(item[key]) in ids]
        for name, key in (("images", "id"), ("annotations", "image_id"))
    }
    return replace(whole, images=images, annotations=whole.annotations | content)
