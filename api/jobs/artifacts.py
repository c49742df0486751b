"""`/jobs/{id}/artifacts`: the files of a job."""

import base64
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse

from api.db import DbSession
from api.errors import Gone, NotFound, problems
from api.forms import PLAIN_TEXT
from api.jobs import repository
from api.jobs.schemas import ArtifactList, ArtifactView
from api.routing import ApiRoute
from api.storage import get_storage

ArtifactName = Annotated[str, Path(pattern=PLAIN_TEXT, max_length=1000, examples=["student.zip"])]
router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ApiRoute)


@router.get("/{job_id}/artifacts", responses=problems(404, 422, 503))
def list_artifacts(job_id: UUID, session: DbSession) -> ArtifactList:
    """List the files of a job, with size and SHA-256.

    `student.zip` holds the whole folder that `AutoModelForObjectDetection.from_pretrained` loads; its files are also
    listed one by one.
    """
    if repository.find(session, job_id) is None:
        raise NotFound(f"There is no job {job_id}.")
    return ArtifactList(data=[ArtifactView.of(row) for row in repository.artifacts(session, job_id)])


@router.get(
    "/{job_id}/artifacts/{name:path}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "the requested range"},
    }
    | problems(400, 404, 410, 416, 422, 503),
)
def download_artifact(job_id: UUID, name: ArtifactName, session: DbSession) -> Response:
    """Download a file by its name in the list.

    Honours Range, so that a broken download can go on; `Repr-Digest` carries its SHA-256.
    """
    artifact = repository.find_artifact(session, job_id, name)
    if artifact is None:
        raise NotFound(f"There is no job {job_id} with an artifact of this name.")
    path = get_storage().folder("jobs", job_id) / artifact.name
    if not path.is_file():
        raise Gone(f"The file of {artifact.name} is no longer in the storage.")
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {"ETag": f'"{artifact.sha256}"', "Repr-Digest": f"sha-256=:{digest}:", "Cache-Control": "private"}
    return FileResponse(path, filename=artifact.name.rpartition("/")[2], headers=headers)
