"""`/jobs/{id}/artifacts`: the files of a job, in every state."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from mimetypes import guess_type
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse

from api.db import DbSession
from api.downloads import download
from api.errors import Gone, NotFound, problems
from api.forms import PLAIN_TEXT
from api.jobs import repository
from api.jobs.files import KnownDigests, OpenedFolder, job_files
from api.jobs.models import Artifact
from api.jobs.schemas import ArtifactList, ArtifactView
from api.routing import ApiRoute
from api.storage import get_storage

ArtifactName = Annotated[str, Path(pattern=PLAIN_TEXT, max_length=1000, examples=["student.zip"])]
router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ApiRoute)


@router.get("/{job_id}/artifacts", responses=problems(404, 422, 503))
def list_artifacts(job_id: UUID, session: DbSession) -> ArtifactList:
    """List the files of a job, with size and SHA-256; in every state, as they are now.

    `student.zip` holds the whole folder that `AutoModelForObjectDetection.from_pretrained` loads: the best weights so
    far. Its files are also listed one by one, and so are the checkpoints from which the job would go on.
    """
    if repository.find(session, job_id) is None:
        raise NotFound(f"There is no job {job_id}.")
    known = _known(repository.artifacts(session, job_id))
    session.close()  # reading large files must not hold a connection
    return ArtifactList(
        data=[ArtifactView.of(job_id, file) for file in job_files(get_storage().folder("jobs", job_id), known)]
    )


@router.get(
    "/{job_id}/artifacts/{name:path}",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "the requested range"},
    }
    | problems(400, 404, 410, 416, 422, 503),
)
def download_artifact(job_id: UUID, name: ArtifactName, request: Request, session: DbSession) -> Response:
    """Download a file by its name in the list.

    Honours Range, so that a broken download can go on; `Repr-Digest` carries its SHA-256. What is sent is the file as
    it was when the request came, even if a running job replaces it meanwhile.
    """
    rows = repository.artifacts(session, job_id)
    session.close()  # a slow download must not hold a connection
    folder = OpenedFolder(get_storage().folder("jobs", job_id), _known(rows))
    if (file := folder.files.get(name)) is None:
        folder.close()
        if name in [row.name for row in rows]:
            raise Gone(f"The file of {name} is no longer in the storage.")
        raise NotFound(f"There is no job {job_id} with an artifact of this name.")
    try:
        headers = {
            "ETag": f'"{file.sha256}"',
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
            "Last-Modified": format_datetime(datetime.fromtimestamp(file.modified_ns / 1e9, UTC), usegmt=True),
            "Cache-Control": "private",
            "Content-Type": guess_type(name)[0] or "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{name.rpartition("/")[2]}"',
        }
    except BaseException:
        folder.close()
        raise
    return download(request, file.read, file.size, headers, folder.close)


def _known(rows: Sequence[Artifact]) -> KnownDigests:
    """What was recorded at the end of the job, as long as the files are those of then."""
    return {(row.name, row.size, row.modified_ns): row.sha256 for row in rows}
