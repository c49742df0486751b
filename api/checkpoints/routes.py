"""`/checkpoints`: upload, list, look."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response, UploadFile, status
from fastapi.concurrency import run_in_threadpool

from api.checking.answers import settled, still_checking
from api.checkpoints import repository, service
from api.checkpoints.models import Checkpoint
from api.checkpoints.schemas import CheckpointPage, CheckpointView
from api.db import DbSession
from api.errors import NotFound, problems
from api.forms import FilesField, NameField, PathField
from api.pagination import After, Limit
from api.routing import ApiRoute
from api.storage import get_storage
from api.uploads import exactly_one

router = APIRouter(prefix="/checkpoints", tags=["checkpoints"], route_class=ApiRoute)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=still_checking(CheckpointView) | problems(400, 403, 413, 422, 503, 507),
)
async def create_checkpoint(
    request: Request,
    name: NameField,
    files: FilesField,
    response: Response,
    session: DbSession,
    path: PathField = None,
    job_id: Annotated[UUID | None, Form(description="take the student of this job, in place of `files`")] = None,
) -> CheckpointView:
    """Add a detector, to teach or to start a student from.

    Send the folder that `save_pretrained` writes for model and image processor, as one zip or file by file:
    `config.json`, `model.safetensors` (or its shards with their index) and `preprocessor_config.json`. Or name a folder
    on the server, or a finished job. It is checked that the architecture is supported and the weights fit the
    configuration; `coverage` says how much of the detector they fill. Pickled weights are refused, because opening one
    can run any code.

    A folder without weights can be a black box, which teaches with boxes and scores alone: `model.onnx` with
    `config.json` and `preprocessor_config.json`, or `detections.json`.

    A check that takes longer than some seconds goes on after the answer, which is 202 then: `state` is `checking`
    until it is `ready`, or `refused` with the reason in `error`. Jobs may name the checkpoint meanwhile; they wait.
    """
    exactly_one(files=files, path=path, job_id=job_id)
    checkpoint = await run_in_threadpool(_create, session, name, files, path, job_id)
    response.headers["Location"] = f"/checkpoints/{checkpoint.id}"
    response.status_code = await settled(request.app.state.live, session, get_storage(), checkpoint)
    return CheckpointView.of(checkpoint)


def _create(
    session: DbSession, name: str, files: list[UploadFile], path: str | None, job_id: UUID | None
) -> Checkpoint:
    if path is not None:
        return service.create_from_path(session, name, path)
    if job_id is not None:
        return service.create_from_job(session, get_storage(), name, job_id)
    return service.create_from_files(session, get_storage(), name, files)


@router.get("", responses=problems(422, 503))
def list_checkpoints(session: DbSession, limit: Limit = 20, after: After = None) -> CheckpointPage:
    """List checkpoints, newest first; of each at most the first 100 class names."""
    rows, has_more = repository.page(session, after, limit)
    return CheckpointPage(data=[CheckpointView.of(row, **instead) for row, instead in rows], has_more=has_more)


@router.get("/{checkpoint_id}", responses=problems(404, 422, 503))
def get_checkpoint(checkpoint_id: UUID, session: DbSession) -> CheckpointView:
    """Show a checkpoint."""
    checkpoint = repository.find(session, checkpoint_id)
    if checkpoint is None:
        raise NotFound(f"There is no checkpoint {checkpoint_id}.")
    return CheckpointView.of(checkpoint)
