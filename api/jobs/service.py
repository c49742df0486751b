"""What happens when somebody asks for a job: every check that needs no GPU, before anything is stored."""

from uuid import UUID

from sqlalchemy.orm import Session

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.errors import ApiError, NotFound
from api.jobs import repository, states
from api.jobs.checks import check_job, teacher_pointer
from api.jobs.models import Job
from api.jobs.schemas import JobCreate
from api.jobs.states import JobState


def submit(session: Session, request: JobCreate) -> Job:
    """Check a request and store it as a queued job. The row is the job: a scheduler announces it to the workers.

    Raises:
        ApiError: something does not exist or does not fit together.
    """
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
    )
    session.add(job)
    session.flush()
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


def _checkpoint(session: Session, checkpoint_id: UUID | None, pointer: str) -> Checkpoint | None:
    if checkpoint_id is None:
        return None
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise ApiError(f"There is no checkpoint {checkpoint_id}.", pointer=pointer, code="not_found")
    return checkpoint
