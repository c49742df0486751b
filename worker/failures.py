"""Why an attempt failed, in words for its user, from whatever exception ended it."""

import errno
import re
from collections.abc import Iterator

from api.jobs.pointers import request_pointer
from detrdistill.errors import DetrDistillError, TrainingProcessLost
from detrdistill.events import RunFailed

_AGAIN = "then retry the job: it goes on from its newest checkpoint."
_REASONS: dict[str, tuple[tuple[int, ...], str, str]] = {
    "storage_full": (
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "The storage is full.",
        f"Free space, {_AGAIN}",
    ),
    "storage_read_only": ((errno.EROFS,), "The storage takes no writes.", f"Make it writable, {_AGAIN}"),
    "storage_denied": (
        (errno.EACCES, errno.EPERM),
        "The storage does not let the worker read or write.",
        f"Correct the permissions of the storage, {_AGAIN}",
    ),
    "storage_broken": (
        (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV),
        "The storage fails to read or write.",
        f"Check the disk, {_AGAIN}",
    ),
    "too_many_files": (
        (errno.EMFILE, errno.ENFILE),
        "The worker may not open more files.",
        f"Raise its limit of open files, or lower data.workers in a new job, {_AGAIN}",
    ),
    "out_of_memory": (
        (errno.ENOMEM,),
        "Memory ran out.",
        "Lower training.batch_size or data.image_size, or use a smaller teacher or student.",
    ),
}
_CODES = {number: code for code, (numbers, _, _) in _REASONS.items() for number in numbers}
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)|\[Errno (\d+)\]")
"""As safetensors writes it, and what is left of an error that a loader process passes on."""
_HALF_WRITTEN = ("PytorchStreamWriter failed", "unexpected pos")
"""What torch says of a checkpoint that the disk does not take, without the reason."""
_NO_MEMORY = "can't allocate memory"
_LOST_HELPER = re.compile(r"DataLoader worker.*(killed by signal|exited unexpectedly)", re.DOTALL)


def failure_of(error: BaseException) -> RunFailed:
    """The event of an attempt that ended with this exception.

    What nothing is known of has the code `internal`, with its type and message.
    """
    if (failure := resource_failure_of(error)) is not None:
        return failure
    if isinstance(error, DetrDistillError):
        return RunFailed(code=error.code, message=error.message, hint=error.hint, pointer=request_pointer(error))
    message = f"Unexpected {type(error).__name__}: {error}"
    return RunFailed(code="internal", message=message, hint="log.txt among the job's files has the details.")


def resource_failure_of(error: BaseException) -> RunFailed | None:
    """The event of an attempt that lacked storage, memory or files; None if it did not.

    It is recognised wherever it stands among the causes: torch and safetensors hide it in errors of their own.
    """
    causes = list(_causes(error))
    for cause in causes:
        if (code := _code_of(cause)) is not None:
            return _resource_failure(code, cause)
    if any(words in str(cause) for words in _HALF_WRITTEN for cause in causes):
        return _resource_failure("storage_full", error)
    return None


def _resource_failure(code: str, cause: BaseException) -> RunFailed:
    _, message, hint = _REASONS[code]
    return RunFailed(code=code, message=f"{message} ({type(cause).__name__}: {cause})", hint=hint)


def may_succeed_again(error: BaseException) -> bool:
    """A process that helped the training was killed: that is an interruption, not a fault of the run."""
    return isinstance(error, TrainingProcessLost) or any(_LOST_HELPER.search(str(cause)) for cause in _causes(error))


def _code_of(error: BaseException) -> str | None:
    """The code of what an exception says by itself."""
    text = str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _NO_MEMORY in text:
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno is not None:
        return _CODES.get(error.errno)
    found = None if isinstance(error, DetrDistillError) else _NUMBER_IN_TEXT.search(text)
    return None if found is None else _CODES.get(int(found[1] or found[2]))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, the outermost first.

    What was merely being handled when an error was raised on purpose is no cause of it.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if isinstance(found, DetrDistillError) else found.__context__)
