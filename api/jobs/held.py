"""Jobs that wait for the check of a dataset or checkpoint: released when all are ready, failed when one is refused.

A job is stored as held if one of its resources is being checked at that moment. Whoever calls `settle_all` compares
every held job with what is being checked now, so that nothing depends on which of the two came first.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.checking.models import ResourceState
from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.errors import ApiError
from api.jobs import repository, states
from api.jobs.checks import check_job, check_parts
from api.jobs.events import StateChanged
from api.jobs.models import Job
from api.jobs.pointers import DATASET_POINTER, STUDENT_POINTER, teacher_pointer
from api.jobs.states import JobState
from detrdistill.schema.run import RUN_CONFIG, DistillConfig, TrainConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """The resources of a job."""

    dataset: Dataset
    teachers: Mapping[str, Checkpoint]
    """By the name of the teacher."""
    student: Checkpoint | None

    def check(self, config: TrainConfig | DistillConfig) -> list[str]:
        """Check all that is known of them so far.

        Returns:
            Pointers to those that are still being checked; how these fit together is not known yet.

        Raises:
            ApiError: one was refused, or they do not fit together.
        """
        check_parts(config, self.teachers, has_student=self.student is not None)
        rows = {DATASET_POINTER: self.dataset, STUDENT_POINTER: self.student} | {
            teacher_pointer(name): teacher for name, teacher in self.teachers.items()
        }
        for pointer, row in rows.items():
            if row is not None and row.state == ResourceState.REFUSED:
                raise _refused(row, pointer)
        waiting_for = [pointer for pointer, row in rows.items() if row and row.state == ResourceState.CHECKING]
        if not waiting_for:
            check_job(config, self.dataset, self.teachers, self.student)
        return waiting_for


def find_parts(session: Session, ids: Mapping[str, UUID]) -> Parts:
    """The resources that a job or a request names, by pointer as `ids_of` gives them.

    Raises:
        ApiError: one is not there.
    """
    dataset = session.get(Dataset, ids[DATASET_POINTER])
    if dataset is None:
        raise ApiError(f"There is no dataset {ids[DATASET_POINTER]}.", pointer=DATASET_POINTER, code="not_found")
    checkpoints: dict[str, Checkpoint] = {}
    for pointer, identifier in ids.items():
        if pointer != DATASET_POINTER:
            checkpoint = session.get(Checkpoint, identifier)
            if checkpoint is None:
                raise ApiError(f"There is no checkpoint {identifier}.", pointer=pointer, code="not_found")
            checkpoints[pointer] = checkpoint
    student = checkpoints.pop(STUDENT_POINTER, None)
    teachers = {pointer.rpartition("/")[2]: checkpoint for pointer, checkpoint in checkpoints.items()}
    return Parts(dataset, teachers, student)


def ids_of(dataset_id: UUID, teacher_ids: Mapping[str, UUID], student_id: UUID | None) -> dict[str, UUID]:
    """Ids of the resources that a job names, by the pointer to each."""
    ids = {DATASET_POINTER: dataset_id}
    ids |= {teacher_pointer(name): identifier for name, identifier in teacher_ids.items()}
    return ids if student_id is None else ids | {STUDENT_POINTER: student_id}


def settle_all(engine: Engine) -> None:
    """Look at every held job, and release or fail those of which something has been checked.

    Any number of callers may do it at once.
    """
    with Session(engine) as session:
        held = session.scalars(select(Job).where(*_is_held())).all()
        checking = {
            identifier
            for model in (Dataset, Checkpoint)
            for identifier in session.scalars(select(model.id).where(model.state == ResourceState.CHECKING))
        }
        changed = [job.id for job in held if not {_ids_of(job).get(pointer) for pointer in job.waiting_for} <= checking]
    for job_id in changed:
        with Session(engine) as session, session.begin():
            _settle(session, job_id)


def _settle(session: Session, job_id: UUID) -> None:
    job = session.scalar(select(Job).where(Job.id == job_id, *_is_held()).with_for_update(skip_locked=True))
    if job is None:
        return  # cancelled meanwhile, or somebody else does it
    try:
        waiting_for = find_parts(session, _ids_of(job)).check(RUN_CONFIG.validate_python(job.config))
    except ApiError as problem:
        error = {"code": problem.code, "message": problem.detail, "hint": problem.hint, "pointer": problem.pointer}
        _fail(session, job_id, error)
    except Exception as unexpected:  # noqa: BLE001  one job must not hold up the others
        _log.exception("job %s cannot be checked", job_id)
        message = f"Unexpected {type(unexpected).__name__} while the job was checked."
        _fail(session, job_id, {"code": "internal", "message": message, "hint": "", "pointer": ""})
    else:
        states.hold(session, job_id, json.dumps(waiting_for))
        repository.add_events(session, job_id, [StateChanged(state=JobState.QUEUED, waiting_for=waiting_for)])
        _log.info("job %s: waits for %s", job_id, ", ".join(waiting_for) or "a worker")


def _fail(session: Session, job_id: UUID, error: dict[str, str]) -> None:
    states.fail_held(session, job_id, json.dumps(error))
    repository.add_events(session, job_id, [StateChanged(state=JobState.FAILED, error=error)])
    _log.info("job %s: failed, %s", job_id, error["code"])


def _is_held() -> tuple[Any, ...]:
    return Job.state == JobState.QUEUED, Job.waiting_for != []


def _ids_of(job: Job) -> dict[str, UUID]:
    return ids_of(job.dataset_id, job.teacher_ids, job.student_id)


def _refused(row: Dataset | Checkpoint, pointer: str) -> ApiError:
    title, code = ("dataset", "dataset") if isinstance(row, Dataset) else ("checkpoint", "checkpoint")
    error = row.error or {}
    return ApiError(
        f"The {title} {row.name!r} was refused: {error.get('message', 'it cannot be used')}",
        pointer=pointer,
        hint=error.get("hint", ""),
        code=f"{code}_refused",
    )
