"""Take a dataset: keep its files, and have everything checked that a training would stumble over."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import UploadFile
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.checking.answers import store
from api.datasets.models import Dataset
from api.storage import Storage
from api.uploads import folder_size, operator_folder, receive
from detrdistill.files.coco import IMAGE_SUFFIXES, DatasetOptions

_SUFFIXES = (".json", *IMAGE_SUFFIXES)
"""Annotations and images."""


def create_from_files(
    session: Session, storage: Storage, name: str, files: Sequence[UploadFile], options: DatasetOptions
) -> Dataset:
    """Keep an uploaded dataset; a checker will look at it.

    Raises:
        ApiError: the files cannot be taken; nothing was kept.
    """
    with storage.staging() as folder:
        skipped = receive(files, folder, suffixes=_SUFFIXES)
        dataset = _described(name, folder, options, skipped.warnings)
        dataset.id = uuid7()
        storage.publish(folder, "datasets", dataset.id)
    try:
        store(session, dataset)
    except BaseException:
        storage.remove("datasets", dataset.id)
        raise
    return dataset


def create_from_path(session: Session, name: str, path: str, options: DatasetOptions) -> Dataset:
    """Register a dataset where it lies, below the operator's folder; a checker will look at it.

    Raises:
        ApiError: there is no such folder.
    """
    folder = operator_folder(path)
    dataset = _described(name, folder, options)
    dataset.path = str(folder)
    store(session, dataset)
    return dataset


def _described(name: str, folder: Path, options: DatasetOptions, warnings: Sequence[str] = ()) -> Dataset:
    """What is known before the check."""
    return Dataset(
        name=name,
        classes=[],
        splits={},
        warnings=list(warnings),
        options=options.model_dump(),
        size=folder_size(folder),
    )
