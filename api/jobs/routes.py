"""`/jobs`: submit, list, look, cancel, and the metrics of a job."""

from itertools import groupby
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response, status
from pydantic import StringConstraints

from api.db import DbSession
from api.errors import NotFound, problems
from api.forms import PLAIN_TEXT
from api.jobs import repository, service
from api.jobs.models import Job
from api.jobs.schemas import EvaluationView, JobCreate, JobDetail, JobMetrics, JobPage, JobRetry, JobView, Series
from api.jobs.states import JobState
from api.pagination import After, Limit
from api.routing import ApiRoute
from detrdistill.events import Role

CurveName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=PLAIN_TEXT)]
router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ApiRoute)


@router.post("", status_code=status.HTTP_202_ACCEPTED, responses=problems(400, 413, 422, 503))
def create_job(
    request: JobCreate,
    response: Response,
    session: DbSession,
) -> JobDetail:
    """Submit a job.

    It is checked at once (dataset, teacher and student exist, their classes fit, the configuration is possible) and
    then waits for a worker. Where a dataset or checkpoint is still being checked, `waiting_for` names it; the rest is
    checked when that is known. Watch it with `GET /jobs/{id}/events`.
    """
    job = service.submit(session, request)
    response.headers["Location"] = f"/jobs/{job.id}"
    return _detail(session, job)


@router.get("", responses=problems(422, 503))
def list_jobs(
    session: DbSession,
    limit: Limit = 20,
    after: After = None,
    state: Annotated[JobState | None, Query(description="only jobs in this state")] = None,
) -> JobPage:
    """List jobs, newest first."""
    jobs, has_more = repository.page(session, state, after, limit)
    aps = repository.best_aps(session, [job.id for job in jobs])
    return JobPage(data=[JobView.of(job, aps.get(job.id, {})) for job in jobs], has_more=has_more)


@router.get("/{job_id}", responses=problems(404, 422, 503))
def get_job(job_id: UUID, session: DbSession) -> JobDetail:
    """Show a job: state, stage, progress, remaining time, error, result and its full configuration."""
    return _detail(session, _find(session, job_id))


@router.post("/{job_id}/cancel", status_code=status.HTTP_202_ACCEPTED, responses=problems(404, 422, 503))
def cancel_job(job_id: UUID, session: DbSession) -> JobDetail:
    """Cancel a job.

    A queued job is cancelled at once. A running one writes a checkpoint and then stops; its best weights so far
    stay available. A job that has ended is not changed; asking twice is the same as asking once.
    """
    return _detail(session, service.cancel(session, job_id))


@router.post("/{job_id}/retry", status_code=status.HTTP_202_ACCEPTED, responses=problems(400, 404, 409, 422, 503))
def retry_job(job_id: UUID, session: DbSession, request: JobRetry | None = None) -> JobDetail:
    """Run a job again that failed or was cancelled.

    Without a body it goes on from its newest checkpoint; `{"from": "start"}` begins anew and takes the curves and
    evaluations of earlier attempts back. All attempts, and all of `max_runtime_seconds`, are before it again. A job
    that is queued or running (code `job_active`), or has succeeded (code `job_succeeded`), is left as it is.
    """
    return _detail(session, service.retry(session, job_id, request or JobRetry()))


@router.get("/{job_id}/metrics", responses=problems(404, 422, 503))
def get_metrics(
    job_id: UUID,
    session: DbSession,
    role: Annotated[Role | None, Query(description="curves of one detector only")] = None,
    name: Annotated[
        list[CurveName] | None, Query(max_length=100, description="these curves only; may be repeated")
    ] = None,
    max_points: Annotated[int, Query(ge=2, le=5000, description="most points of a curve")] = 500,
) -> JobMetrics:
    """Training curves and COCO evaluations of a job."""
    _find(session, job_id)
    points = repository.metrics(session, job_id, role, name or [], max_points)
    series: list[Series] = []
    for (of_role, of_name), curve in groupby(points, key=lambda point: point[:2]):
        _, _, steps, epochs, values = zip(*curve, strict=True)
        series.append(
            Series.model_validate(
                {"role": of_role, "name": of_name, "steps": steps, "epochs": epochs, "values": values}
            )
        )
    evaluations = [EvaluationView.of(row) for row in repository.evaluations(session, job_id)]
    return JobMetrics(series=series, evaluations=[row for row in evaluations if role in (None, row.role)])


def _find(session: DbSession, job_id: UUID) -> Job:
    job = repository.find(session, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def _detail(session: DbSession, job: Job) -> JobDetail:
    ap = repository.best_aps(session, [job.id]).get(job.id, {})
    last = repository.last_event_id(session, job.id)
    return JobDetail.of(job, ap, config=job.config, last_event_id=last)
