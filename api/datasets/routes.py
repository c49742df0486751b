"""`/datasets`: upload, list, look."""

from uuid import UUID

from fastapi import APIRouter, Response, status
from sqlalchemy import select

from api.datasets import service
from api.datasets.models import Dataset
from api.datasets.schemas import DatasetPage, DatasetView
from api.db import DbSession
from api.errors import NotFound, problems
from api.forms import After, FilesField, Limit, NameField, PathField
from api.routing import ApiRoute
from api.storage import get_storage
from api.uploads import exactly_one

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=ApiRoute)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(400, 403, 413, 422, 503, 507))
def create_dataset(
    name: NameField,
    files: FilesField,
    response: Response,
    session: DbSession,
    path: PathField = None,
) -> DatasetView:
    """Add a data set in COCO format.

    Send one zip with `train.json`, `val.json` and the images (other usual layouts are understood), or name a folder
    on the server. Everything a training would stumble over is checked now: files that are missing or unreadable,
    ids that do not match, malformed boxes, a split without any box. Boxes that reach outside their image are clipped
    for training and reported as a warning.
    """
    exactly_one(files=files, path=path)
    if path is not None:
        dataset = service.create_from_path(session, name, path)
    else:
        dataset = service.create_from_files(session, get_storage(), name, files)
    response.headers["Location"] = f"/datasets/{dataset.id}"
    return DatasetView.model_validate(dataset)


@router.get("", responses=problems(422, 503))
def list_datasets(session: DbSession, limit: Limit = 20, after: After = None) -> DatasetPage:
    """List data sets, newest first."""
    query = select(Dataset) if after is None else select(Dataset).where(Dataset.id < after)
    rows = session.scalars(query.order_by(Dataset.id.desc()).limit(limit + 1)).all()
    return DatasetPage(data=[DatasetView.model_validate(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/{dataset_id}", responses=problems(404, 422, 503))
def get_dataset(dataset_id: UUID, session: DbSession) -> DatasetView:
    """Show a data set."""
    dataset = session.get(Dataset, dataset_id)
    if dataset is None:
        raise NotFound(f"There is no data set {dataset_id}.")
    return DatasetView.model_validate(dataset)
