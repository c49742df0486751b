"""Take a checkpoint: keep its files, and have it checked that it is a detector or black box we can load."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from fastapi import UploadFile
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.checking.answers import store
from api.checkpoints.models import Checkpoint
from api.errors import ApiError
from api.jobs import repository as jobs
from api.jobs.files import OpenedFolder
from api.jobs.states import JobState
from api.storage import Storage
from api.uploads import folder_size, operator_folder, receive
from detrdistill.files.checkpoints import PICKLES
from detrdistill.files.coco import find_root

_SUFFIXES = (".safetensors", ".onnx", ".json", ".txt", ".md", "license", *PICKLES)
"""Pickles are let through to be refused with a better reason than their name; they are never opened."""


def create_from_files(session: Session, storage: Storage, name: str, files: Sequence[UploadFile]) -> Checkpoint:
    """Keep an uploaded checkpoint; a checker will look at it.

    Raises:
        ApiError: the files cannot be taken; nothing was kept.
    """
    with storage.staging() as folder:
        skipped = receive(files, folder, suffixes=_SUFFIXES)
        root = find_root(folder)
        return _keep(session, storage, root, _described(name, root, skipped.warnings))


def create_from_path(session: Session, name: str, path: str) -> Checkpoint:
    """Register a checkpoint where it lies, below the operator's folder; a checker will look at it.

    Raises:
        ApiError: there is no such folder.
    """
    folder = operator_folder(path)
    checkpoint = _described(name, folder)
    checkpoint.path = str(folder)
    store(session, checkpoint)
    return checkpoint


def create_from_job(session: Session, storage: Storage, name: str, job_id: UUID) -> Checkpoint:
    """Make the student of a finished job a checkpoint, so that it can teach or be trained further.

    Raises:
        ApiError: the job has exported no student.
    """
    job = jobs.find(session, job_id)
    has_ended = job is not None and JobState(job.state).final
    session.rollback()  # copying may take longer than a transaction may be idle
    with OpenedFolder(storage.folder("jobs", job_id)) as files, storage.staging() as folder:
        found = [file for name_of_file, file in files.files.items() if name_of_file.startswith("student/")]
        if not has_ended or not found:
            raise ApiError(
                f"Job {job_id} has no student to take.",
                pointer="/job_id",
                hint="Wait until it has finished.",
                code="not_found",
            )
        for file in found:
            with (folder / file.name.removeprefix("student/")).open("wb") as copy:
                copy.writelines(file.read(0, file.size))
        checkpoint = _described(name, folder)
        checkpoint.job_id = job_id
        return _keep(session, storage, folder, checkpoint)


def _described(name: str, folder: Path, warnings: Sequence[str] = ()) -> Checkpoint:
    """What is known before the check."""
    return Checkpoint(name=name, classes=[], warnings=list(warnings), size=folder_size(folder))


def _keep(session: Session, storage: Storage, folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    checkpoint.id = uuid7()
    storage.publish(folder, "checkpoints", checkpoint.id)
    try:
        store(session, checkpoint)
    except BaseException:
        storage.remove("checkpoints", checkpoint.id)
        raise
    return checkpoint
