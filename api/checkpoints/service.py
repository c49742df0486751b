"""Take a checkpoint: read its headers, check that it is a detector or black box we can load, then keep it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi import UploadFile
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from api.checkpoints.models import Checkpoint
from api.errors import ApiError, from_core
from api.jobs import repository as jobs
from api.jobs.files import OpenedFolder
from api.jobs.states import JobState
from api.storage import Storage
from api.uploads import folder_size, operator_folder, receive
from detrdistill.black_boxes import FILES as BLACK_BOX_FILES
from detrdistill.black_boxes import BlackBox, inspect_black_box, kind_of
from detrdistill.checkpoints import PICKLES, WEIGHTS, CheckpointCard, inspect_checkpoint
from detrdistill.coco import find_root
from detrdistill.errors import CheckpointError

_SUFFIXES = (".safetensors", ".onnx", ".json", ".txt", ".md", "license", *PICKLES)
"""Pickles are let through to be refused with a better reason than their name; they are never opened."""


def create_from_files(session: Session, storage: Storage, name: str, files: Sequence[UploadFile]) -> Checkpoint:
    """Keep an uploaded checkpoint.

    Raises:
        ApiError: it is not a detector we can load, or not safe; nothing was kept.
    """
    with storage.staging() as folder:
        receive(files, folder, suffixes=_SUFFIXES)
        root = find_root(folder)
        checkpoint = _describe(name, root, "/files")
        return _keep(session, storage, root, checkpoint)


def create_from_path(session: Session, name: str, path: str) -> Checkpoint:
    """Register a checkpoint where it lies, below the operator's folder.

    Raises:
        ApiError: there is none, or it is not a detector we can load.
    """
    folder = operator_folder(path)
    checkpoint = _describe(name, folder, "/path")
    checkpoint.path = str(folder)
    return _store(session, checkpoint)


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
        checkpoint = _describe(name, folder, "/job_id")
        checkpoint.job_id = job_id
        return _keep(session, storage, folder, checkpoint)


def _describe(name: str, folder: Path, pointer: str) -> Checkpoint:
    kind = kind_of(folder)
    try:
        card = inspect_checkpoint(folder) if kind is None else inspect_black_box(folder, kind)
    except CheckpointError as error:
        raise from_core(error, pointer) from error
    height, width = card.image_size or (None, None)
    with (folder / (WEIGHTS if kind is None else BLACK_BOX_FILES[kind])).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(
        name=name,
        classes=list(card.classes),
        image_height=height,
        image_width=width,
        size=folder_size(folder),
        sha256=digest,
        **_facts(card),
    )


def _facts(card: CheckpointCard | BlackBox) -> dict[str, Any]:
    """What only a detector has, or only a black box."""
    if isinstance(card, BlackBox):
        return {"kind": card.kind, "scores": card.scores}
    return {
        "kind": "detector",
        "family": card.family,
        "parameters": card.parameters,
        "queries": card.queries,
        "two_stage": card.two_stage,
        "decoder_layers": card.decoder_layers,
        "width": card.width,
    }


def _keep(session: Session, storage: Storage, folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    checkpoint.id = uuid7()
    storage.publish(folder, "checkpoints", checkpoint.id)
    try:
        return _store(session, checkpoint)
    except BaseException:
        storage.remove("checkpoints", checkpoint.id)
        raise


def _store(session: Session, checkpoint: Checkpoint) -> Checkpoint:
    session.add(checkpoint)
    session.commit()
    session.refresh(checkpoint)
    return checkpoint
