"""What happens when somebody asks for a job: every check that needs no GPU, before anything is stored."""

import hashlib
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.errors import ApiError, Conflict, NotFound
from api.jobs import repository, states
from api.jobs.checks import check_job, teacher_pointer
from api.jobs.models import Job
from api.jobs.schemas import JobCreate, JobRetry
from api.jobs.states import JobState


def submit(session: Session, request: JobCreate, idempotency_key: str | None) -> Job:
    """Check a request and store it as a queued job. The row is the job: a scheduler announces it to the workers.

    Raises:
        ApiError: something does not exist or does not fit together.
    """
    request_hash = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    if idempotency_key is not None and (earlier := _earlier(session, idempotency_key, request_hash)):
        return earlier
    dataset = session.get(Dataset, request.dataset_id)
    if dataset is None:
        raise ApiError(f"There is no data set {request.dataset_id}.", pointer="/dataset_id", code="not_found")
    teachers = {
        name: checkpoint
        for name, checkpoint_id in [("", request.teacher_id), *request.further_teacher_ids.items()]
        if (checkpoint := _checkpoint(session, checkpoint_id, teacher_pointer(name)))
    }
    student = _checkpoint(session, request.student_id, "/student_id")
    check_job(request.config, dataset, teachers, student)
    job = Job(
        name=request.name,
        kind=request.config.kind,
        config=request.config.model_dump(mode="json"),
        dataset_id=request.dataset_id,
        teacher_id=request.teacher_id,
        further_teacher_ids={name: str(checkpoint_id) for name, checkpoint_id in request.further_teacher_ids.items()},
        student_id=request.student_id,
        max_runtime_seconds=request.max_runtime_seconds,
        idempotency_key=idempotency_key,
        request_hash=request_hash,
    )
    session.add(job)
    try:
        session.flush()
    except IntegrityError:
        session.rollback()
        if idempotency_key is not None and (earlier := _earlier(session, idempotency_key, request_hash)):
            return earlier
        raise
    repository.add_events(session, job.id, [("state", {"state": JobState.QUEUED})])
    session.commit()
    return job


def cancel(session: Session, job_id: UUID) -> Job:
    """Cancel a queued job, or ask a running one to stop. A job that has ended stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    state = states.request_cancel(session, job_id)
    if state is not None:
        repository.add_events(session, job_id, [("state", {"state": state, "cancel_requested": True})])
    session.commit()
    job = repository.find(session, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def retry(session: Session, job_id: UUID, request: JobRetry) -> Job:
    """Put a job that failed or was cancelled into the queue again.

    Raises:
        NotFound: there is no such job.
        Conflict: it is in another state.
    """
    if states.retry(session, job_id, from_start=request.begin == "start"):
        if request.begin == "start":
            repository.forget_run(session, job_id)
        repository.add_events(session, job_id, [("state", {"state": JobState.QUEUED, "retry": request.begin})])
        session.commit()
        return session.get_one(Job, job_id, populate_existing=True)
    job = repository.find(session, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    if job.state == JobState.SUCCEEDED:
        hint = "Submit a new job to train again."
        raise Conflict(f"Job {job_id} has succeeded; there is nothing to retry.", hint=hint, code="job_succeeded")
    raise Conflict(f"Job {job_id} is {job.state}.", hint="Wait for its end, or cancel it first.", code="job_active")


def _earlier(session: Session, key: str, request_hash: str) -> Job | None:
    """The job that an earlier request with this key made."""
    job = session.scalar(select(Job).where(Job.idempotency_key == key))
    if job is not None and job.request_hash != request_hash:
        raise ApiError(
            "This Idempotency-Key was used for another request.",
            pointer="/Idempotency-Key",
            hint="Use a new key for a new job.",
            code="idempotency_mismatch",
        )
    return job


def _checkpoint(session: Session, checkpoint_id: UUID | None, pointer: str) -> Checkpoint | None:
    if checkpoint_id is None:
        return None
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise ApiError(f"There is no checkpoint {checkpoint_id}.", pointer=pointer, code="not_found")
    return checkpoint
