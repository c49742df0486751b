"""Every error code of the service: where it occurs, and what to do. The one table that answers, catalog and
documentation are made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Place = Literal["request", "check", "job", "run"]
"""`request`: the answer to a request. `check`: `error` of a dataset or checkpoint. `job`: `error` of a job, or of a
change of its state. `run`: a run on the command line alone."""


@dataclass(frozen=True)
class ErrorInfo:
    """A kind of error in words for people."""

    statuses: tuple[int, ...]
    """HTTP statuses of answers that have it; empty: it is no answer to a request."""
    places: tuple[Place, ...]
    title: str
    remedy: str
    """What to do."""


def _answer(status: int, title: str, remedy: str) -> ErrorInfo:
    return ErrorInfo((status,), ("request",), title, remedy)


def _check(title: str, remedy: str, *, also_job: bool = False) -> ErrorInfo:
    """An upload whose check has soon ended is answered with it."""
    return ErrorInfo((422,), ("request", "check", "job") if also_job else ("request", "check"), title, remedy)


def _fit(title: str, remedy: str) -> ErrorInfo:
    """A job is checked when it is submitted, or when what it waits for has been checked."""
    return ErrorInfo((422,), ("request", "job"), title, remedy)


def _job(title: str, remedy: str) -> ErrorInfo:
    return ErrorInfo((), ("job",), title, remedy)


_RETRY = "then retry the job: it goes on from its newest checkpoint."
_GOES_ON = "Nothing: the job goes on from its newest checkpoint by itself."
_REGISTER = "Register it again and submit a new job, or put its files back and retry the job."

_REQUESTS: Mapping[str, ErrorInfo] = {
    "request_invalid": _answer(422, "A field is wrong", "Correct the fields that `errors` points at."),
    "body_unreadable": _answer(400, "The body cannot be read", "Send the body again, complete and in its format."),
    "form_invalid": _answer(400, "The form cannot be read", "Send a well-formed multipart form."),
    "json_invalid": _answer(400, "The JSON cannot be read", "Send valid JSON in UTF-8."),
    "range_invalid": _answer(400, "The range cannot be understood", "Correct the header `Range`, or leave it out."),
    "host_not_allowed": _answer(
        400, "Unknown host name", "Use a host name that the operator has allowed (DETRDISTILL_ALLOWED_HOSTS)."
    ),
    "forbidden": _answer(403, "Not enabled here", "Ask the operator, or upload the files."),
    "cross_origin": _answer(403, "Request of another origin", "Send changes from the dashboard or from a program."),
    "no_dashboard": _answer(404, "The dashboard is not built", "Run `make setup`."),
    "method_not_allowed": _answer(405, "Method not allowed", "Use a method that the header `Allow` names."),
    "conflict": _answer(409, "The state does not allow it", "Look at the resource and try again."),
    "job_active": _answer(409, "The job has not ended", "Wait for its end, or cancel it first."),
    "job_succeeded": _answer(409, "The job has succeeded", "Submit a new job to train again."),
    "idempotency_in_progress": _answer(
        409, "The same request is being carried out", "Send it again in a while; it gets the same answer."
    ),
    "idempotency_mismatch": _answer(
        422, "The key was used for another request", "Use a new Idempotency-Key for a new request."
    ),
    "file_gone": _answer(410, "The files are gone", "Run the job again, or ask the operator for the files."),
    "too_large": _answer(413, "The request is too large", "Send less, or have the operator raise the limit."),
    "unsupported_media_type": _answer(415, "Wrong kind of body", "Set the header `Content-Type` to what is taken."),
    "range_not_satisfiable": _answer(416, "No bytes in this range", "Ask for a range within the file."),
    "archive_invalid": _answer(
        422, "The files cannot be taken", "Pack the folder again, with the files that are named."
    ),
    "not_storable": _answer(
        422,
        "It cannot be stored",
        "Leave out zero bytes, lone surrogates and numbers that are not finite or very large.",
    ),
    "database_unavailable": _answer(503, "The database does not answer", "Try again in a while; nothing was changed."),
    "storage_unavailable": _answer(
        503, "The storage does not answer", "Try again later; the log of the api has the details."
    ),
    "not_found": ErrorInfo(
        (404, 422),
        ("request", "job"),
        "Not found",
        "Check the id or the path; the lists show what there is.",
    ),
    "storage_full": ErrorInfo((507,), ("request", "job"), "The storage is full", f"Free space, {_RETRY}"),
    "internal": ErrorInfo(
        (500,), ("request", "job"), "Unexpected error", "Look into the log of the api, or into `log.txt` of the job."
    ),
}
_CHECKS: Mapping[str, ErrorInfo] = {
    "dataset_invalid": _check(
        "The dataset cannot be used", "Correct the dataset as the message says, and upload it again."
    ),
    "checkpoint_invalid": _check(
        "The checkpoint cannot be used",
        "Give the folder that `save_pretrained` writes, or a checkpoint that fits the dataset.",
        also_job=True,
    ),
    "dataset_gone": _check("The dataset is no longer there", _REGISTER, also_job=True),
    "checkpoint_gone": _check("The checkpoint is no longer there", _REGISTER, also_job=True),
    "check_timed_out": _check(
        "The check took too long", "Give fewer or smaller files, or have the operator raise the limit."
    ),
    "check_out_of_memory": _check(
        "The check ran out of memory", "Give smaller files, or have the operator raise DETRDISTILL_CHECK_MEMORY_BYTES."
    ),
    "check_crashed": _check(
        "The check crashed", "Save or export the files again; the log of the checker has the details."
    ),
}
_JOBS: Mapping[str, ErrorInfo] = {
    "invalid": _fit("The parts do not fit together", "Change the field that `pointer` names, as the hint says."),
    "config_invalid": _fit(
        "The configuration is not possible", "Change the field that `pointer` names, as the hint says."
    ),
    "backbone_untrained": _fit(
        "The backbone of a new student is not trained",
        "Start from a checkpoint, or train every weight at the full rate.",
    ),
    "checkpoint_partial": _fit(
        "The checkpoint leaves weights random",
        "Give a checkpoint of the same architecture, or set `allow_partial`.",
    ),
    "student_ambiguous": _fit("No student, or two", "Give `config.student` or `student_id`, not both."),
    "class_names_differ": _fit(
        "The teacher lacks a class", "Map the names in `teacher.class_map`, or choose another teacher."
    ),
    "dataset_refused": _fit("The dataset was refused", "Correct the dataset, upload it again and submit a new job."),
    "checkpoint_refused": _fit("The checkpoint was refused", "Give another checkpoint and submit a new job."),
    "teacher_below_floor": _job("The teacher is too weak", "Choose or train a better teacher, or lower its `min_ap`."),
    "diverged": _job(
        "The training diverged", "Lower `training.lr` or the weights of the methods, and submit a new job."
    ),
    "out_of_memory": _job(
        "Memory ran out", "Lower `training.batch_size` or `data.image_size`, or use smaller detectors."
    ),
    "max_runtime": _job(
        "The time limit was reached", "Retry: the job goes on from its newest checkpoint, with the same limit."
    ),
    "stalled": _job("The training made no progress", "Look at the end of the log; the job is started again by itself."),
    "training_process_lost": _job(
        "The training process was lost", "Look at the end of the log; the job is started again by itself."
    ),
    "worker_lost": _job("The worker stopped answering", _GOES_ON),
    "worker_shut_down": _job("The worker was shut down", _GOES_ON),
    "database_lost": _job("The worker lost the database", _GOES_ON),
    "storage_read_only": _job("The storage takes no writes", f"Make it writable, {_RETRY}"),
    "storage_denied": _job("The storage denies access", f"Correct the permissions of the storage, {_RETRY}"),
    "storage_broken": _job("The storage fails", f"Check the disk, {_RETRY}"),
    "too_many_files": _job("Too many open files", f"Raise the worker's limit of open files, {_RETRY}"),
    "stopped": ErrorInfo((), ("run",), "Stopped on request", "Run it again: it goes on from its newest checkpoint."),
}
ERRORS: Mapping[str, ErrorInfo] = MappingProxyType({**_REQUESTS, **_CHECKS, **_JOBS})
"""Every error by its code."""


def as_markdown() -> str:
    """The table for the documentation."""
    rows = [
        f"| `{code}` | {', '.join(map(str, error.statuses)) or '-'} | {', '.join(error.places)} | {error.title} "
        f"| {error.remedy} |"
        for code, error in sorted(ERRORS.items())
    ]
    return "\n".join(["| code | HTTP status | where | what | what to do |", "|---|---|---|---|---|", *rows]) + "\n"
