"""Take a data set: check everything a training would stumble over, then keep it."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import UploadFile
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.datasets.models import Dataset
from api.errors import from_core
from api.storage import Storage
from api.uploads import check_classes, folder_size, operator_folder, receive
from detrdistill.coco import find_root, read_splits
from detrdistill.errors import DatasetError

_SUFFIXES = (".json", ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".txt", ".md", ".csv", ".yaml", ".yml")
"""Images, annotations, and the notes that people keep beside them."""


def create_from_files(session: Session, storage: Storage, name: str, files: Sequence[UploadFile]) -> Dataset:
    """Keep an uploaded data set.

    Raises:
        ApiError: the files are not a COCO data set; nothing was kept.
    """
    with storage.staging() as folder:
        receive(files, folder, suffixes=_SUFFIXES)
        dataset = _describe(name, folder, "/files")
        dataset.id = uuid7()
        storage.publish(folder, "datasets", dataset.id)
    try:
        return _store(session, dataset)
    except BaseException:
        storage.remove("datasets", dataset.id)
        raise


def create_from_path(session: Session, name: str, path: str) -> Dataset:
    """Register a data set where it lies, below the operator's folder.

    Raises:
        ApiError: there is none, or it is not a COCO data set.
    """
    folder = operator_folder(path)
    dataset = _describe(name, folder, "/path")
    dataset.path = str(folder)
    return _store(session, dataset)


def _describe(name: str, folder: Path, pointer: str) -> Dataset:
    try:
        sets = read_splits(find_root(folder), check_files=True)
    except DatasetError as error:
        raise from_core(error, pointer) from error
    check_classes(sets["train"].classes, pointer, DatasetError.code)
    return Dataset(
        name=name,
        classes=list(sets["train"].classes),
        splits={
            split: {"images": len(content.images), "boxes": sum(len(image.labels) for image in content.images)}
            for split, content in sets.items()
        },
        warnings=[warning for content in sets.values() for warning in content.warnings],
        size=folder_size(folder),
    )


def _store(session: Session, dataset: Dataset) -> Dataset:
    session.add(dataset)
    session.commit()
    session.refresh(dataset)
    return dataset
