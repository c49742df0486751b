"""One check is a process with bounds: memory, time, files, no network, no credentials, and always an answer."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from worker.checker.client import CheckServer
from worker.checker.protocol import Bounds, CheckRequest, Crashed, Outcome, Passed, Refused

pytestmark = pytest.mark.fault
GIB = 1024**3


@pytest.fixture(scope="module")
def server() -> Iterator[CheckServer]:
    """With checks that misbehave, so that it need not load torch."""
    running = CheckServer("tests.support.probes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", "postgresql://user:secret@host/name")
        patch.setenv("HF_TOKEN", "secret")
        running.start()
        running.answers(30)
    yield running
    running.close()


def request_of(probe: str, folder: Path, options: dict[str, Any], **bounds: float) -> CheckRequest:
    limits = {"memory_bytes": GIB // 4, "silence_seconds": 20, "total_seconds": 60} | bounds
    return CheckRequest(
        id=uuid4(),
        kind="datasets",
        folder=folder,
        options={"probe": probe} | options,
        bounds=Bounds.model_validate(limits),
    )


def outcomes(server: CheckServer, *requests: CheckRequest, seconds: float = 30) -> list[Outcome]:
    """Of all, in the order of the requests."""
    for request in requests:
        server.send(request)
    found: dict[Any, Outcome] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(requests):
        assert time.monotonic() < deadline
        found |= {answer.id: answer.outcome for answer in server.answers(1) if answer.outcome}
    return [found[request.id] for request in requests]


@pytest.fixture
def made(server: CheckServer, tmp_path: Path):
    def make(probe: str, bounds: dict[str, float] | None = None, **options: Any) -> Outcome:
        [outcome] = outcomes(server, request_of(probe, tmp_path, options, **(bounds or {})))
        return outcome

    return make


def test_what_was_found_comes_back(made):
    facts = {"classes": ["a"], "splits": {"train": {"images": 1, "boxes": 1}}, "warnings": []}
    assert made("passes") == Passed(facts=facts)


def test_a_refusal_comes_back_without_the_place_of_the_files(made, tmp_path: Path):
    outcome = made("refuses", message=f"{tmp_path}/images/a.jpg is \x00\x1b broken")
    assert outcome == Refused(
        code="dataset_invalid", message="images/a.jpg is \ufffd\ufffd broken", hint="Mend it.", pointer=""
    )
    outcome = made("refuses", message="x" * 100_000)
    assert len(outcome.message) == 2000


def test_half_a_character_is_no_reason_for_silence(made):
    assert made("refuses_a_name", code_point=0xD800).message == "\ufffd is no name."
    outcome = made("finds_a_name", code_point=0xD800)
    assert (outcome.code, outcome.message) == ("dataset_invalid", "A name in the files is not valid text.")


def test_an_error_nobody_thought_of_is_a_refusal(made):
    outcome = made("has_a_bug")
    assert (outcome.kind, outcome.code) == ("refused", "dataset_invalid")
    assert outcome.message == "The check ended with an unexpected IndexError: list index out of range"


def test_a_folder_that_is_gone_is_named_so(server: CheckServer, tmp_path: Path):
    [outcome] = outcomes(server, request_of("passes", tmp_path / "gone", {}))
    assert (outcome.kind, outcome.code) == ("refused", "dataset_gone")
    assert str(tmp_path) not in outcome.message


@pytest.mark.parametrize(("probe", "mib"), [("allocates", 1000), ("allocates_in_children", 100)])
def test_memory_is_bounded(made, probe: str, mib: int):
    outcome = made(probe, mib=mib)
    assert outcome.code == "check_out_of_memory", outcome
    assert outcome.message == "The check of these files needs more than 0.2 GiB of memory."
    assert "DETRDISTILL_CHECK_MEMORY_BYTES" in outcome.hint


def test_memory_within_the_bound_is_given(made):
    assert made("allocates", mib=150).kind == "passed"


def test_silence_is_ended_and_progress_is_not(made):
    begun = time.monotonic()
    outcome = made("hangs", {"silence_seconds": 1})
    assert time.monotonic() - begun < 5
    assert outcome.code == "check_timed_out"
    assert outcome.message == "The check of these files made no progress for 1 s and was ended."
    assert made("goes_on", {"silence_seconds": 1}, seconds=2.5).kind == "passed"


def test_progress_does_not_extend_the_time_for_ever(made):
    outcome = made("goes_on", {"total_seconds": 1}, seconds=60)
    assert outcome.code == "check_timed_out"
    assert outcome.message == "The check of these files took longer than 1 s and was ended."


def test_a_crash_says_how(made):
    assert made("dies", by=signal.SIGSEGV.value) == Crashed(how="was killed by SIGSEGV")
    assert made("dies", by=signal.SIGKILL.value) == Crashed(how="was killed by SIGKILL")
    assert made("leaves") == Crashed(how="ended with status 3")
    assert made("passes").kind == "passed", "the next check is as if nothing had happened"


def test_what_a_check_has_started_ends_with_it(made, tmp_path: Path):
    assert made("leaves_children", file=str(tmp_path / "pid")).kind == "passed"
    child = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
    deadline = time.monotonic() + 5
    while child.exists() and "State:\tZ" not in child.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_large_files_are_not_written(made):
    outcome = made("writes", mib=100)
    assert "File too large" in outcome.message


def test_a_check_sees_no_credentials_and_reaches_no_network(made, server: CheckServer):
    os.environ["NOT_FOR_CHECKS"] = "secret"
    secrets = [f"/proc/{os.getpid()}/mem", f"/proc/{server.pid}/environ"]
    seen = made("looks_around", reach=secrets).facts
    assert {seen[family] for family in ("AF_INET", "AF_INET6", "AF_UNIX")} == {"PermissionError"}
    assert "secret" not in str(seen)
    assert seen["environment"]["HF_HUB_OFFLINE"] == "1"
    assert not {name for name in seen["environment"] if "URL" in name or "TOKEN" in name or "DETRDISTILL" in name}
    assert seen["capabilities"] & ~0b110 == 0, "none but to read files"
    assert seen["threads"] == "1"
    assert seen["descriptors"] <= 5, "its three streams, the way out, and the listing itself"
    assert server.warnings == []


def test_the_libraries_are_loaded_before_a_check_and_start_no_thread(tmp_path: Path):
    from tests.support.checking import shared_server

    server = shared_server()
    deadline = time.monotonic() + 120
    while not server.ready:
        assert time.monotonic() < deadline
        server.answers(1)
    assert len(os.listdir(f"/proc/{server.pid}/task")) == 1
    maps = Path(f"/proc/{server.pid}/maps").read_text()
    assert "libtorch_cpu" in maps
    names = {entry.split("=")[0] for entry in Path(f"/proc/{server.pid}/environ").read_text().split("\0")}
    assert not {name for name in names if "URL" in name or "DETRDISTILL" in name}


def test_many_at_once_do_not_disturb_each_other(server: CheckServer, tmp_path: Path):
    probes = [("passes", {}), ("dies", {"by": 9}), ("hangs", {}), ("refuses", {"message": "no"})] * 3
    requests = [request_of(probe, tmp_path, options, silence_seconds=2) for probe, options in probes]
    kinds = [getattr(outcome, "code", outcome.kind) for outcome in outcomes(server, *requests)]
    assert kinds == ["passed", "crashed", "check_timed_out", "dataset_invalid"] * 3


def test_checks_end_with_the_fork_server_and_it_with_its_checker(tmp_path: Path):
    server = CheckServer("tests.support.probes")
    server.start()
    server.send(request_of("waits_for", tmp_path, {"file": str(tmp_path / "never")}))
    deadline = time.monotonic() + 20
    while not (started := list(tmp_path.glob("never.*"))):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    check = Path(f"/proc/{started[0].suffix[1:]}")
    os.kill(server.pid, signal.SIGKILL)
    while check.exists() and "State:\tZ" not in (check / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.answers(5) == []
    assert not server.alive
    server.close()
