"""`make up` without make: one command starts everything, Ctrl-C ends everything, the data stay."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.servers import ROOT, free_port
from tests.support.uploads import zip_of
from worker.embedded.postgres import folder_of_nobody, socket_folder


@contextmanager
def embedded(state: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.embedded", "--state", str(state), "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def wait_until_up(process: subprocess.Popen[str], state: Path) -> str:
    deadline = time.monotonic() + 240
    while not (state / "up.json").is_file():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return json.loads((state / "up.json").read_text())["url"]


def processes_below(state: Path) -> list[str]:
    """Commands of processes that were started with this state folder or work in it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            working = str((folder / "cwd").resolve())
            environment = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(state) in command or working.startswith(str(state)) or f"{state}/" in environment:
            found.append(command)
    return [command for command in found if "pytest" not in command]


@pytest.mark.fault
def test_it_starts_stops_cleanly_and_keeps_its_data(tmp_path: Path, rectangles: Path):
    state, port = tmp_path / "state", free_port()
    with embedded(state, port) as process:
        url = wait_until_up(process, state)
        answer = httpx.post(f"{url}/datasets", data={"name": "kept"}, files={"files": ("r.zip", zip_of(rectangles))})
        assert answer.status_code in (201, 202), "nobody waits for a checker that still loads its libraries"
        deadline = time.monotonic() + 120
        while (health := httpx.get(f"{url}/health").json())["checkers"] == 0:
            assert time.monotonic() < deadline, (state / "logs" / "checker.log").read_text()
            time.sleep(0.2)
        assert (health["workers"], health["checkers"], health["check_warnings"]) == (1, 1, [])
        while httpx.get(f"{url}/datasets/{answer.json()['id']}").json()["state"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.2)

        with embedded(state, free_port()) as second:
            text = second.communicate(timeout=30)[0]
            assert second.returncode == 1
            assert f"It is already running in {state} at {url}" in text

        hosts = httpx.get(f"{url}/health", headers={"Host": "evil.example"})
        assert hosts.status_code == 400, "names of others are not answered to"

        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert processes_below(state) == []
    assert not (state / "up.json").exists()
    with embedded(state, port) as process:
        url = wait_until_up(process, state)
        assert [row["name"] for row in httpx.get(f"{url}/datasets").json()["data"]] == ["kept"]


@pytest.mark.fault
@pytest.mark.slow
def test_after_a_kill_it_starts_again_on_the_same_data(tmp_path: Path):
    state = tmp_path / "state"
    with embedded(state, free_port()) as process:
        wait_until_up(process, state)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 30
        while any("uvicorn" in command or "celery" in command for command in processes_below(state)):
            assert time.monotonic() < deadline, processes_below(state)
            time.sleep(0.2)
    (state / "up.json").unlink()
    with embedded(state, free_port()) as process:
        url = wait_until_up(process, state)
        assert httpx.get(f"{url}/datasets").status_code == 200


@pytest.mark.fault
def test_a_worker_that_dies_is_started_again(tmp_path: Path):
    state = tmp_path / "state"
    with embedded(state, free_port()) as process:
        wait_until_up(process, state)
        [worker, *_] = [pid for pid in children_of(process.pid) if "celery" in command_of(pid)]
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while not [pid for pid in children_of(process.pid) if "celery" in command_of(pid) and pid != worker]:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_a_busy_port_is_named_with_the_remedy(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with embedded(tmp_path / "state", port) as process:
            text = process.communicate(timeout=30)[0]
            assert process.returncode == 1
            assert f"Port {port} of 127.0.0.1 cannot be used: Address already in use" in text
            assert f"make up PORT={port + 1}" in text
    assert not (tmp_path / "state" / "postgres").exists(), "nothing is started for nothing"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has this problem")
def test_root_can_run_it_where_user_namespaces_are_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DETRDISTILL_NO_USER_NAMESPACE", "1")
    state = tmp_path / "state"
    try:
        with embedded(state, free_port()) as process:
            assert httpx.get(f"{wait_until_up(process, state)}/health").status_code == 200
    finally:
        shutil.rmtree(folder_of_nobody(state / "postgres"), ignore_errors=True)


def test_long_paths_get_a_short_folder_for_sockets(tmp_path: Path):
    assert socket_folder(Path("/a/b")) == Path("/a/b/sockets")
    long = Path("/" + "x" * 200)
    assert len(str(socket_folder(long))) < 80
    assert socket_folder(long) != socket_folder(Path("/" + "y" * 200))
