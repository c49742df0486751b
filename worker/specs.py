"""What a training process is told, from the rows of its job."""

from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.jobs.models import Job
from api.jobs.pointers import STUDENT_POINTER, teacher_pointer
from api.storage import Storage
from detrdistill.files.coco import DatasetOptions
from detrdistill.schema.paths import RegisteredDataset, RunPaths
from detrdistill.schema.run import RUN_CONFIG
from worker.protocol import RunSpec


def build_spec(
    session: Session, storage: Storage, job_id: UUID, *, journal: Path, sequence: int, silence_seconds: float
) -> RunSpec:
    """The spec of an attempt; see `RunSpec` for the last three.

    Raises:
        pydantic.ValidationError: the configuration was stored by another version and is not understood.
    """
    job = session.get_one(Job, job_id)
    dataset = session.get_one(Dataset, job.dataset_id)
    ids = {teacher_pointer(name): identifier for name, identifier in job.teacher_ids.items()}
    if job.student_id is not None:
        ids[STUDENT_POINTER] = job.student_id
    rows = {pointer: session.get_one(Checkpoint, identifier) for pointer, identifier in ids.items()}
    folders = {pointer: storage.locate(row.path, "checkpoints", row.id) for pointer, row in rows.items()}
    return RunSpec(
        config=RUN_CONFIG.validate_python(job.config),
        paths=RunPaths(
            dataset=storage.locate(dataset.path, "datasets", dataset.id),
            work=storage.folder("jobs", job_id),
            teachers={name: folders[teacher_pointer(name)] for name in job.teacher_ids},
            student=folders.get(STUDENT_POINTER),
            dataset_options=DatasetOptions.model_validate(dataset.options or {}),
            registered=RegisteredDataset(
                classes=tuple(dataset.classes),
                images={split: content["images"] for split, content in dataset.splits.items()},
            ),
        ),
        digests={pointer: row.sha256 or "" for pointer, row in rows.items()},
        journal=journal,
        sequence=sequence,
        silence_seconds=silence_seconds,
    )
