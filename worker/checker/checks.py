"""What a check does, in a process of its own. Nothing here knows of the database."""

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from detrdistill.errors import DatasetError
from detrdistill.files.black_boxes import FILES as BLACK_BOX_FILES
from detrdistill.files.checkpoints import WEIGHTS, weight_files
from detrdistill.files.coco import CocoSet, DatasetOptions, find_root, read_splits
from detrdistill.schema.validation import names_fault
from worker.checker.protocol import CheckRequest

_CHUNK = 1024**2
Progress = Callable[[], None]


def preload() -> None:
    """Load what the checks need, once for all of them, and nothing that starts threads: a fork copies none."""
    import_module("detrdistill.detectors.build")


def check(request: CheckRequest, progress: Progress) -> dict[str, Any]:
    """Check the files of a resource.

    Args:
        request: what to check.
        progress: to be called while it goes on; silence is taken for a stall.

    Returns:
        The columns of its row that the check finds out.

    Raises:
        DatasetError, CheckpointError: the files are wrong.
    """
    if request.kind == "datasets":
        return _check_dataset(request.folder, DatasetOptions.model_validate(request.options), progress)
    return _check_checkpoint(request.folder, progress)


def _check_dataset(folder: Path, options: DatasetOptions, progress: Progress) -> dict[str, Any]:
    sets = read_splits(find_root(folder), check_files=True, options=options, on_progress=progress)
    if (fault := names_fault(sets["train"].classes)) is not None:
        raise DatasetError(f"The categories cannot be kept: {fault}.", hint="Correct the categories and upload again.")
    return {
        "classes": list(sets["train"].classes),
        "splits": {split: _size(content) for split, content in sets.items()},
        "warnings": [warning for content in sets.values() for warning in content.warnings],
    }


def _size(content: CocoSet) -> dict[str, Any]:
    boxes = content.boxes_per_class
    return {
        "images": len(content.images),
        "boxes": sum(boxes),
        "boxes_per_class": dict(zip(content.classes, boxes, strict=True)),
    }


def _check_checkpoint(folder: Path, progress: Progress) -> dict[str, Any]:
    from detrdistill.engine.registration import check_checkpoint  # noqa: PLC0415  onnxruntime starts a thread

    facts = check_checkpoint(folder).model_dump(mode="json")
    height, width = facts.pop("image_size") or (None, None)
    return facts | {"image_height": height, "image_width": width, "sha256": _digest(folder, progress)}


def _digest(folder: Path, progress: Progress) -> str:
    """SHA-256 of the file that makes the folder what it is; of the shards of weights one after the other, by name."""
    single = [folder / name for name in (WEIGHTS, *BLACK_BOX_FILES.values()) if (folder / name).is_file()]
    digest = hashlib.sha256()
    for path in single[:1] or sorted(weight_files(folder)):
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                progress()
    return digest.hexdigest()
