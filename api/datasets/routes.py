"""`/datasets`: upload, list, look."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response, UploadFile, status
from fastapi.concurrency import run_in_threadpool

from api.checking.answers import settled, still_checking
from api.datasets import repository, service
from api.datasets.models import Dataset
from api.datasets.schemas import DatasetPage, DatasetView
from api.db import DbSession
from api.errors import NotFound, problems
from api.forms import FilesField, NameField, PathField
from api.pagination import After, Limit
from api.routing import ApiRoute
from api.storage import get_storage
from api.uploads import exactly_one
from detrdistill.files.coco import DatasetOptions

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=ApiRoute)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=still_checking(DatasetView) | problems(400, 403, 413, 422, 503, 507),
)
async def create_dataset(
    request: Request,
    name: NameField,
    files: FilesField,
    response: Response,
    session: DbSession,
    path: PathField = None,
    val_fraction: Annotated[
        float | None, Form(gt=0, lt=1, description="share of images to validate on, for data that is not split yet")
    ] = None,
    seed: Annotated[int, Form(ge=0, lt=2**31, description="of the split that `val_fraction` asks for")] = 0,
) -> DatasetView:
    """Add a dataset in COCO format.

    Send one zip with `train.json`, `val.json` and the images (other usual layouts are understood), or name a folder
    on the server. Everything a training would stumble over is checked now: files that are missing or unreadable,
    ids that do not match, malformed boxes, a split without any box. Boxes that reach outside their image are clipped
    for training and reported as a warning.

    A check that takes longer than some seconds goes on after the answer, which is 202 then: `state` is `checking`
    until it is `ready`, or `refused` with the reason in `error`. Jobs may name the dataset meanwhile; they wait.
    """
    exactly_one(files=files, path=path)
    options = DatasetOptions(val_fraction=val_fraction, seed=seed)
    dataset = await run_in_threadpool(_create, session, name, files, path, options)
    response.headers["Location"] = f"/datasets/{dataset.id}"
    response.status_code = await settled(request.app.state.live, session, get_storage(), dataset)
    return DatasetView.of(dataset)


def _create(
    session: DbSession, name: str, files: list[UploadFile], path: str | None, options: DatasetOptions
) -> Dataset:
    if path is not None:
        return service.create_from_path(session, name, path, options)
    return service.create_from_files(session, get_storage(), name, files, options)


@router.get("", responses=problems(422, 503))
def list_datasets(session: DbSession, limit: Limit = 20, after: After = None) -> DatasetPage:
    """List datasets, newest first; of each at most the first 100 class names."""
    rows, has_more = repository.page(session, after, limit)
    return DatasetPage(data=[DatasetView.of(row, **instead) for row, instead in rows], has_more=has_more)


@router.get("/{dataset_id}", responses=problems(404, 422, 503))
def get_dataset(dataset_id: UUID, session: DbSession) -> DatasetView:
    """Show a dataset."""
    dataset = repository.find(session, dataset_id)
    if dataset is None:
        raise NotFound(f"There is no dataset {dataset_id}.")
    return DatasetView.of(dataset)
