"""What the service must refuse: with a 4xx, a pointer to the field, a remedy, and nothing stored."""

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.problems import NOBODY, assert_problem
from tests.support.teachers import several_teachers
from tests.support.uploads import write_teacher, zip_of, zip_with

pytestmark = [pytest.mark.bad_input, pytest.mark.usefixtures("nothing_is_stored")]


JOB_FAULTS: dict[str, tuple[Callable[[dict], Any], str]] = {
    "unknown field": (lambda job: job | {"priority": 3}, "/priority"),
    "missing name": (lambda job: {key: job[key] for key in job if key != "name"}, "/name"),
    "empty name": (lambda job: job | {"name": "  "}, "/name"),
    "a name with a zero byte": (lambda job: job | {"name": "a\x00b"}, "/name"),
    "dataset is no id": (lambda job: job | {"dataset_id": "../etc"}, "/dataset_id"),
    "dataset does not exist": (lambda job: job | {"dataset_id": NOBODY}, "/dataset_id"),
    "teacher does not exist": (lambda job: job | {"teacher_id": NOBODY}, "/teacher_id"),
    "no teacher": (lambda job: job | {"teacher_id": None}, "/teacher_id"),
    "a teacher for a train job": (
        lambda job: (
            job | {"config": {"kind": "train", "student": job["config"]["student"], "data": {"image_size": 64}}}
        ),
        "/teacher_id",
    ),
    "no student": (lambda job: _config(job, student=None), "/config/student"),
    "two students": (lambda job: job | {"student_id": job["teacher_id"]}, "/student_id"),
    "unknown kind": (lambda job: _config(job, kind="prune"), "/config/kind"),
    "no kind": (lambda job: job | {"config": {"student": job["config"]["student"]}}, "/config/kind"),
    "unknown family": (lambda job: _config(job, student={"family": "yolo", "size": "n"}), "/config/student/family"),
    "unknown size": (lambda job: _config(job, student={"family": "rt-detr", "size": "xxl"}), "/config/student/size"),
    "unknown option deep inside": (
        lambda job: _config(job, training={"learning_rate": 1}),
        "/config/training/learning_rate",
    ),
    "negative rate": (lambda job: _config(job, training={"lr": -1}), "/config/training/lr"),
    "infinite norm": (lambda job: _config(job, training={"clip_norm": "inf"}), "/config/training/clip_norm"),
    "a recipe that is a list": (lambda job: _config(job, recipe=["rt-detr-v2-r18"]), "/config/recipe"),
    "a recipe that is an object": (lambda job: _config(job, recipe={"name": "rt-detr-v2-r18"}), "/config/recipe"),
    "unknown recipe": (lambda job: _config(job, recipe="rt-detr-v2"), "/config/recipe"),
    "more steps of warm-up than a number has": (
        lambda job: _config(job, training={"warmup_steps": 2**63}),
        "/config/training/warmup_steps",
    ),
    "ten teachers": (lambda job: _config(job, teachers={f"t{i}": {} for i in range(10)}), "/config/teachers"),
    "no teachers": (lambda job: _config(job, teachers={}), "/config/teachers"),
    "ids of ten teachers": (
        lambda job: job | {"teacher_ids": {f"t{i}": NOBODY for i in range(10)}},
        "/teacher_ids",
    ),
    "both forms of ids": (lambda job: job | {"teacher_ids": {"big": NOBODY}}, "/teacher_id"),
    "both forms of teachers": (
        lambda job: _config(job, methods=[{"kind": "query_prior"}], teachers={"big": {}}),
        "/config/methods",
    ),
    "a method twice": (lambda job: _config(job, methods=[{"kind": "query_prior"}] * 2), "/config/methods"),
    "seventeen methods": (lambda job: _config(job, methods=[{"kind": "query_prior"}] * 17), "/config/methods"),
    "a schedule that ends before it starts": (
        lambda job: _config(job, methods=[{"kind": "query_prior", "schedule": {"start": 0.9, "end": 0.1}}]),
        "/config/methods/0/schedule/start",
    ),
    "a loss that is called as a teacher": (
        lambda job: several_teachers(job, {"detection": {}}, {"detection": NOBODY}),
        "/config/teachers/detection",
    ),
    "image size no multiple": (lambda job: _config(job, data={"image_size": 100}), "/config/data/image_size"),
    "more queries than cells": (
        lambda job: _config(job, student={"family": "rt-detr-v2", "size": "r18"}),
        "/config/student/queries",
    ),
    "unknown method": (lambda job: _config(job, methods=[{"kind": "magic"}]), "/config/methods/0/kind"),
    "wrong option of a method": (
        lambda job: _config(job, methods=[{"kind": "query_prior"}, {"kind": "matched_logits", "temperature": 3}]),
        "/config/methods/1/temperature",
    ),
    "no method": (lambda job: _config(job, methods=[]), "/config/methods"),
    "a list instead of an object": (lambda job: [job], ""),
    "a number instead of an object": (lambda job: _config(job, data=7), "/config/data"),
}


JOB_CODES = {
    "dataset does not exist": "not_found",
    "teacher does not exist": "not_found",
    "no teacher": "invalid",
    "a teacher for a train job": "invalid",
    "no student": "student_ambiguous",
    "two students": "student_ambiguous",
}
"""Where it is not `request_invalid`."""


def _config(job: dict, **changes: Any) -> dict:
    return job | {"config": job["config"] | changes}


@pytest.mark.parametrize("fault", JOB_FAULTS)
def test_a_wrong_job_is_refused_with_a_pointer(client: TestClient, job_request: dict, fault: str):
    spoil, pointer = JOB_FAULTS[fault]
    problem = assert_problem(client.post("/jobs", json=spoil(job_request)), 422)
    assert [error["pointer"] for error in problem["errors"]] == [pointer], problem
    assert problem["code"] == JOB_CODES.get(fault, "request_invalid")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"weigth": 0.5}, "unknown field `weigth`; did you mean `weight`?"),
        ({"variant": "recomended"}, "unknown value `recomended`; did you mean `recommended`?"),
        ({"kind": "query_priors"}, "unknown kind `query_priors`; did you mean `query_prior`?"),
        ({"weight": 0}, "Input should be greater than 0"),
        ({"kind": None}, "unknown kind `None`"),
    ],
)
def test_a_typo_is_one_fault_with_the_right_word(client: TestClient, job_request: dict, typed: dict, words: str):
    job = _config(job_request, methods=[{"kind": "query_prior"} | typed])
    [error] = assert_problem(client.post("/jobs", json=job), 422)["errors"]
    assert (error["pointer"], error["detail"]) == (f"/config/methods/0/{next(iter(typed))}", words)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "request_invalid"),
        (b"null", 422, "request_invalid"),
        (b"{", 400, "json_invalid"),
        (b"\xff\xfe", 400, "json_invalid"),
        (b'{"name": "\xff"}', 400, "json_invalid"),
        (b'{"name": "\xed\xa0\x80"}', 422, "request_invalid"),
        (b"[" * 100_000, 400, "json_invalid"),
        (b'{"name": ' + b"9" * 5000 + b"}", 400, "json_invalid"),
    ],
    ids=str,
)
def test_a_body_that_is_no_json_is_refused(client: TestClient, body: bytes, status: int, code: str):
    answer = client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert assert_problem(answer, status)["code"] == code


def test_half_a_character_is_refused_where_it_stands(client: TestClient, job_request: dict):
    body = json.dumps(job_request | {"name": "\ud800"})  # but for that, the request is right
    answer = client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
    [error] = assert_problem(answer, 422)["errors"]
    assert (error["pointer"], error["detail"]) == ("/name", "the text holds half a character (a lone surrogate)")


@pytest.fixture(scope="module")
def stranger_id(client: TestClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A detector of other things."""
    folder = write_teacher(tmp_path_factory.mktemp("stranger"), classes=("cat", "dog"))
    answer = client.post("/checkpoints", data={"name": "stranger"}, files={"files": ("t.zip", zip_of(folder))})
    return answer.json()["id"]


def test_a_teacher_that_does_not_know_a_class_is_refused(client: TestClient, job_request: dict, stranger_id: str):
    answer = client.post("/jobs", json=job_request | {"teacher_id": stranger_id})
    problem = assert_problem(answer, 422, "/teacher_id")
    assert "red, green" in problem["detail"]
    assert "Fine-tune" in problem["errors"][0]["hint"]


@pytest.mark.parametrize(
    "path", ["/jobs/{}", "/jobs/{}/metrics", "/jobs/{}/events", "/jobs/{}/artifacts", "/datasets/{}", "/checkpoints/{}"]
)
def test_what_does_not_exist_is_a_404_and_a_bad_id_a_422(client: TestClient, path: str):
    assert_problem(client.get(path.format(NOBODY)), 404)
    assert_problem(client.get(path.format("1;drop table jobs")), 422)


def test_unknown_paths_and_methods_are_problems_too(client: TestClient):
    assert_problem(client.get("/nothing"), 404)
    assert_problem(client.delete("/jobs"), 405)
    assert_problem(client.get("/jobs", params={"limit": 0}), 422, "/limit")
    assert_problem(client.get("/jobs", params={"after": "x"}), 422, "/after")
    assert_problem(client.get("/jobs", params={"state": "sleeping"}), 422, "/state")


# ---- datasets


def coco(split: dict[str, Any]) -> bytes:
    return json.dumps(split).encode()


def spoilt_dataset(rectangles: Path, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The rectangles with something changed in train.json; the categories of both splits stay the same."""
    members = {str(path.relative_to(rectangles)): path.read_bytes() for path in rectangles.rglob("*") if path.is_file()}
    train, val = (json.loads(members[name]) for name in ("train.json", "val.json"))
    change(train)
    return zip_with(members | {"train.json": coco(train), "val.json": coco(val | {"categories": train["categories"]})})


DATASET_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no boxes": (lambda coco: coco["annotations"].clear(), "no boxes"),
    "no images": (lambda coco: coco["images"].clear(), "no images"),
    "no categories": (lambda coco: coco["categories"].clear(), "no categories"),
    "annotations missing": (lambda coco: coco.pop("annotations"), "no list 'annotations'"),
    "box of three numbers": (lambda coco: coco["annotations"][0].update(bbox=[1, 2, 3]), "/annotations/0"),
    "box that is no list": (lambda coco: coco["annotations"][1].update(bbox="1 2 3 4"), "/annotations/1"),
    "box of infinity": (lambda coco: coco["annotations"][0].update(bbox=[1, 2, float("inf"), 4]), "/annotations/0"),
    "box of a huge integer": (lambda coco: coco["annotations"][0].update(bbox=[1, 2, 10**400, 4]), "/annotations/0"),
    "unknown image": (lambda coco: coco["annotations"][0].update(image_id=999), "unknown image_id"),
    "image id that is a list": (lambda coco: coco["annotations"][0].update(image_id=[1]), "unknown image_id"),
    "unknown category": (lambda coco: coco["annotations"][0].update(category_id=1), "unknown category_id"),
    "two images with one id": (lambda coco: coco["images"][1].update(id=coco["images"][0]["id"]), "share the id"),
    "two categories with one name": (lambda coco: coco["categories"][1].update(name="red"), "share the name"),
    "a category name with a zero byte": (
        lambda coco: coco["categories"][0].update(name="a\x00"),
        "1 of categories have no usable name, first at /categories/0",
    ),
    "a category name that is half a character": (
        lambda coco: coco["categories"][0].update(name="\ud800"),
        "1 of categories have no usable name, first at /categories/0",
    ),
    "a category name of 5000 characters": (
        lambda coco: coco["categories"][0].update(name="x" * 5000),
        "no usable name",
    ),
    "a million categories": (
        lambda coco: coco["categories"].extend({"id": 100 + i, "name": f"{i}"} for i in range(5_000)),
        "more than 5000",
    ),
    "no such file": (lambda coco: coco["images"][0].update(file_name="gone.png"), "not there"),
    "a file outside": (lambda coco: coco["images"][0].update(file_name="../../../../etc/passwd"), "not there"),
    "an absolute file": (lambda coco: coco["images"][0].update(file_name="/etc/passwd"), "not there"),
    "a file name with a zero byte": (
        lambda coco: coco["images"][0].update(file_name="a\x00.png"),
        r"name a file that is not there, first at /images/0 ('a\x00.png')",
    ),
    "a file name that is half a character": (
        lambda coco: coco["images"][0].update(file_name="\ud800.png"),
        r"name a file that is not there, first at /images/0 ('\ud800.png')",
    ),
    "a file name of 5,000 characters": (
        lambda coco: coco["images"][0].update(file_name="a" * 5000),
        "name a file that is not there, first at /images/0",
    ),
    "width of zero": (lambda coco: coco["images"][0].update(width=0), "/images/0"),
    "width that is not the file's": (lambda coco: coco["images"][0].update(width=99), "annotated as 99x64"),
    "a file that is no image": (
        lambda coco: coco["images"][0].update(file_name="../val.json"),
        "a text file that begins with",
    ),
    "an item that is no object": (lambda coco: coco["images"].append(3), "/images/12"),
}


@pytest.mark.parametrize("fault", DATASET_FAULTS)
def test_a_wrong_dataset_is_refused_with_the_entry(client: TestClient, rectangles: Path, fault: str):
    change, words = DATASET_FAULTS[fault]
    content = spoilt_dataset(rectangles, change)
    answer = client.post("/datasets", data={"name": "wrong"}, files={"files": ("d.zip", content)})
    problem = assert_problem(answer, 422, "/files")
    assert problem["code"] == "dataset_invalid"
    assert words in problem["detail"]
    assert problem["errors"][0]["hint"]


def test_splits_must_agree_on_the_classes(client: TestClient, rectangles: Path):
    members = {str(path.relative_to(rectangles)): path.read_bytes() for path in rectangles.rglob("*") if path.is_file()}
    content = zip_with(members | {"train.json": members["train.json"].replace(b'"red"', b'"crimson"')})
    answer = client.post("/datasets", data={"name": "wrong"}, files={"files": ("d.zip", content)})
    assert "different categories" in assert_problem(answer, 422, "/files")["detail"]


@pytest.mark.parametrize("name", ["train.json", "val.json"])
def test_a_missing_or_broken_split_is_refused(client: TestClient, rectangles: Path, name: str):
    members = {str(path.relative_to(rectangles)): path.read_bytes() for path in rectangles.rglob("*") if path.is_file()}
    for content in (None, b"not json", b"[]", b"[" * 200_000, b'"text"'):
        kept = {key: value for key, value in members.items() if key != name} | (
            {} if content is None else {name: content}
        )
        answer = client.post("/datasets", data={"name": "wrong"}, files={"files": ("d.zip", zip_with(kept))})
        assert_problem(answer, 422, "/files")


# ---- archives


def raw_zip(build: Callable[[zipfile.ZipFile], None]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        build(archive)
    return buffer.getvalue()


def symlink(archive: zipfile.ZipFile) -> None:
    link = zipfile.ZipInfo("images/a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(link, "/etc/passwd")


ARCHIVES: dict[str, bytes] = {
    "climbs out": zip_with({"../evil.json": b"{}"}),
    "climbs out deep inside": zip_with({"images/../../evil.json": b"{}"}),
    "absolute": zip_with({"/tmp/evil.json": b"{}"}),
    "backslashes": zip_with({"..\\evil.json": b"{}"}),
    "drive letter": zip_with({"c:/evil.json": b"{}"}),
    "symbolic link": raw_zip(symlink),
    "program": zip_with({"train.py": b"print()"}),
    "pickle": zip_with({"train.pkl": b""}),
    "same name in two cases": zip_with({"A.json": b"{}", "a.json": b"{}"}),
    "file and folder at once": zip_with({"a.json": b"{}", "a.json/b.json": b"{}"}),
    "too deep": zip_with({"/".join("abcdefghijk") + ".json": b"{}"}),
    "bomb": raw_zip(lambda archive: archive.writestr("train.json", b"0" * 300 * 1024**2)),
    "compressed by bzip2": raw_zip(
        lambda archive: archive.writestr("train.json", b"{}", compress_type=zipfile.ZIP_BZIP2)
    ),
    "compressed by lzma": raw_zip(
        lambda archive: archive.writestr("train.json", b"{}", compress_type=zipfile.ZIP_LZMA)
    ),
    "a name of 5000 characters": zip_with({"x" * 5000 + ".json": b"{}"}),
    "a name with an escape": zip_with({"\x1b[31m.json": b"{}"}),
    "a name in no encoding": zip_with({"train-\u00e9.json": b"{}"}).replace(b"\xc3\xa9", b"\xff\xfe"),
    "no zip at all": b"PK\x03\x04 and then nothing",
    "empty": zip_with({}),
    "cut off": zip_with({"train.json": b"{}" * 1000})[:-40],
}


@pytest.mark.parametrize("kind", ["datasets", "checkpoints"])
@pytest.mark.parametrize("archive", ARCHIVES)
def test_an_archive_that_cannot_be_trusted_is_refused(client: TestClient, kind: str, archive: str, tmp_path: Path):
    answer = client.post(f"/{kind}", data={"name": "evil"}, files={"files": ("evil.zip", ARCHIVES[archive])})
    assert_problem(answer, 422, "/files")
    assert not (tmp_path.parent / "evil.json").exists()


# ---- forms


@pytest.mark.parametrize("kind", ["datasets", "checkpoints"])
def test_a_form_names_exactly_one_source(client: TestClient, kind: str):
    assert_problem(client.post(f"/{kind}", data={"name": "none"}), 422, "/files")
    both = client.post(f"/{kind}", data={"name": "both", "path": "x"}, files={"files": ("a.zip", zip_with({}))})
    assert_problem(both, 422, "/files")
    assert_problem(client.post(f"/{kind}", files={"files": ("a.zip", zip_with({}))}), 422, "/name")
    assert_problem(client.post(f"/{kind}", data={"name": "a\x00b", "path": "x"}), 422, "/name")


@pytest.mark.parametrize("path", ["..", "../..", "/etc", "nothing", "a\nb", "x" * 999, "link"])
def test_a_path_must_lie_below_the_operators_folder(client: TestClient, import_root: Path, path: str):
    if path == "link" and not (import_root / "link").exists():
        (import_root / "link").symlink_to("/etc")
    assert_problem(client.post("/datasets", data={"name": "x", "path": path}), 422, "/path")
    assert_problem(client.post("/checkpoints", data={"name": "x", "path": path}), 422, "/path")


def test_a_job_without_a_student_gives_no_checkpoint(client: TestClient):
    assert_problem(client.post("/checkpoints", data={"name": "x", "job_id": NOBODY}), 422, "/job_id")
    assert_problem(client.post("/checkpoints", data={"name": "x", "job_id": "latest"}), 422, "/job_id")


@pytest.mark.parametrize("name", ["nothing.zip", "../dataset/train.json", "a%00b", "%2e%2e/%2e%2e/etc/passwd"])
def test_only_listed_artifacts_are_served(client: TestClient, name: str):
    assert client.get(f"/jobs/{NOBODY}/artifacts/{name}").status_code in (404, 422)
