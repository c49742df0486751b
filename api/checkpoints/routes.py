"""`/checkpoints`: upload, list, look."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Response, status
from sqlalchemy import select

from api.checkpoints import service
from api.checkpoints.models import Checkpoint
from api.checkpoints.schemas import CheckpointPage, CheckpointView
from api.db import DbSession
from api.errors import NotFound, problems
from api.forms import After, FilesField, Limit, NameField, PathField
from api.routing import ApiRoute
from api.storage import get_storage
from api.uploads import exactly_one

router = APIRouter(prefix="/checkpoints", tags=["checkpoints"], route_class=ApiRoute)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(400, 403, 413, 422, 503, 507))
def create_checkpoint(
    name: NameField,
    files: FilesField,
    response: Response,
    session: DbSession,
    path: PathField = None,
    job_id: Annotated[UUID | None, Form(description="take the student of this job, in place of `files`")] = None,
) -> CheckpointView:
    """Add a detector, to teach or to start a student from.

    Send the folder that `save_pretrained` writes for model and image processor, as one zip or file by file:
    `config.json`, `model.safetensors` and `preprocessor_config.json`. Or name a folder on the server, or a finished
    job. Only headers are read here: that the architecture is supported, the weights are a whole detector and fit
    the configuration. Pickled weights are refused, because opening one can run any code.

    A folder without weights can be a black box, which teaches with boxes and scores alone: `model.onnx` with
    `config.json` and `preprocessor_config.json`, or `detections.json`.
    """
    exactly_one(files=files, path=path, job_id=job_id)
    if path is not None:
        checkpoint = service.create_from_path(session, name, path)
    elif job_id is not None:
        checkpoint = service.create_from_job(session, get_storage(), name, job_id)
    else:
        checkpoint = service.create_from_files(session, get_storage(), name, files)
    response.headers["Location"] = f"/checkpoints/{checkpoint.id}"
    return CheckpointView.model_validate(checkpoint)


@router.get("", responses=problems(422, 503))
def list_checkpoints(session: DbSession, limit: Limit = 20, after: After = None) -> CheckpointPage:
    """List checkpoints, newest first."""
    query = select(Checkpoint) if after is None else select(Checkpoint).where(Checkpoint.id < after)
    rows = session.scalars(query.order_by(Checkpoint.id.desc()).limit(limit + 1)).all()
    return CheckpointPage(data=[CheckpointView.model_validate(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/{checkpoint_id}", responses=problems(404, 422, 503))
def get_checkpoint(checkpoint_id: UUID, session: DbSession) -> CheckpointView:
    """Show a checkpoint."""
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise NotFound(f"There is no checkpoint {checkpoint_id}.")
    return CheckpointView.model_validate(checkpoint)
