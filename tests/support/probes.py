"""Checks that misbehave, for the fork server in place of `worker.checker.checks`; `options` say how."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detrdistill.errors import DatasetError
from worker.checker.protocol import CheckRequest


def preload() -> None:
    """These need nothing."""


def check(request: CheckRequest, progress: Callable[[], None]) -> dict[str, Any]:
    probe = globals()[request.options["probe"]]
    return probe(progress, **{name: value for name, value in request.options.items() if name != "probe"})


def passes(progress: Callable[[], None]) -> dict[str, Any]:
    return {"classes": ["a"], "splits": {"train": {"images": 1, "boxes": 1}}, "warnings": []}


def finds_a_name(progress: Callable[[], None], code_point: int) -> dict[str, Any]:
    return {"classes": [chr(code_point)], "splits": {}, "warnings": []}


def refuses(progress: Callable[[], None], message: str) -> dict[str, Any]:
    raise DatasetError(message, hint="Mend it.")


def refuses_a_name(progress: Callable[[], None], code_point: int) -> dict[str, Any]:
    raise DatasetError(f"{chr(code_point)} is no name.")


def has_a_bug(progress: Callable[[], None]) -> dict[str, Any]:
    return {"classes": list[str]()[1]}


def allocates(progress: Callable[[], None], mib: int) -> dict[str, Any]:
    """By Python, touching every page."""
    return {"classes": [len(bytearray(os.urandom(1)) * (mib * 1024**2))]}


def allocates_in_children(progress: Callable[[], None], mib: int) -> dict[str, Any]:
    """Each child stays below the limit, all together do not."""
    code = f"import time; kept = bytearray(b'x') * ({mib} * 1024**2); time.sleep(60)"
    for child in [subprocess.Popen(["python3", "-c", code]) for _ in range(4)]:
        child.wait()
    return {}


def hangs(progress: Callable[[], None]) -> dict[str, Any]:
    time.sleep(600)
    return {}


def goes_on(progress: Callable[[], None], seconds: float) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        progress()
        time.sleep(0.05)
    return passes(progress)


def waits_for(progress: Callable[[], None], file: str) -> dict[str, Any]:
    Path(f"{file}.{os.getpid()}").touch()
    while not Path(file).exists():
        progress()
        time.sleep(0.02)
    return passes(progress)


def dies(progress: Callable[[], None], by: int) -> dict[str, Any]:
    os.kill(os.getpid(), by)
    return {}


def leaves(progress: Callable[[], None]) -> dict[str, Any]:
    os._exit(3)


def leaves_children(progress: Callable[[], None], file: str) -> dict[str, Any]:
    """A child goes on after its parent."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    Path(file).write_text(str(pid))
    return passes(progress)


def writes(progress: Callable[[], None], mib: int) -> dict[str, Any]:
    with Path("big").open("wb") as file:
        for _ in range(mib):
            file.write(bytes(1024**2))
    return {}


def looks_around(progress: Callable[[], None], reach: list[str]) -> dict[str, Any]:
    """What a check can see and reach."""
    found: dict[str, Any] = {"environment": dict(os.environ), "descriptors": len(os.listdir("/proc/self/fd"))}
    for family in ("AF_INET", "AF_INET6", "AF_UNIX"):
        try:
            socket.socket(getattr(socket, family)).close()
            found[family] = "open"
        except OSError as error:
            found[family] = type(error).__name__
    for path in reach:
        try:
            found[path] = Path(path).read_bytes().decode(errors="replace")
        except OSError as error:
            found[path] = type(error).__name__
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return found | {"capabilities": int(status["CapEff"], 16), "threads": status["Threads"].strip()}
