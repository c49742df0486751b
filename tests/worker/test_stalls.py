"""A training that makes no progress is noticed, whatever it hangs in; and one that takes too long is ended."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import PATIENCE, Client, running_service
from tests.support.servers import RunningService, Servers
from tests.worker.test_faults import alive, until_checkpoint
from tests.worker.test_jobs import training_process

pytestmark = pytest.mark.fault
STALL_SECONDS = 10 * PATIENCE


@pytest.fixture(scope="module")
def standing_service(servers: Servers, tmp_path_factory: pytest.TempPathFactory):
    """A service that notices a stall soon."""
    with running_service(servers, tmp_path_factory.mktemp("service")) as running:
        running.environment = dict(running.environment) | {"DETRDISTILL_STALL_SECONDS": str(STALL_SECONDS)}
        yield running


def stalls(client: Client, job_id: str) -> list[dict[str, Any]]:
    errors = [data["error"] for kind, data in client.events(job_id) if kind == "state" and "error" in data]
    return [error for error in errors if error["code"] == "stalled"]


def test_a_frozen_training_is_ended_and_started_again(service: RunningService, client: Client, long_job: dict):
    service.start_worker()
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    trainer = training_process(job_id)
    os.kill(trainer, signal.SIGSTOP)
    client.wait(job_id, lambda job: job["attempt"] == 2, seconds=60)
    assert not alive(trainer)
    job = client.wait_for_end(job_id)
    assert job["state"] == "succeeded", job["error"]
    [error] = stalls(client, job_id)
    assert "in stage train_student, after step" in error["message"]
    assert client.steps(job_id) == list(range(1, 121)), "every point once"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_hung_loader_is_ended_with_all_its_processes(
    service: RunningService, client: Client, long_job: dict, workers: int
):
    """An image that is never delivered, read in the training process or in a loader of its own."""
    service.start_worker()
    long_job["config"]["data"] |= {"workers": workers}
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    image = next((service.folder / "storage" / "datasets" / long_job["dataset_id"]).rglob("train_3.png"))
    content = image.read_bytes()
    trainer = training_process(job_id)
    os.mkfifo(image.with_name("pipe"))
    image.with_name("pipe").replace(image)
    client.wait(job_id, lambda job: job["attempt"] == 2, seconds=120)
    image.unlink()
    image.write_bytes(content)
    assert not alive(trainer)
    assert [pid for pid in processes_of_group(trainer) if alive(pid)] == []
    assert client.http.post(f"/jobs/{job_id}/cancel").status_code == 202
    job = client.wait_for_end(job_id)
    assert job["state"] == "cancelled" or job["error"]["code"] == "dataset_gone"
    assert len(stalls(client, job_id)) == 1


@pytest.mark.slow
def test_a_job_that_always_hangs_is_given_up_with_the_reason(service: RunningService, client: Client, long_job: dict):
    """Frozen before its first step, where more patience is due, in each of three attempts."""
    service.start_worker()
    job_id = client.submit(**long_job)
    for attempt in (1, 2, 3):
        client.wait(job_id, lambda job, attempt=attempt: job["attempt"] == attempt, seconds=120)
        client.wait(job_id, lambda _: is_training(job_id))
        os.kill(training_process(job_id), signal.SIGSTOP)
    job = client.wait_for_end(job_id, seconds=120)
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 3, "stalled")
    assert "before its first stage" in job["error"]["message"] or "in stage prepare" in job["error"]["message"]


@pytest.mark.slow
def test_a_job_ends_at_its_limit_of_time_with_what_it_has(service: RunningService, client: Client, long_job: dict):
    service.start_worker()
    long_job["config"]["training"] |= {"epochs": 5000}
    long_job["config"]["evaluation"] |= {"every_epochs": 2}
    job_id = client.submit(**long_job, max_runtime_seconds=30 * PATIENCE)
    until_checkpoint(client, job_id)
    os.kill(training_process(job_id), signal.SIGKILL)
    job = client.wait_for_end(job_id, seconds=120)
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 2, "max_runtime")
    assert job["error"]["pointer"] == "/max_runtime_seconds"
    names = {file["name"] for file in client.get(f"/jobs/{job_id}/artifacts")["data"]}
    assert {"student.zip", "log.txt"} <= names
    steps = client.steps(job_id)
    assert steps == sorted(set(steps))


def is_training(job_id: str) -> bool:
    try:
        return training_process(job_id) > 0
    except AssertionError:
        return False


def processes_of_group(leader: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader:
            found.append(int(folder.name))
    return found
