"""Black-box checkpoints, and jobs with several teachers."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.db import get_engine
from api.jobs.models import Job
from detrdistill.files.preprocessing import Preprocessing
from tests.support.black_boxes import perfect_detections, small_onnx
from tests.support.problems import NOBODY, assert_problem
from tests.support.teachers import several_teachers

RECOMMENDED = {"kind": "matched_logits", "variant": "recommended"}


def onnx_files(**config: object) -> dict[str, bytes]:
    processor = Preprocessing.square(64, normalised=True).to_json("DetrImageProcessor")
    labels = {"id2label": {"0": "green", "1": "red"}, "scores": "softmax"} | config
    return {
        "model.onnx": small_onnx(),
        "config.json": json.dumps(labels).encode(),
        "preprocessor_config.json": json.dumps(processor).encode(),
    }


def upload(client: TestClient, files: dict[str, bytes]):
    return client.post("/checkpoints", data={"name": "black box"}, files=[("files", item) for item in files.items()])


@pytest.fixture(scope="module")
def recorded_id(client: TestClient, rectangles: Path) -> str:
    answer = upload(client, {"detections.json": json.dumps(perfect_detections(rectangles)).encode()})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def onnx_id(client: TestClient) -> str:
    answer = upload(client, onnx_files())
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_the_files_say_the_kind(client: TestClient, recorded_id: str, onnx_id: str, teacher_id: str):
    recorded, onnx, detector = (
        client.get(f"/checkpoints/{identifier}").json() for identifier in (recorded_id, onnx_id, teacher_id)
    )
    assert (recorded["kind"], recorded["classes"], recorded["image_width"]) == ("detections", [], None)
    assert (onnx["kind"], onnx["classes"], onnx["image_width"]) == ("onnx", ["green", "red"], 64)
    assert {recorded[fact] for fact in ("family", "parameters", "queries", "decoder_layers", "width")} == {None}
    assert (detector["kind"], detector["family"]) == ("detector", "rt-detr-v2")


@pytest.mark.usefixtures("nothing_is_stored")
@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"detections.json": b"[{}]"}, "1 of 1 rows are malformed"),
        ({"detections.json": b"{"}, "not valid JSON"),
        (onnx_files(scores=None), "what the logits are"),
        (onnx_files(id2label={"1": "red"}), "id2label"),
        ({"model.onnx": b"model"}, "config.json"),
    ],
)
def test_a_wrong_black_box_is_refused(client: TestClient, files: dict[str, bytes], complaint: str):
    problem = assert_problem(upload(client, files), 422, "/files")
    assert complaint in problem["detail"]


def with_methods(request: dict, *methods: dict, **changes: object) -> dict:
    return request | {"config": request["config"] | {"methods": list(methods)}} | changes


@pytest.mark.parametrize("kind", ["recorded_id", "onnx_id"])
def test_a_black_box_teaches(client: TestClient, job_request: dict, kind: str, request: pytest.FixtureRequest):
    teacher = request.getfixturevalue(kind)
    answer = client.post("/jobs", json=with_methods(job_request, RECOMMENDED, teacher_id=teacher))
    assert answer.status_code == 202, answer.text


@pytest.mark.usefixtures("nothing_is_stored")
def test_a_black_box_teaches_no_more_than_it_says(
    client: TestClient, job_request: dict, onnx_id: str, recorded_id: str
):
    more = with_methods(job_request, RECOMMENDED, {"kind": "query_prior"}, teacher_id=recorded_id)
    assert_problem(client.post("/jobs", json=more), 422, "/config/methods/1")
    released = with_methods(job_request, {"kind": "matched_logits", "variant": "official"}, teacher_id=onnx_id)
    assert_problem(client.post("/jobs", json=released), 422, "/config/methods/0/contrastive_weight")
    start = job_request | {"student_id": onnx_id, "config": job_request["config"] | {"student": None}}
    assert_problem(client.post("/jobs", json=start), 422, "/student_id")


def with_further(request: dict, **ids: str) -> dict:
    """Further teachers `seen` and `own`; only the first needs a checkpoint."""
    further = {
        "seen": {"methods": [RECOMMENDED]},
        "own": {"source": "ema", "methods": [{"kind": "query_prior"}]},
    }
    return several_teachers(request, further, ids)


def test_a_job_has_several_teachers(client: TestClient, job_request: dict, teacher_id: str, recorded_id: str):
    answer = client.post("/jobs", json=with_further(job_request, seen=recorded_id))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["teacher_ids"] == {"teacher": teacher_id, "seen": recorded_id}
    assert client.get(f"/jobs/{job['id']}").json() == job
    with Session(get_engine()) as session:
        assert session.get_one(Job, UUID(job["id"])).teacher_ids == {
            "teacher": UUID(teacher_id),
            "seen": UUID(recorded_id),
        }


def test_the_moving_average_teaches_alone(client: TestClient, job_request: dict):
    own = job_request["config"] | {"teacher": {"source": "ema"}}
    answer = client.post("/jobs", json=job_request | {"teacher_id": None, "config": own})
    assert answer.status_code == 202, answer.text


@pytest.mark.usefixtures("nothing_is_stored")
def test_further_teachers_and_their_checkpoints_must_fit(client: TestClient, job_request: dict, recorded_id: str):
    for request, pointer in [
        (with_further(job_request), "/teacher_ids/seen"),
        (with_further(job_request, seen=NOBODY), "/teacher_ids/seen"),
        (with_further(job_request, seen=recorded_id, own=recorded_id), "/teacher_ids/own"),
        (with_further(job_request, seen=recorded_id, other=recorded_id), "/teacher_ids/other"),
        (several_teachers(job_request, {}, {"seen": recorded_id}), "/teacher_ids/seen"),
    ]:
        assert_problem(client.post("/jobs", json=request), 422, pointer)
    request = with_further(job_request, seen=recorded_id)
    request["config"]["teachers"]["seen"]["methods"] = [{"kind": "foreground_memory"}]
    problem = client.post("/jobs", json=request)
    assert_problem(problem, 422, "/config/teachers/seen/methods/0")
