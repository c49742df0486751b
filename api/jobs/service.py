"""What happens when somebody asks for a job: every check that needs no GPU, before anything is stored."""

from uuid import UUID

from sqlalchemy import null
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.errors import ApiError, Conflict, NotFound
from api.jobs import held, repository, states
from api.jobs.events import StateChanged
from api.jobs.models import Job, JobTeacher
from api.jobs.schemas import JobCreate, JobRetry
from api.jobs.states import JobState


def submit(session: Session, request: JobCreate) -> Job:
    """Check a request and store it as a queued job. The row is the job: a scheduler announces it to the workers.

    A job that names something that is still being checked is held until that is known.

    Raises:
        ApiError: something does not exist or does not fit together.
    """
    ids = held.ids_of(request.dataset_id, request.teacher_ids, request.student_id)
    try:
        waiting_for = held.find_parts(session, ids).check(request.config)
    except ApiError as error:
        error.pointer = request.as_given(error.pointer)
        raise
    job = Job(
        name=request.name,
        kind=request.config.kind,
        config=request.config.model_dump(mode="json"),
        dataset_id=request.dataset_id,
        teachers={name: JobTeacher(name=name, checkpoint_id=key) for name, key in request.teacher_ids.items()},
        student_id=request.student_id,
        max_runtime_seconds=request.max_runtime_seconds,
        waiting_for=waiting_for,
    )
    if waiting_for:
        job.next_dispatch_at = null()
    session.add(job)
    try:
        session.flush()
    except IntegrityError:
        session.rollback()
        held.find_parts(session, ids)  # what was refused meanwhile may be gone
        raise
    event = StateChanged(state=JobState.QUEUED, waiting_for=waiting_for or None)
    repository.add_events(session, job.id, [event])
    session.commit()
    return job


def cancel(session: Session, job_id: UUID) -> Job:
    """Cancel a queued job, or ask a running one to stop. A job that has ended stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    state = states.request_cancel(session, job_id)
    if state is not None:
        repository.add_events(session, job_id, [StateChanged(state=state, cancel_requested=True)])
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
        repository.add_events(session, job_id, [StateChanged(state=JobState.QUEUED, retry=request.begin)])
        session.commit()
        return session.get_one(Job, job_id, populate_existing=True)
    job = repository.find(session, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    if job.state == JobState.SUCCEEDED:
        hint = "Submit a new job to train again."
        raise Conflict(f"Job {job_id} has succeeded; there is nothing to retry.", hint=hint, code="job_succeeded")
    raise Conflict(f"Job {job_id} is {job.state}.", hint="Wait for its end, or cancel it first.", code="job_active")
