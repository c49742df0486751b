"""Processes are killed and stopped on purpose; the job goes on from its checkpoint, and never twice at once."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.servers import RunningService
from tests.worker.test_embedded import children_of, command_of
from tests.worker.test_jobs import training_process

pytestmark = pytest.mark.fault


def until_checkpoint(client: Client, job_id: str) -> dict[str, Any]:
    """Wait until there is something to resume from, and some steps more."""
    job = client.wait(job_id, lambda job: job["ap"].get("student") is not None)
    done = job["progress"]
    return client.wait(job_id, lambda job: job["progress"] > done)


def assert_resumed_and_finished(client: Client, job_id: str, *, attempt: int) -> None:
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", attempt), job["error"]
    assert client.steps(job_id) == list(range(1, 121)), "every point once"
    metrics = client.get(f"/jobs/{job_id}/metrics", max_points=5000)
    for series in metrics["series"]:
        assert series["steps"] == list(range(1, 121)), series["name"]
    assert [row["step"] for row in metrics["evaluations"]] == list(range(6, 121, 6))
    evaluated = [data["step"] for kind, data in client.events(job_id) if kind == "evaluated"]
    assert evaluated == list(range(6, 121, 6))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pid_of(service: RunningService, name: str) -> int:
    process = service.processes[name]._process
    assert process is not None
    return process.pid


def test_a_worker_killed_in_mid_run_is_replaced(service: RunningService, client: Client, long_job: dict):
    service.start_worker("first")
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    trainer = training_process(job_id)
    os.kill(pid_of(service, "first"), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(trainer):
        assert time.monotonic() < deadline, "the training process outlived its worker"
        time.sleep(0.1)
    service.start_worker("second")
    assert_resumed_and_finished(client, job_id, attempt=2)
    states = [data for kind, data in client.events(job_id) if kind == "state"]
    assert [data["state"] for data in states] == ["queued", "running", "queued", "running", "succeeded"]
    assert states[2]["error"]["code"] == "worker_lost"


def test_a_training_process_killed_is_started_again_at_once(service: RunningService, client: Client, long_job: dict):
    service.start_worker()
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    os.kill(training_process(job_id), signal.SIGKILL)
    job = client.wait(job_id, lambda job: job["attempt"] == 2, seconds=20)
    assert job["error"] is None
    assert_resumed_and_finished(client, job_id, attempt=2)
    errors = [data["error"] for kind, data in client.events(job_id) if kind == "state" and "error" in data]
    assert errors[0]["code"] == "training_process_lost"
    assert "SIGKILL" in errors[0]["message"]


@pytest.mark.slow
def test_a_job_that_gets_on_is_interrupted_more_often_than_it_has_attempts(
    service: RunningService, client: Client, long_job: dict
):
    service.start_worker()
    job_id = client.submit(**long_job)
    for attempt in range(1, 5):
        client.wait(job_id, lambda job, attempt=attempt: job["attempt"] == attempt and 0 < job["progress"] < 1)
        newest = len(client.get(f"/jobs/{job_id}/metrics")["evaluations"])
        wait_for_evaluations(client, job_id, newest + 1)
        os.kill(training_process(job_id), signal.SIGKILL)
    assert_resumed_and_finished(client, job_id, attempt=5)


def wait_for_evaluations(client: Client, job_id: str, count: int) -> None:
    client.wait(job_id, lambda _: len(client.get(f"/jobs/{job_id}/metrics")["evaluations"]) >= count)


def test_a_worker_shut_down_hands_its_job_on_without_losing_an_attempt(
    service: RunningService, client: Client, long_job: dict
):
    first = service.start_worker("first")
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    first.stop()
    assert client.get(f"/jobs/{job_id}")["state"] == "queued"
    service.start_worker("second")
    assert_resumed_and_finished(client, job_id, attempt=1)


def test_a_frozen_worker_loses_its_job_and_cannot_disturb_the_next(
    service: RunningService, client: Client, long_job: dict
):
    service.start_worker("first")
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    trainer, group = training_process(job_id), pid_of(service, "first")
    os.killpg(group, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 20
        while alive(trainer):
            assert time.monotonic() < deadline, "the training process did not notice that its worker is silent"
            time.sleep(0.1)
        service.start_worker("second")
        client.wait(job_id, lambda job: job["worker"] == "second@test", seconds=60)
    finally:
        os.killpg(group, signal.SIGCONT)
    assert_resumed_and_finished(client, job_id, attempt=2)
    assert client.get(f"/jobs/{job_id}")["worker"] == "second@test"


@pytest.mark.slow
def test_a_control_that_is_killed_beside_its_student_costs_an_attempt_and_says_so(
    service: RunningService, client: Client, short_job: dict
):
    """Long enough to be trained side by side, on two cores or more."""
    config = short_job["config"]
    config["training"] |= {"epochs": 200}
    config["evaluation"] = {"every_epochs": 10}
    service.start_worker()
    job_id = client.submit(**short_job)
    client.wait(job_id, lambda job: {"student", "control"} <= job["ap"].keys(), seconds=300)
    trainer = training_process(job_id)
    environment = Path(f"/proc/{trainer}/environ").read_bytes().split(b"\0")
    assert b"OMP_WAIT_POLICY=passive" in environment
    [control] = [pid for pid in children_of(trainer) if "control_process" in command_of(pid)]
    os.kill(control, signal.SIGKILL)
    client.wait(job_id, lambda job: job["attempt"] == 2, seconds=60)
    job = client.wait_for_end(job_id, seconds=300)
    assert job["state"] == "succeeded", job["error"]
    [error] = [data["error"] for kind, data in client.events(job_id) if kind == "state" and "error" in data]
    assert error["code"] == "training_process_lost"
    assert "The training process of the control was killed by SIGKILL" in error["hint"]
