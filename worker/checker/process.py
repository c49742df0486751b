"""The process of one check, from inside: bounds first, then the check, then its outcome."""

import os
import re
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detrdistill.errors import DetrDistillError
from worker.checker.isolation import isolate
from worker.checker.protocol import Bounds, CheckRequest, Passed, Refused
from worker.training_main import die_with_parent

PROGRESS = b"."
LOG_FILE = "log.txt"
_FILE_BYTES = 64 * 1024**2
"""Largest file a check may write; it needs none but its log."""
_PROGRESS_SECONDS = 0.2
_LONGEST_MESSAGE = 2000
_NO_MEMORY = re.compile("can't allocate memory|bad_alloc|out of memory|failed to allocate", re.IGNORECASE)
_ILLEGIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What the database does not keep, or a terminal does not show."""
Check = Callable[[CheckRequest, Callable[[], None]], dict[str, Any]]


def run_check(check: Check, request: CheckRequest, output: int, scratch: Path) -> None:
    """Bound this process, make the check and write its outcome.

    Args:
        check: the function that looks at the files.
        request: what to check.
        output: descriptor that takes a byte at each sign of progress, and at last the outcome.
        scratch: empty folder to work in.
    """
    _bound(request.bounds, scratch)
    outcome = _outcome(check, request, _ProgressSigns(output))
    try:
        content = outcome.model_dump_json().encode()
    except ValueError:  # half characters
        outcome = Refused(
            code=_invalid(request), message="A name in the files is not valid text.", hint="Correct it and try again."
        )
        content = outcome.model_dump_json().encode()
    while content:
        content = content[os.write(output, content) :]


def no_memory(bounds: Bounds) -> Refused:
    """The files need more memory than a check may take."""
    return Refused(
        code="check_out_of_memory",
        message=f"The check of these files needs more than {bounds.memory_bytes / 1024**3:.1f} GiB of memory.",
        hint="Give smaller files, or have the operator raise DETRDISTILL_CHECK_MEMORY_BYTES.",
    )


def says_no_memory(text: str) -> bool:
    """Libraries that are not written in Python say it in words of their own."""
    return _NO_MEMORY.search(text) is not None


class _ProgressSigns:
    """Signs of progress, not too many."""

    def __init__(self, output: int):
        self._output = output
        self._at = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self._at > _PROGRESS_SECONDS:
            self._at = time.monotonic()
            os.write(self._output, PROGRESS)


def _outcome(check: Check, request: CheckRequest, progress: Callable[[], None]) -> Passed | Refused:
    if not request.folder.is_dir():
        return Refused(code=f"{request.noun}_gone", message="The folder is no longer there.", hint="Register it again.")
    try:
        return Passed(facts=check(request, progress))
    except DetrDistillError as error:
        refused = Refused(code=error.code, message=error.message, hint=error.hint, pointer=error.pointer)
    except MemoryError:
        return no_memory(request.bounds)
    except Exception as error:  # noqa: BLE001  the process ends here; its log keeps the trace
        traceback.print_exc()
        if says_no_memory(str(error)):
            return no_memory(request.bounds)
        what = f"The check ended with an unexpected {type(error).__name__}: {error}"
        refused = Refused(code=_invalid(request), message=what, hint="Save or export the files again.")
    said = {"message": refused.message, "hint": refused.hint}
    return refused.model_copy(update={name: _legible(text, request.folder) for name, text in said.items()})


def _invalid(request: CheckRequest) -> str:
    return f"{request.noun}_invalid"


def _legible(text: str, folder: Path) -> str:
    """A message that can be stored and shown, without the place of the files on the server."""
    text = text[: 2 * _LONGEST_MESSAGE].replace(f"{folder}/", "").replace(str(folder), "the folder")
    return _ILLEGIBLE.sub("\ufffd", text)[:_LONGEST_MESSAGE]


def _bound(bounds: Bounds, scratch: Path) -> None:
    os.setsid()
    os.chdir(scratch)
    log = os.open(scratch / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _limit(resource.RLIMIT_CPU, int(bounds.total_seconds * (os.cpu_count() or 1)) + 1)
    if sys.platform == "linux":
        # Address space would not do: the libraries of a GPU reserve far more of it than they use.
        _limit(resource.RLIMIT_DATA, _private_bytes() + bounds.memory_bytes)
        Path("/proc/self/oom_score_adj").write_text("1000")  # the first to go where the machine has less than allowed
    isolate()
    die_with_parent()  # last: the kernel forgets it when privileges change


def _limit(what: int, value: int) -> None:
    hardest = resource.getrlimit(what)[1]
    value = value if hardest == resource.RLIM_INFINITY else min(value, hardest)
    resource.setrlimit(what, (value, value))


def _private_bytes() -> int:
    """Private writable memory that the process has from the fork server."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
