"""Uploads whose check takes longer than their answer, and jobs that wait for it."""

import io
import resource
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.app import create_app
from api.checking import repository as checkers
from api.checking import states
from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.db import get_engine
from api.jobs import held
from api.jobs import states as job_states
from api.settings import get_settings
from tests.api.conftest import settings_of
from tests.support.checking import checker
from tests.support.problems import assert_problem
from tests.support.uploads import write_teacher, zip_of, zip_with


@pytest.fixture(scope="module")
def client(module_database_url: str, storage_dir: Path, import_root: Path) -> Iterator[TestClient]:
    """The api alone; a test starts the checker when it is time."""
    with (
        settings_of(module_database_url, storage_dir, import_root),
        TestClient(create_app(), raise_server_exceptions=False) as running,
    ):
        yield running


def post(client: TestClient, kind: str, content: bytes, **fields: Any):
    return client.post(f"/{kind}", data={"name": "x"} | fields, files={"files": ("x.zip", content)})


def later(client: TestClient, kind: str, content: bytes) -> str:
    """Id of an upload that is still being checked."""
    answer = post(client, kind, content)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def settle(client: TestClient, *paths: str) -> list[dict[str, Any]]:
    """Run a checker until these resources are checked, then look at the jobs as the scheduler does."""
    deadline = time.monotonic() + 240
    with checker(get_settings()):
        while any(client.get(path).json()["state"] == "checking" for path in paths):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    held.settle_all(get_engine())
    return [client.get(path).json() for path in paths]


@pytest.fixture
def sound(rectangles: Path) -> bytes:
    return zip_of(rectangles)


@pytest.fixture
def broken(rectangles: Path) -> bytes:
    files = {str(path.relative_to(rectangles)): path.read_bytes() for path in rectangles.rglob("*") if path.is_file()}
    return zip_with(files | {"val.json": b"{}"})


def request_of(dataset_id: str, teacher_id: str, **config: Any) -> dict[str, Any]:
    student = {"family": "rt-detr-v2", "size": "pico", "queries": 10}
    values = {"kind": "distill", "student": student, "data": {"image_size": 64}} | config
    return {"name": "j", "dataset_id": dataset_id, "teacher_id": teacher_id, "config": values}


def submit(client: TestClient, request: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/jobs", json=request)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_without_a_checker_an_upload_is_answered_at_once(client: TestClient, sound: bytes):
    assert client.get("/health").json()["checkers"] == 0
    begun = time.monotonic()
    answer = post(client, "datasets", sound, seed="7")
    assert time.monotonic() - begun < 5, "not check_wait_seconds"
    assert answer.status_code == 202
    dataset = answer.json()
    assert answer.headers["location"] == f"/datasets/{dataset['id']}"
    assert (dataset["state"], dataset["error"], dataset["classes"], dataset["splits"]) == ("checking", None, [], {})
    assert dataset["options"] == {"val_fraction": None, "seed": 7}
    assert client.get(f"/datasets/{dataset['id']}").json() == dataset
    assert client.get("/datasets").json()["data"][0]["state"] == "checking"


def test_jobs_wait_for_what_they_name_and_are_then_released(client: TestClient, sound: bytes, teacher_folder: Path):
    dataset, teacher = later(client, "datasets", sound), later(client, "checkpoints", zip_of(teacher_folder))
    job = submit(client, request_of(dataset, teacher))
    assert (job["state"], job["waiting_for"]) == ("queued", ["/dataset_id", "/teacher_ids/teacher"])
    cancelled = submit(client, request_of(dataset, teacher))
    answer = client.post(f"/jobs/{cancelled['id']}/cancel").json()
    assert (answer["state"], answer["waiting_for"]) == ("cancelled", [])
    with Session(get_engine()) as session, session.begin():
        assert job_states.claim(session, job["id"], "w", 60) is None, "a held job is not to be had"
        assert job_states.take_due(session, 30) == []
    held.settle_all(get_engine())
    assert client.get(f"/jobs/{job['id']}").json()["waiting_for"] == ["/dataset_id", "/teacher_ids/teacher"]

    rows = settle(client, f"/datasets/{dataset}", f"/checkpoints/{teacher}")
    assert [row["state"] for row in rows] == ["ready", "ready"]
    assert (rows[0]["classes"], rows[1]["family"], rows[1]["kind"]) == (["red", "green"], "rt-detr-v2", "detector")
    assert len(rows[1]["sha256"]) == 64
    assert client.get(f"/jobs/{job['id']}").json()["waiting_for"] == []
    assert client.get(f"/jobs/{cancelled['id']}").json()["state"] == "cancelled"
    with Session(get_engine()) as session, session.begin():
        assert [str(due) for due, _ in job_states.take_due(session, 30)] == [job["id"]]
        assert job_states.claim(session, job["id"], "w", 60) is not None
    assert submit(client, request_of(dataset, teacher))["waiting_for"] == [], "what is ready is not waited for"


def test_what_is_refused_later_is_kept_with_its_reason(
    client: TestClient, sound: bytes, broken: bytes, teacher_folder: Path, storage_dir: Path
):
    files = {path.name: path.read_bytes() for path in teacher_folder.iterdir()}
    wrong, right = later(client, "datasets", broken), later(client, "datasets", sound)
    pickled = later(
        client, "checkpoints", zip_with({"pytorch_model.bin": b"x"} | {"config.json": files["config.json"]})
    )
    teacher = later(client, "checkpoints", zip_of(teacher_folder))
    jobs = [submit(client, request_of(wrong, teacher)), submit(client, request_of(right, pickled))]
    rows = settle(client, *(f"/datasets/{wrong}", f"/checkpoints/{pickled}", f"/datasets/{right}"))
    assert [row["state"] for row in rows] == ["refused", "refused", "ready"]
    assert (rows[0]["error"]["code"], rows[0]["error"]["pointer"]) == ("dataset_invalid", "/files")
    assert "val.json" in rows[0]["error"]["message"]
    assert rows[1]["error"]["code"] == "checkpoint_invalid"
    assert "is a pickle" in rows[1]["error"]["message"]
    assert "save_pretrained" in rows[1]["error"]["hint"]
    assert not (storage_dir / "datasets" / wrong).exists()
    assert not (storage_dir / "checkpoints" / pickled).exists()

    for job, code, pointer, words in [
        (jobs[0], "dataset_refused", "/dataset_id", "val.json"),
        (jobs[1], "checkpoint_refused", "/teacher_ids/teacher", "is a pickle"),
    ]:
        ended = client.get(f"/jobs/{job['id']}").json()
        assert (ended["state"], ended["waiting_for"]) == ("failed", [])
        assert (ended["error"]["code"], ended["error"]["pointer"]) == (code, pointer)
        assert words in ended["error"]["message"]
        assert ended["finished_at"]
        with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
            assert '"state":"failed"' in stream.read().decode()
        again = client.post("/jobs", json={key: job[key] for key in ("name", "dataset_id", "teacher_ids", "config")})
        assert assert_problem(again, 422, pointer)["code"] == code


def test_a_held_job_whose_parts_do_not_fit_fails_with_the_pointer(client: TestClient, sound: bytes, tmp_path: Path):
    stranger = write_teacher(tmp_path, classes=("cat", "dog"))
    dataset, teacher = later(client, "datasets", sound), later(client, "checkpoints", zip_of(stranger))
    job = submit(client, request_of(dataset, teacher))
    settle(client, f"/datasets/{dataset}", f"/checkpoints/{teacher}")
    ended = client.get(f"/jobs/{job['id']}").json()
    assert ended["state"] == "failed"
    assert (ended["error"]["code"], ended["error"]["pointer"]) == ("class_names_differ", "/teacher_ids/teacher")
    assert "red, green" in ended["error"]["message"]
    assert ended["error"]["hint"]


def test_what_is_wrong_whatever_the_check_says_is_refused_at_once(client: TestClient, sound: bytes):
    dataset = later(client, "datasets", sound)
    request = request_of(dataset, dataset)
    assert_problem(client.post("/jobs", json=request), 422, "/teacher_id")
    assert_problem(client.post("/jobs", json=request | {"teacher_id": None}), 422, "/teacher_id")
    no_student = request_of(dataset, dataset, student=None) | {"teacher_id": None}
    assert_problem(client.post("/jobs", json=no_student), 422, "/config/student")


def test_what_is_refused_while_a_job_names_it_stays(client: TestClient, sound: bytes):
    """The job was made from the list, before the upload had its answer."""
    with Session(get_engine()) as session, session.begin():
        checkers.seen(session, "busy", [])
    answers: list[Any] = []
    upload = threading.Thread(target=lambda: answers.append(post(client, "datasets", sound, name="contested")))
    upload.start()
    deadline = time.monotonic() + 20
    while (newest := client.get("/datasets").json()["data"][0])["name"] != "contested":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    config = {"kind": "train", "student": {"family": "rt-detr-v2", "size": "pico"}, "data": {"image_size": 128}}
    job = submit(client, {"name": "j", "dataset_id": newest["id"], "config": config})
    with Session(get_engine()) as session, session.begin():
        while (owned := states.claim(session, "datasets", 60)) is not None:
            if str(owned.id) == newest["id"]:
                states.refuse(session, owned, {"code": "c", "message": "m", "hint": "h", "pointer": "/files"})
        checkers.gone(session, "busy")
    upload.join()
    assert assert_problem(answers[0], 422, "/files")["code"] == "c"
    assert client.get(f"/datasets/{newest['id']}").json()["state"] == "refused"
    held.settle_all(get_engine())
    assert client.get(f"/jobs/{job['id']}").json()["error"]["code"] == "dataset_refused"


def test_what_is_removed_while_a_job_is_made_is_named(
    client: TestClient, sound: bytes, monkeypatch: pytest.MonkeyPatch
):
    dataset = later(client, "datasets", sound)
    check = held.Parts.check

    def and_then_it_is_gone(parts: held.Parts, config: Any) -> list[str]:
        waiting_for = check(parts, config)
        with Session(get_engine()) as session, session.begin():
            session.delete(session.get_one(Dataset, dataset))
        return waiting_for

    monkeypatch.setattr(held.Parts, "check", and_then_it_is_gone)
    config = {"kind": "train", "student": {"family": "rt-detr-v2", "size": "pico"}, "data": {"image_size": 128}}
    answer = client.post("/jobs", json={"name": "j", "dataset_id": dataset, "config": config})
    assert assert_problem(answer, 422, "/dataset_id")["code"] == "not_found"


@pytest.mark.bad_input
def test_a_small_file_that_grows_large_is_refused_and_the_api_stays_small(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    """About 500 MB in memory, from an archive of 100 kB."""
    images = b'{"images": [' + b"{}," * 7_000_000 + b'{}], "annotations": [], "categories": []}'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.json", images)
        archive.writestr("val.json", images)
    assert len(buffer.getvalue()) < 150_000
    monkeypatch.setattr(get_settings(), "check_memory_bytes", 256 * 1024**2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [dataset] = settle(client, f"/datasets/{later(client, 'datasets', buffer.getvalue())}")
    assert (dataset["state"], dataset["error"]["code"]) == ("refused", "check_out_of_memory")
    assert dataset["error"]["pointer"] == "/files"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "kB"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("field", "value"),
    [("val_fraction", "0"), ("val_fraction", "1"), ("val_fraction", "nan"), ("seed", "-1"), ("seed", str(2**31))],
)
def test_a_wrong_split_is_refused(client: TestClient, sound: bytes, field: str, value: str):
    assert_problem(post(client, "datasets", sound, **{field: value}), 422, f"/{field}")


def test_lists_are_small_whatever_the_number_of_classes(client: TestClient):
    classes = [f"class {number}" for number in range(200_000)]
    sizes = {"images": 1, "boxes": 1, "boxes_per_class": dict.fromkeys(classes, 1)}
    with Session(get_engine(), expire_on_commit=False) as session, session.begin():
        point = Checkpoint(name="many", kind="detector", classes=classes, size=1, sha256="0" * 64)
        dataset = Dataset(name="many", classes=classes, splits={"train": sizes, "val": sizes}, warnings=[], size=1)
        session.add_all([point, dataset])
    for path, row in (("/checkpoints", point), ("/datasets", dataset)):
        answer = client.get(path)
        assert len(answer.content) < 50_000
        [listed] = [entry for entry in answer.json()["data"] if entry["id"] == str(row.id)]
        assert (listed["class_count"], listed["classes"]) == (200_000, classes[:100])
        assert client.get(f"{path}/{row.id}").json()["class_count"] == 200_000
