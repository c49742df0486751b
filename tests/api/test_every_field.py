"""Every field of every request, with every value that no field can have: refused by name, never a 500."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from api import openapi
from api.jobs.schemas import JobCreate
from detrdistill.schema.run import RUN_CONFIG
from detrdistill.schema.validation import Finding, findings, pointer_to, unusable
from tests.support.problems import NOBODY, assert_problem
from tests.support.uploads import zip_with

pytestmark = [pytest.mark.bad_input, pytest.mark.usefixtures("nothing_is_stored")]

RAW = "@raw:"
"""Marks a text that goes into the JSON as it is, without quotes."""
DEEP = RAW + "[" * 40 + "]" * 40
NEVER: dict[str, Any] = {
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "1e400": RAW + "1e400",
    "-1e400": RAW + "-1e400",
    "400 digits": 10**400,
    "zero byte": "a\x00b",
    "half a character": "\ud800",
    "half a character at the end": "ok\udfff",
    "5000 characters": "x" * 5000,
    "list of lists": [[[]]],
    "object with a zero byte": {"\x00": 1},
    "object with half a character": {"\ud800": 1},
    "nested 40 deep": DEEP,
    "negative zero in a list": [-0.0, {}],
}
"""Values that are right nowhere."""
SCHEDULE = {"start": 0.1, "end": 0.9, "warmup": 0.1, "decay": "linear"}
FULL: dict[str, Any] = {
    "kind": "distill",
    "recipe": "rt-detr-v2-r18",
    "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10, "decoder_layers": 2},
    "teachers": {
        "first": {
            "source": "checkpoint",
            "min_ap": 0.0,
            "methods": [
                {"kind": "matched_logits", "schedule": SCHEDULE, "gradient_share": {"target": 0.1}, "top_queries": 5},
                {"kind": "target_features", "gamma": 0.5},
                {"kind": "query_prior"},
                {"kind": "distillation_points"},
                {"kind": "feature_maps"},
                {"kind": "foreground_memory"},
            ],
        },
        "second": {"min_ap": 0.1, "methods": [{"kind": "query_prior"}]},
    },
    "control": True,
    "data": {"image_size": 64, "workers": 0},
    "training": {"drops": [0.5, 0.9]},
    "criterion": {"class_weight": 1.0, "class_cost": 1.0},
    "evaluation": {},
}


def post_json(client: TestClient, document: Any, path: str = "/jobs") -> Any:
    """Send what `json.dumps` would not write, too."""
    text = json.dumps(document)
    for mark in (f'"{RAW}',):
        while mark in text:
            start = text.index(mark)
            end = text.index('"', start + 1)
            text = text[:start] + text[start + len(mark) : end] + text[end + 1 :]
    return client.post(path, content=text, headers={"Content-Type": "application/json"})


def paths_of(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a document is, containers included."""
    if path:
        yield path
    entries = (
        document.items() if isinstance(document, dict) else enumerate(document if isinstance(document, list) else ())
    )
    for key, value in entries:
        yield from paths_of(value, (*path, key))


def with_value(document: dict, path: tuple[Any, ...], value: Any) -> dict:
    changed = copy.deepcopy(document)
    node = changed
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
    return changed


@pytest.fixture(scope="module")
def full_request(client: TestClient, dataset_id: str, teacher_id: str) -> dict:
    """A right request with every field given, defaults included: as the service echoes it."""
    request = {
        "name": "full",
        "dataset_id": dataset_id,
        "teacher_ids": {"first": teacher_id, "second": teacher_id},
        "config": FULL,
    }
    answer = client.post("/jobs", json=request)
    assert answer.status_code == 202, answer.text
    return request | {"config": answer.json()["config"]}


SCHEMA = JobCreate.model_json_schema()
EVERYWHERE: dict[str, Any] = {
    "name": "full",
    "dataset_id": NOBODY,
    "teacher_ids": {"first": NOBODY, "second": NOBODY},
    "config": RUN_CONFIG.validate_python(FULL).model_dump(mode="json"),
}


def faults_of(document: dict) -> list[Finding]:
    """What the service finds, without the service."""
    if found := unusable(document, SCHEMA):
        return found
    try:
        JobCreate.model_validate(document)
    except ValidationError as error:
        return findings(error.errors(), document, SCHEMA)
    return []


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def assert_at(pointers: set[str], path: tuple[Any, ...]) -> None:
    """Faults lie at a place or below it, and nowhere else."""
    pointer = pointer_to(path)
    assert pointers, f"{pointer} was taken"
    assert all(found == pointer or found.startswith(f"{pointer}/") for found in pointers), (pointer, pointers)


@pytest.mark.parametrize("value", NEVER)
def test_no_field_of_a_job_takes_it(value: str):
    bad = NEVER[value]
    bad = json.loads(bad.removeprefix(RAW)) if isinstance(bad, str) and bad.startswith(RAW) else bad
    places = list(paths_of(EVERYWHERE))
    assert len(places) > 150
    for path in places:
        found = faults_of(with_value(EVERYWHERE, path, bad))
        assert_at({finding.pointer for finding in found}, path)
        assert not [finding for finding in found if "Value error" in finding.message or "[" in finding.pointer]


SAMPLE = [
    ("name",),
    ("dataset_id",),
    ("teacher_ids", "second"),
    ("config",),
    ("config", "recipe"),
    ("config", "student", "size"),
    ("config", "teachers", "first", "methods", 0, "top_queries"),
    ("config", "teachers", "first", "methods", 0, "weight"),
    ("config", "teachers", "second", "methods", 0, "schedule", "start"),
    ("config", "training", "clip_norm"),
    ("config", "training", "drops", 1),
    ("config", "criterion", "l1_cost"),
    ("config", "criterion", "class_weight"),
]


@pytest.mark.parametrize("path", SAMPLE, ids=str)
def test_the_service_refuses_it_by_its_pointer(client: TestClient, full_request: dict, path: tuple[Any, ...]):
    for value in NEVER.values():
        problem = assert_problem(post_json(client, with_value(full_request, path, value)), 422)
        assert problem["code"] == "request_invalid"
        assert_at({error["pointer"] for error in problem["errors"]}, path)


WRONG_KINDS: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "true": (True, lambda was: not isinstance(was, bool)),
    "a digit as text": ("1", lambda was: not isinstance(was, str)),
    "a list": ([], lambda was: not isinstance(was, list)),
    "an object": ({}, lambda was: not isinstance(was, dict)),
    "one": (1, lambda was: not isinstance(was, int | float) or isinstance(was, bool)),
    "one half": (0.5, lambda was: not isinstance(was, float)),
}


@pytest.mark.parametrize("kind", WRONG_KINDS)
def test_no_field_of_a_job_is_converted_in_silence(kind: str):
    value, differs = WRONG_KINDS[kind]
    for path in paths_of(EVERYWHERE):
        was = value_at(EVERYWHERE, path)
        if was is not None and differs(was):
            assert_at({finding.pointer for finding in faults_of(with_value(EVERYWHERE, path, value))}, path)


@pytest.mark.parametrize("name", ["weigth", "\x00", "\ud800", "x" * 3000, "", "~/", "__class__"])
def test_no_object_takes_an_unknown_field(client: TestClient, full_request: dict, name: str):
    objects = [path for path in [(), *paths_of(EVERYWHERE)] if isinstance(value_at(EVERYWHERE, path), dict)]
    for path in objects:
        found = faults_of(with_value(EVERYWHERE, (*path, name), 1))
        assert {finding.pointer for finding in found} == {pointer_to((*path, name))}
        if name == "weigth" and "weight" in value_at(EVERYWHERE, path):
            assert [finding.message for finding in found] == ["unknown field `weigth`; did you mean `weight`?"]
    for path in objects[::6]:
        problem = assert_problem(post_json(client, with_value(full_request, (*path, name), 1)), 422)
        assert problem["code"] == "request_invalid"
        [pointer] = {error["pointer"] for error in problem["errors"]}
        assert pointer[:1000] == pointer_to((*path, name)).replace("\x00", "\\u0000")[:1000]


# ---- forms, queries, paths, headers

TEXTS = {
    "empty": "",
    "a zero byte": "a\x00b",
    "a line break": "a\nb",
    "an escape": "\x1b[31m",
    "5000 characters": "x" * 5000,
}


@pytest.mark.parametrize("kind", ["datasets", "checkpoints"])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("how", ["multipart", "urlencoded"])
def test_no_text_field_of_a_form_takes_it(client: TestClient, kind: str, text: str, how: str):
    right = {"name": "right", "path": "nothing"}
    for field in right:
        form = right | {field: TEXTS[text]}
        sent = {"data": form} if how == "urlencoded" else {"files": [(key, (None, form[key])) for key in form]}
        absent = field == "path" and not form["path"]
        assert_problem(client.post(f"/{kind}", **sent), 422, "/files" if absent else f"/{field}")


@pytest.mark.parametrize("kind", ["datasets", "checkpoints"])
def test_a_form_with_unknown_or_repeated_fields_is_refused(client: TestClient, kind: str):
    archive = ("files", ("a.zip", zip_with({})))
    typo = client.post(f"/{kind}", files=[("nmae", (None, "x")), ("name", (None, "y")), archive])
    [error] = assert_problem(typo, 422, "/nmae")["errors"]
    assert error["detail"] == "unknown field `nmae`; did you mean `name`?"
    twice = client.post(f"/{kind}", files=[("name", (None, "x")), ("name", (None, "y")), archive])
    [error] = assert_problem(twice, 422, "/name")["errors"]
    assert error["detail"] == "`name` is given 2 times"
    assert_problem(client.post(f"/{kind}", files=[("name", ("n.txt", b"x")), archive]), 422, "/name")
    assert_problem(client.post(f"/{kind}", files=[("name", (None, "x")), ("files", (None, "text"))]), 422, "/files")


def test_a_form_in_a_strange_encoding_is_no_500(client: TestClient):
    for charset in ("utf-7", "unicode_escape", "undefined", "hex", "no-such-thing", "utf-16"):
        headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        for content in (b"+2AA-", b"\\ud800", b"\xff\xfe\xfd", b"\xed\xa0\x80"):
            body = (
                b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + content + b"\r\n"
                b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + content + b'.zip"'
                b"\r\n\r\nPK\r\n--x--\r\n"
            )
            answer = client.post("/datasets", content=body, headers=headers)
            assert_problem(answer, 400 if answer.status_code == 400 else 422)


BROKEN_FORMS = {
    "no boundary": ("multipart/form-data", b"--x\r\n"),
    "another boundary": ("multipart/form-data; boundary=y", b"--x\r\n\r\n\r\n--x--"),
    "no name": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nab\r\n--x--"),
    "no disposition": ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\nab\r\n--x--"),
    "an empty boundary": ("multipart/form-data; boundary=", b"--\r\n\r\n\r\n----"),
    "many fields": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nab\r\n' * 30 + b"--x--",
    ),
    "a field of a megabyte": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + b"x" * 1024**2 + b"\r\n--x--",
    ),
    "many files": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.json"\r\n\r\nab\r\n' * 1001 + b"--x--",
    ),
}


@pytest.mark.parametrize("form", BROKEN_FORMS)
def test_a_broken_form_is_a_400(client: TestClient, form: str):
    kind, body = BROKEN_FORMS[form]
    problem = assert_problem(client.post("/datasets", content=body, headers={"Content-Type": kind}), 400)
    assert problem["code"] == "form_invalid"


DOCUMENT = json.loads(openapi.document())
GETS = [(path, item["get"].get("parameters", [])) for path, item in DOCUMENT["paths"].items() if "get" in item]
QUERIES = ["", "x", "-1", "0", "1e9", "Infinity", "NaN", "%00", "%ff", "%ed%a0%80", "9" * 400, "x" * 5000, "2147483648"]


@pytest.mark.parametrize(("path", "parameters"), GETS, ids=[path for path, _ in GETS])
def test_no_query_field_makes_a_500(client: TestClient, full_request: dict, path: str, parameters: list[dict]):
    job = client.get("/jobs").json()["data"][0]["id"]
    url = path.replace("{job_id}", job).replace("{name}", "x")
    url = url.replace("{dataset_id}", full_request["dataset_id"]).replace(
        "{checkpoint_id}", full_request["teacher_ids"]["first"]
    )
    for parameter in parameters:
        if parameter["in"] == "query" and not path.endswith("events"):
            for value in QUERIES:
                answer = client.get(f"{url}?{parameter['name']}={value}")
                if answer.status_code not in (200, 404):
                    problem = assert_problem(answer, 422)
                    assert {error["pointer"].split("/")[1] for error in problem["errors"]} == {parameter["name"]}
    for name, shown in (("stat", "stat"), ("%00", "\\u0000"), ("%ff", "\ufffd"), ("a/b", "a~1b")):
        problem = assert_problem(client.get(f"{url}?{name}=1"), 422, f"/{shown}")
        assert problem["code"] == "request_invalid"


def test_an_unknown_query_field_is_refused_with_the_nearest_name(client: TestClient):
    [error] = assert_problem(client.get("/jobs?stat=queued"), 422, "/stat")["errors"]
    assert error["detail"] == "unknown field `stat`; did you mean `state`?"
    [error] = assert_problem(client.get("/jobs?limit=1&limit=2"), 422, "/limit")["errors"]
    assert error["detail"] == "`limit` is given 2 times"
    assert_problem(client.post(f"/jobs/{NOBODY}/cancel?force=1"), 422, "/force")
    assert_problem(client.get("/health?x"), 422, "/x")


PARTS = ["%00", "%ff", "%ed%a0%80", "..%2f..", "x" * 5000, "9" * 400, "%0a", "null", "%20"]


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_a_path_makes_a_500(client: TestClient, part: str):
    for path in [*DOCUMENT["paths"], "/view/{page}", "/assets/{file}", "/docs/assets/{file}", "/{any}"]:
        url = "/".join(part if piece.startswith("{") else piece for piece in path.split("/"))
        for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE"):
            assert client.request(method, url).status_code < 500, (method, url[:100])


def test_header_values_that_cannot_be_read_are_refused_by_name(client: TestClient, job_request: dict):
    events = f"/jobs/{NOBODY}/events"
    for value in ("x", "-1", "1" * 30, "\xb2", "1e400", "a\x00", " "):
        assert_problem(client.get(events, headers={"Last-Event-ID": value.encode("latin-1")}), 422, "/Last-Event-ID")
    for value in ("", " ", "x" * 201, "\xff", "a b", "a\x00"):
        headers = {"Idempotency-Key": value.encode("latin-1")}
        assert_problem(client.post("/jobs", json=job_request, headers=headers), 422, "/Idempotency-Key")
    for value in ("http://[", "null", "\xff", "://"):
        headers = {"Origin": value.encode("latin-1")}
        assert_problem(client.post(f"/jobs/{NOBODY}/cancel", headers=headers), 403)
    for value in ("\xb2", "-1", "9" * 5000, "x"):
        headers = {"Content-Length": value.encode("latin-1"), "Content-Type": "application/json"}
        assert_problem(client.post("/jobs", content=b"{}", headers=headers), 413)


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "image/png", "\xff", "json"])
def test_a_body_of_another_kind_is_a_415(client: TestClient, job_request: dict, kind: str):
    headers = {"Content-Type": kind.encode("latin-1")}
    answer = client.post("/jobs", content=json.dumps(job_request), headers=headers)
    assert assert_problem(answer, 415, "/Content-Type")["code"] == "unsupported_media_type"
    as_json = client.post("/datasets", json={"name": "x", "path": "y"})
    assert_problem(as_json, 415, "/Content-Type")
