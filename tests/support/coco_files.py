"""The rectangles, spoilt as tools spoil datasets; and what a reader makes of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detrdistill.files.coco import CocoSet, read_splits

Document = dict[str, Any]
Change = Callable[[Document], Any]


def spoilt(rectangles: Path, folder: Path, both: Change | None = None, *, val: Change | None = None) -> Path:
    """A copy of the rectangles, with both annotation files changed, or that of val alone."""
    shutil.copytree(rectangles, folder)
    for split, change in (("train", both), ("val", both), ("val", val)):
        if change is not None:
            document = json.loads((folder / f"{split}.json").read_text())
            change(document)
            (folder / f"{split}.json").write_text(json.dumps(document))
    return folder


def each(name: str, change: Callable[[Document], Any]) -> Change:
    """Change every item of a list."""
    return lambda document: [change(item) for item in document[name]]


def first(name: str, /, **fields: Any) -> Change:
    """Change the first item of a list."""
    return lambda document: document[name][0].update(fields)


def facts(sets: dict[Any, CocoSet]) -> dict[str, Any]:
    """Classes, and for each split all boxes with their classes in order."""
    return {"classes": sets["train"].classes} | {
        split: [(image.boxes_xyxy_px, image.labels, image.width, image.height) for image in found.images]
        for split, found in sets.items()
    }


def boxes(split: CocoSet) -> int:
    """How many there are to train on."""
    return sum(len(image.labels) for image in split.images)


def read(folder: Path, **options: Any) -> dict[Any, CocoSet]:
    return read_splits(folder, check_files=True, **options)


def warnings(sets: dict[Any, CocoSet]) -> list[str]:
    return [warning for found in sets.values() for warning in found.warnings]


def perfect(split: CocoSet) -> dict[Any, tuple[Tensor, Tensor, Tensor]]:
    """What a detector finds that knows exactly what training teaches."""
    return {
        image.id: (
            torch.ones(len(image.labels)),
            torch.tensor(image.labels, dtype=torch.long),
            torch.tensor(image.boxes_xyxy_px, dtype=torch.float64).reshape(-1, 4),
        )
        for image in split.images
    }
