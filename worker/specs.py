"""What a training process is told, from the rows of its job."""

from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.jobs.models import Job
from api.storage import Storage
from detrdistill.files.coco import DatasetOptions
from detrdistill.schema.run import RUN_CONFIG
from worker.protocol import RegisteredDataset, RunSpec


def build_spec(
    session: Session, storage: Storage, job_id: UUID, *, journal: Path, sequence: int, silence_seconds: float
) -> RunSpec:
    """The spec of an attempt; see `RunSpec` for the last three.

    Raises:
        pydantic.ValidationError: the configuration was stored by another version and is not understood.
    """
    job = session.get_one(Job, job_id)
    dataset = session.get_one(Dataset, job.dataset_id)
    further = {name: UUID(identifier) for name, identifier in job.further_teacher_ids.items()}
    named = {"/teacher_id": job.teacher_id, "/student_id": job.student_id}
    named |= {f"/further_teacher_ids/{name}": identifier for name, identifier in further.items()}
    rows = {pointer: session.get_one(Checkpoint, identifier) for pointer, identifier in named.items() if identifier}
    folders = {pointer: storage.locate(row.path, "checkpoints", row.id) for pointer, row in rows.items()}
    return RunSpec(
        config=RUN_CONFIG.validate_python(job.config),
        work=storage.folder("jobs", job_id),
        dataset=storage.locate(dataset.path, "datasets", dataset.id),
        dataset_options=DatasetOptions.model_validate(dataset.options or {}),
        registered=RegisteredDataset(
            classes=tuple(dataset.classes),
            images={split: content["images"] for split, content in dataset.splits.items()},
        ),
        teacher=folders.get("/teacher_id"),
        further_teachers={name: folders[f"/further_teacher_ids/{name}"] for name in further},
        student=folders.get("/student_id"),
        digests={pointer: row.sha256 or "" for pointer, row in rows.items()},
        journal=journal,
        sequence=sequence,
        silence_seconds=silence_seconds,
    )
