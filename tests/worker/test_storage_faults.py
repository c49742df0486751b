"""The disk is full, read-only or gone, and datasets and checkpoints disappear: the job ends once, with the reason."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, running_service
from tests.support.servers import RunningService, Servers
from tests.support.teachers import several_teachers
from tests.worker.test_faults import until_checkpoint
from tests.worker.test_jobs import training_process

pytestmark = pytest.mark.fault


def mount(disk: Path, *options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")


@pytest.fixture
def small_service(servers: Servers, tmp_path: Path) -> Iterator[RunningService]:
    """A service whose storage is a disk of 48 MiB."""
    disk = tmp_path / "storage"
    disk.mkdir()
    mount(disk, "size=48m")
    try:
        with running_service(servers, tmp_path) as running:
            yield running
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    name = "small_service" if "small_service" in request.fixturenames else "service"
    opened = Client(request.getfixturevalue(name).url)
    yield opened
    opened.http.close()


def names_of_files(client: Client, job_id: str) -> set[str]:
    return {file["name"] for file in client.get(f"/jobs/{job_id}/artifacts")["data"]}


def fill(disk: Path) -> Path:
    """Leave no room at all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1024**2, 4096, 1):
            while True:
                try:
                    file.write(bytes(size))
                except OSError:
                    break
    return ballast


def assert_no_paths(client: Client, job_id: str, *secrets: Path) -> None:
    """Neither answers nor the log name folders of the server."""
    shown = [json.dumps(client.get(f"/jobs/{job_id}")), json.dumps(client.events(job_id))]
    shown.append(client.http.get(f"/jobs/{job_id}/artifacts/log.txt").text)
    for text in shown:
        for secret in secrets:
            assert str(secret) not in text


def test_a_full_disk_ends_a_job_at_once_and_a_retry_goes_on(
    small_service: RunningService, client: Client, long_job: dict[str, Any]
):
    small_service.start_worker()
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    ballast = fill(small_service.folder / "storage")
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert job["error"]["code"] == "storage_full"
    assert "No space left on device" in job["error"]["message"]
    files = {file["name"]: file for file in client.get(f"/jobs/{job_id}/artifacts")["data"]}
    assert {"log.txt", "student.zip", "student/model.safetensors"} <= set(files)
    assert any(name.startswith("state/student/step-") for name in files)
    assert len(client.http.get(files["student.zip"]["url"]).content) == files["student.zip"]["size"]
    assert_no_paths(client, job_id, small_service.folder)

    ballast.unlink()
    assert client.http.post(f"/jobs/{job_id}/retry").status_code == 202
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"], job["error"]) == ("succeeded", 2, None)
    assert client.steps(job_id) == list(range(1, 121)), "every point once"


@pytest.mark.slow
def test_a_disk_that_becomes_read_only_is_named(small_service: RunningService, client: Client, long_job: dict):
    small_service.start_worker()
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    disk = str(small_service.folder / "storage")
    os.kill(training_process(job_id), 9)  # a disk cannot be made read-only while the log is open
    remounted = subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False)
    for _ in range(50):
        if remounted.returncode == 0:
            break
        remounted = subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False)
    assert remounted.returncode == 0, remounted.stderr
    job = client.wait_for_end(job_id)
    assert job["state"] == "failed"
    assert job["error"]["code"] == "storage_read_only"
    assert job["attempt"] <= 3
    assert "student.zip" in names_of_files(client, job_id)


def test_a_data_set_that_is_gone_costs_one_attempt(service: RunningService, client: Client, long_job: dict):
    storage = service.folder / "storage"
    job_id = client.submit(**long_job)
    shutil.rmtree(storage / "datasets" / long_job["dataset_id"])
    service.start_worker()
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"]) == ("failed", 1)
    error = job["error"]
    assert (error["code"], error["pointer"]) == ("dataset_gone", "/dataset_id")
    assert_no_paths(client, job_id, service.folder)
    with client.http.stream("GET", f"/jobs/{job_id}/events") as stream:
        assert str(service.folder) not in stream.read().decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "words"), [("emptied", "gone or empty"), ("replaced", "was replaced"), ("cut", "No annotation file")]
)
def test_a_data_set_that_is_not_what_was_registered(
    service: RunningService, client: Client, long_job: dict, how: str, words: str
):
    folder = service.folder / "storage" / "datasets" / long_job["dataset_id"]
    job_id = client.submit(**long_job)
    if how == "emptied":
        shutil.rmtree(folder)
        folder.mkdir()
    elif how == "cut":
        next(folder.rglob("train.json")).unlink()
    else:
        for path in folder.rglob("*.json"):
            path.write_text(path.read_text().replace('"red"', '"blue"'))
    service.start_worker()
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "dataset_gone")
    assert words in job["error"]["message"]
    assert_no_paths(client, job_id, service.folder)


@pytest.mark.slow
def test_a_data_set_that_goes_while_it_is_trained_on(service: RunningService, client: Client, long_job: dict):
    service.start_worker()
    job_id = client.submit(**long_job)
    until_checkpoint(client, job_id)
    shutil.rmtree(service.folder / "storage" / "datasets" / long_job["dataset_id"])
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "dataset_gone")
    assert_no_paths(client, job_id, service.folder)
    assert "student.zip" in names_of_files(client, job_id)


@pytest.mark.parametrize("how", ["gone", pytest.param("replaced", marks=pytest.mark.slow)])
def test_a_teacher_that_is_gone_or_another(service: RunningService, client: Client, short_job: dict, how: str):
    folder = service.folder / "storage" / "checkpoints" / short_job["teacher_id"]
    job_id = client.submit(**short_job)
    if how == "gone":
        shutil.rmtree(folder)
    else:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-4] + b"\0\1\2\3")
    service.start_worker()
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"]) == ("failed", 1)
    assert (job["error"]["code"], job["error"]["pointer"]) == ("checkpoint_gone", "/teacher_ids/teacher")
    assert_no_paths(client, job_id, service.folder)


@pytest.mark.slow
def test_a_further_teacher_and_a_student_are_named_by_their_pointers(
    service: RunningService, client: Client, short_job: dict, teacher_folder: Path
):
    storage = service.folder / "storage" / "checkpoints"
    second, student = (client.upload("checkpoints", name, teacher_folder) for name in ("second", "student"))
    further = {"second": {"min_ap": 0, "methods": [{"kind": "matched_logits"}]}}
    first = client.submit(**several_teachers(short_job, further, {"second": second}))
    training = {"kind": "train", "data": short_job["config"]["data"], "training": short_job["config"]["training"]}
    other = client.submit(dataset_id=short_job["dataset_id"], student_id=student, config=training)
    shutil.rmtree(storage / second)
    shutil.rmtree(storage / student)
    service.start_worker()
    for job_id, pointer in ((first, "/teacher_ids/second"), (other, "/student_id")):
        job = client.wait_for_end(job_id)
        assert (job["error"]["code"], job["error"]["pointer"], job["attempt"]) == ("checkpoint_gone", pointer, 1)


def test_a_work_folder_that_cannot_be_made_is_told(service: RunningService, client: Client, long_job: dict):
    """What goes wrong in the worker itself, before there is a training process."""
    job_id = client.submit(**long_job)
    jobs = service.folder / "storage" / "jobs"
    jobs.mkdir(exist_ok=True)
    (jobs / job_id).write_text("a file in the way")
    service.start_worker()
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "internal")
    assert "FileExistsError" in job["error"]["message"] or "NotADirectoryError" in job["error"]["message"]
    assert str(service.folder) not in json.dumps(job)
