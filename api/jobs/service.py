"""What happens when somebody asks for a job: every check that needs no GPU, before anything is stored."""

import hashlib
from collections.abc import Mapping
from typing import cast
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.errors import ApiError, NotFound, from_core
from api.jobs import repository, states
from api.jobs.models import Job
from api.jobs.schemas import JobCreate
from api.jobs.states import JobState
from detrdistill.black_boxes import BlackBox, Kind
from detrdistill.catalog import FamilyName, Scores, check_queries
from detrdistill.checkpoints import class_map
from detrdistill.config import DEFAULT_IMAGE_SIZE, DistillConfig, Guide
from detrdistill.errors import CheckpointError, ConfigError
from detrdistill.pairing import check_criterion, check_pair


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
        if (checkpoint := _checkpoint(session, checkpoint_id, _pointer(name)))
    }
    student = _checkpoint(session, request.student_id, "/student_id")
    _check_student(request, student)
    _check_teachers(request, teachers, dataset)
    _check_families(request, teachers, student)
    job = Job(
        name=request.name,
        kind=request.config.kind,
        config=request.config.model_dump(mode="json"),
        dataset_id=request.dataset_id,
        teacher_id=request.teacher_id,
        further_teacher_ids={name: str(checkpoint_id) for name, checkpoint_id in request.further_teacher_ids.items()},
        student_id=request.student_id,
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


def _check_student(request: JobCreate, student: Checkpoint | None) -> None:
    config = request.config
    if (config.student is None) == (student is None):
        raise ApiError(
            "A job needs either an architecture or a checkpoint for its student, not both.",
            pointer="/config/student" if student is None else "/student_id",
            hint='Set config.student to a family and a size, as {"family": "rt-detr-v2", "size": "r18"}, '
            "or student_id to a checkpoint.",
            code="student_ambiguous",
        )
    if student is not None:
        if student.family is None or student.queries is None:
            raise ApiError(
                "A black box has no weights that a student could start from.",
                pointer="/student_id",
                hint='Choose a checkpoint of the kind "detector".',
            )
        size = config.data.image_size or student.image_width or DEFAULT_IMAGE_SIZE
        try:
            check_queries(_family(student), student.queries, size, two_stage=bool(student.two_stage))
        except ConfigError as error:
            raise from_core(error, "/config/data/image_size") from error


def _check_teachers(request: JobCreate, teachers: Mapping[str, Checkpoint], dataset: Dataset) -> None:
    """Every teacher of the configuration has its checkpoint, and none is left over; the first has no name."""
    config = request.config
    guides = config.guides if isinstance(config, DistillConfig) else {}
    for name in teachers:
        if name not in guides:
            raise ApiError(
                f"The configuration has no further teacher {name!r}." if guides else "A train job has no teacher.",
                pointer=_pointer(name),
                hint="Name it in config.further_teachers, or leave it out."
                if guides
                else 'Use kind "distill", or give the checkpoint as student_id to fine-tune it.',
            )
    for name, guide in guides.items():
        _check_teacher(guide, teachers.get(name), dataset, _pointer(name))


def _check_teacher(guide: Guide, teacher: Checkpoint | None, dataset: Dataset, pointer: str) -> None:
    if guide.teacher.source == "ema":
        if teacher is not None:
            raise ApiError(
                "The moving average of the student teaches; there is no place for a checkpoint.",
                pointer=pointer,
                hint=f'Leave {pointer} out, or set the source of this teacher to "checkpoint".',
            )
        return
    if teacher is None:
        raise ApiError("A distill job needs a teacher.", pointer=pointer, hint="Upload one with POST /checkpoints.")
    if teacher.kind == "detections":
        return  # they have the ids of a data set; the training process reads them against this one
    try:
        class_map(tuple(teacher.classes), tuple(dataset.classes))
    except CheckpointError as error:
        raise from_core(error, pointer) from error


def _check_families(request: JobCreate, teachers: Mapping[str, Checkpoint], student: Checkpoint | None) -> None:
    """Refuse what is not defined for the families of teachers and student."""
    config = request.config
    if config.student is not None:
        student_family = config.student.family
    else:
        assert student is not None, "checked before"
        student_family = _family(student)
    try:
        check_criterion(config.criterion, student_family)
        if isinstance(config, DistillConfig):
            for name in config.guides:
                teacher = _identity(teachers[name]) if name in teachers else student_family  # its own moving average
                check_pair(config, teacher, student_family, name=name)
    except ConfigError as error:
        raise from_core(error, error.pointer) from error


def _pointer(name: str) -> str:
    return f"/further_teacher_ids/{name}" if name else "/teacher_id"


def _identity(checkpoint: Checkpoint) -> FamilyName | BlackBox:
    if checkpoint.family is not None:
        return _family(checkpoint)
    return BlackBox(cast("Kind", checkpoint.kind), cast("Scores", checkpoint.scores))


def _family(checkpoint: Checkpoint) -> FamilyName:
    return cast("FamilyName", checkpoint.family)  # the column is filled by `inspect_checkpoint` alone
