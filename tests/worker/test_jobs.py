"""Jobs from the request to the weights, through a real broker, a real worker and real files."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest
from transformers import AutoModelForObjectDetection

from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.engine.verify import evaluate_folder
from detrdistill.files.coco import read_split
from tests.support.black_boxes import perfect_detections, write_detections
from tests.support.client import Client
from tests.support.servers import RunningService
from tests.support.teachers import several_teachers


@pytest.mark.export
def test_a_distillation_from_request_to_weights(
    service: RunningService, client: Client, short_job: dict, rectangles: Path, tmp_path: Path
):
    import torch

    service.start_worker()
    job = client.wait_for_end(client.submit(**short_job))
    assert job["state"] == "succeeded", job["error"]
    assert (job["progress"], job["attempt"], job["eta_seconds"]) == (1, 1, None)

    events = client.events(job["id"])
    states = [data["state"] for kind, data in events if kind == "state"]
    assert states == ["queued", "running", "succeeded"]
    stages = [data["stage"] for kind, data in events if kind == "stage"]
    assert stages == ["prepare", "teacher_gate", "train_student", "train_control", "export"]
    assert client.steps(job["id"]) == [1, 2, 3, 4, 5, 6]

    metrics = client.get(f"/jobs/{job['id']}/metrics")
    names = {series["name"] for series in metrics["series"] if series["role"] == "student"}
    assert {"total", "lr", "grad_norm", "detection.l1", "matched_logits.giou", "query_prior.l1"} <= names
    roles = [row["role"] for row in metrics["evaluations"]]
    assert roles == ["control", "control", "student", "student", "teacher"]

    files = {file["name"]: file for file in client.get(f"/jobs/{job['id']}/artifacts")["data"]}
    assert {"student.zip", "student/model.safetensors", "control.zip", "result.json", "log.txt"} <= set(files)
    for file in files.values():
        content = client.http.get(file["url"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"]), file["name"]
    archive = client.http.get(files["student.zip"]["url"]).content
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(tmp_path)
    assert AutoModelForObjectDetection.from_pretrained(tmp_path / "student").config.id2label == {0: "red", 1: "green"}
    evaluator = CocoEvaluator(read_split(rectangles, "val"))
    measured, _ = evaluate_folder(tmp_path / "student", evaluator, torch.device("cpu"), batch_size=4)
    assert measured.ap == pytest.approx(job["result"]["student"]["metrics"]["ap"], abs=1e-3)

    again = client.http.post("/checkpoints", data={"name": "student", "job_id": job["id"]})
    assert again.status_code == 201, again.text
    assert again.json()["job_id"] == job["id"]


def test_a_weak_teacher_fails_the_job_before_any_step(service: RunningService, client: Client, short_job: dict):
    service.start_worker()
    short_job["config"]["teacher"]["min_ap"] = 0.9
    job = client.wait_for_end(client.submit(**short_job))
    assert job["state"] == "failed"
    assert job["attempt"] == 1, "an error of the user is not tried again"
    assert job["error"]["code"] == "teacher_below_floor"
    assert job["error"]["pointer"] == "/config/teachers/teacher/min_ap"
    assert job["error"]["hint"]
    assert client.steps(job["id"]) == []
    assert "log.txt" in [file["name"] for file in client.get(f"/jobs/{job['id']}/artifacts")["data"]]


def test_a_job_learns_from_a_checkpoint_and_a_black_box(
    service: RunningService, client: Client, short_job: dict, rectangles: Path, tmp_path: Path
):
    service.start_worker()
    (tmp_path / "seen").mkdir()
    folder = write_detections(tmp_path / "seen", perfect_detections(rectangles))
    recorded = client.upload("checkpoints", "seen", folder)
    method = {"kind": "matched_logits", "variant": "recommended"}
    further = {"seen": {"min_ap": 0.99, "methods": [method]}}
    short_job["config"] |= {"control": False, "methods": [method]}
    job = client.wait_for_end(client.submit(**several_teachers(short_job, further, {"seen": recorded})))
    assert job["state"] == "succeeded", job["error"]
    assert job["result"]["teachers"]["seen"]["metrics"]["ap"] == pytest.approx(1)
    assert job["result"]["teachers"]["teacher"]["metrics"]["ap"] < 0.9
    assert job["ap"]["teacher"] == pytest.approx(1), "the best of them"
    evaluations = client.get(f"/jobs/{job['id']}/metrics")["evaluations"]
    assert {row["teacher"] for row in evaluations if row["role"] == "teacher"} == {"teacher", "seen"}
    names = {curve["name"] for curve in client.get(f"/jobs/{job['id']}/metrics")["series"]}
    assert {"teacher.matched_logits.l1", "seen.matched_logits.l1"} <= names


@pytest.mark.slow
def test_the_stock_class_is_wrong_for_published_weights_and_the_gate_says_so(
    service: RunningService, client: Client, shared: Path
):
    """Real weights that load to 99 % and detect almost nothing: the case the gate is for."""
    service.start_worker()
    weights = shared / "weights" / "deimv2-atto-coco"
    names = ("config.json", "model.safetensors", "preprocessor_config.json")
    files = [("files", (name, (weights / name).read_bytes())) for name in names]
    teacher = client.http.post("/checkpoints", data={"name": "atto"}, files=files).json()
    dataset = client.upload("datasets", "coco_mini", shared / "data" / "coco_mini")
    config = {
        "kind": "distill",
        "student": {"family": "deimv2", "size": "atto"},
        "data": {"image_size": 320},
        "methods": [{"kind": "matched_logits"}, {"kind": "target_features"}],
    }
    job = client.wait_for_end(client.submit(dataset_id=dataset, teacher_id=teacher["id"], config=config))
    assert job["error"]["code"] == "teacher_below_floor"
    assert "4 missing in the file: model.enc_output" in job["error"]["message"]
    assert job["ap"]["teacher"] < 0.1


def test_a_running_job_is_cancelled_and_keeps_its_best_weights(service: RunningService, client: Client, long_job: dict):
    service.start_worker()
    job_id = client.submit(**long_job)
    client.wait(job_id, lambda job: job["ap"].get("student") is not None)
    client.http.post(f"/jobs/{job_id}/cancel")
    job = client.wait_for_end(job_id, seconds=30)
    assert job["state"] == "cancelled"
    assert job["error"] is None
    assert "student.zip" in [file["name"] for file in client.get(f"/jobs/{job_id}/artifacts")["data"]]


@pytest.mark.slow
def test_an_announcement_that_comes_many_times_starts_one_run(service: RunningService, client: Client, short_job: dict):
    from celery import Celery

    job_id = client.submit(**short_job)
    broker = Celery(broker=service.environment["REDIS_URL"])
    for _ in range(20):
        broker.send_task("worker.run_job", args=[job_id], queue="jobs")
    service.start_worker()
    job = client.wait_for_end(job_id)
    assert (job["state"], job["attempt"]) == ("succeeded", 1)
    assert [data["state"] for kind, data in client.events(job_id) if kind == "state"].count("running") == 1


@pytest.mark.slow
def test_the_training_process_knows_no_credentials(service: RunningService, client: Client, long_job: dict):
    service.start_worker()
    job_id = client.submit(**long_job)
    client.wait(job_id, lambda job: job["progress"] > 0)
    pid = training_process(job_id)
    names = {entry.split("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")}
    assert not {name for name in names if "URL" in name or "DETRDISTILL" in name or "PASSWORD" in name}
    client.http.post(f"/jobs/{job_id}/cancel")
    client.wait_for_end(job_id, seconds=30)


def training_process(job_id: str) -> int:
    """Pid of the process that trains a job."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"worker.training_main" in command and any(job_id.encode() in part for part in command):
            return int(folder.name)
    raise AssertionError("nothing trains this job")


@pytest.mark.slow
def test_the_log_of_a_job_is_one_of_its_files(service: RunningService, client: Client, short_job: dict):
    service.start_worker()
    short_job["config"]["control"] = False
    job = client.wait_for_end(client.submit(**short_job))
    files = {file["name"]: file for file in client.get(f"/jobs/{job['id']}/artifacts")["data"]}
    result = json.loads(client.http.get(files["result.json"]["url"]).content)
    assert result == job["result"]
    assert "tensors were loaded" in client.http.get(files["log.txt"]["url"]).text
