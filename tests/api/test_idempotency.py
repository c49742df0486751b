"""A request with an Idempotency-Key is carried out at most once, whatever is cut off, and gets one answer."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from api.db import get_engine
from api.idempotency import keys
from tests.support.problems import NOBODY, assert_problem
from tests.support.uploads import zip_of


def send(client: TestClient, key: str, path: str, **request: Any) -> Any:
    return client.post(path, headers={"Idempotency-Key": key}, **request)


def rows(sql: str, **values: Any) -> list[Any]:
    with Session(get_engine()) as session, session.begin():
        result = session.execute(text(sql), values)
        return list(result) if result.returns_rows else []


def count(client: TestClient, kind: str) -> int:
    return len(client.get(f"/{kind}", params={"limit": 100}).json()["data"])


Request = tuple[str, Callable[[], dict[str, Any]], int]


@pytest.fixture
def requests(job_request: dict, rectangles: Path, teacher_folder: Path) -> dict[str, Request]:
    """A request that makes something, for each kind of resource."""

    dataset, teacher = zip_of(rectangles), zip_of(teacher_folder)
    return {
        "jobs": ("/jobs", lambda: {"json": job_request}, 202),
        "datasets": ("/datasets", lambda: {"data": {"name": "x"}, "files": {"files": ("r.zip", dataset)}}, 201),
        "checkpoints": ("/checkpoints", lambda: {"data": {"name": "x"}, "files": {"files": ("t.zip", teacher)}}, 201),
    }


@pytest.mark.parametrize("kind", ["jobs", "datasets", "checkpoints"])
def test_the_same_request_gets_the_stored_answer_and_makes_nothing(
    client: TestClient, requests: dict[str, Request], kind: str
):
    path, request, status = requests[kind]
    first = send(client, f"twice-{kind}", path, **request())
    assert first.status_code == status, first.text
    before = count(client, kind)
    again = send(client, f"twice-{kind}", path, **request())  # a form has another boundary each time
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert count(client, kind) == before
    other = send(client, f"another-{kind}", path, **request())
    assert other.json()["id"] != first.json()["id"]


def test_a_replayed_answer_is_the_one_of_then(client: TestClient, job_request: dict):
    job = send(client, "of-then", "/jobs", json=job_request).json()
    client.post(f"/jobs/{job['id']}/cancel")
    assert send(client, "of-then", "/jobs", json=job_request).json() == job
    assert job["state"] == "queued"


def test_cancel_takes_a_key_too(client: TestClient, job_request: dict):
    one, two = (client.post("/jobs", json=job_request).json()["id"] for _ in range(2))
    first = send(client, "stop", f"/jobs/{one}/cancel")
    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    assert send(client, "stop", f"/jobs/{one}/cancel").content == first.content
    problem = assert_problem(send(client, "stop", f"/jobs/{two}/cancel"), 422, "/Idempotency-Key")
    assert problem["code"] == "idempotency_mismatch"
    assert client.get(f"/jobs/{two}").json()["state"] == "queued"


@pytest.mark.bad_input
def test_another_request_under_the_key_is_refused(client: TestClient, job_request: dict, requests: dict[str, Request]):
    assert send(client, "mine", "/jobs", json=job_request).status_code == 202
    other = send(client, "mine", "/jobs", json=job_request | {"name": "other"})
    assert assert_problem(other, 422, "/Idempotency-Key")["code"] == "idempotency_mismatch"
    path, request, _ = requests["datasets"]
    first = send(client, "mine", path, **request())  # keys belong to a route
    assert first.status_code == 201
    for change in ({"data": {"name": "y"}}, {"files": {"files": ("s.zip", request()["files"]["files"][1])}}):
        refused = send(client, "mine", path, **(request() | change))
        assert assert_problem(refused, 422)["code"] == "idempotency_mismatch"


@pytest.mark.bad_input
def test_a_refused_request_leaves_the_key_free(client: TestClient, job_request: dict):
    wrong = send(client, "second try", "/jobs", json=job_request)
    assert_problem(wrong, 422, "/Idempotency-Key")  # no spaces
    assert_problem(send(client, "try", "/jobs", json=job_request | {"dataset_id": NOBODY}), 422, "/dataset_id")
    assert_problem(send(client, "try", "/jobs", json=job_request | {"priority": 1}), 422, "/priority")
    assert send(client, "try", "/jobs", json=job_request).status_code == 202


@pytest.mark.parametrize("kind", ["jobs", "datasets"])
def test_many_at_once_make_one(client: TestClient, requests: dict[str, Request], kind: str):
    path, request, status = requests[kind]
    before = count(client, kind)
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(send(client, f"together-{kind}", path, **request())))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {status}
    assert len({answer.content for answer in answers}) == 1
    assert count(client, kind) == before + 1


@pytest.mark.bad_input
def test_a_request_that_is_still_at_work_is_a_409(
    client: TestClient, job_request: dict, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keys, "_WAIT_SECONDS", 0.2)
    send(client, "busy", "/jobs", json=job_request)
    rows(
        "update idempotency_keys set status = null, body = null, executed = false, "
        "locked_until = clock_timestamp() + interval '1 minute' where key = 'busy'"
    )
    before = count(client, "jobs")
    answer = send(client, "busy", "/jobs", json=job_request)
    assert assert_problem(answer, 409, "/Idempotency-Key")["code"] == "idempotency_in_progress"
    assert int(answer.headers["retry-after"]) > 0
    assert count(client, "jobs") == before


@pytest.mark.fault
def test_cut_off_before_the_transaction_it_is_carried_out_again(client: TestClient, job_request: dict):
    job = send(client, "before", "/jobs", json=job_request).json()["id"]
    rows(
        "update idempotency_keys set status = null, body = null, executed = false, target = null, "
        "locked_until = clock_timestamp() - interval '1 second' where key = 'before'"
    )
    answer = send(client, "before", "/jobs", json=job_request)
    assert answer.status_code == 202
    assert answer.json()["id"] != job


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["jobs", "datasets", "checkpoints"])
def test_cut_off_after_the_transaction_there_is_no_second_resource(
    client: TestClient, requests: dict[str, Request], kind: str, monkeypatch: pytest.MonkeyPatch
):
    path, request, status = requests[kind]
    before = count(client, kind)

    def lost(*_: object) -> None:
        raise SystemError("as if the process had been killed")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "_store", lost)
        assert send(client, f"after-{kind}", path, **request()).status_code == 500
    assert count(client, kind) == before + 1
    rows("update idempotency_keys set locked_until = clock_timestamp() where key = :key", key=f"after-{kind}")
    again = send(client, f"after-{kind}", path, **request())
    assert again.status_code == status, again.text
    assert count(client, kind) == before + 1
    newest = client.get(f"/{kind}").json()["data"][0]["id"]
    assert (again.json()["id"], again.headers["location"]) == (newest, f"/{kind}/{newest}")


@pytest.mark.fault
def test_who_lost_the_key_cannot_commit(client: TestClient, job_request: dict, monkeypatch: pytest.MonkeyPatch):
    """A stalled attempt whose lease ran out, and whose key another took."""
    before = count(client, "jobs")

    def stolen(*_: object) -> None:
        rows(f"update idempotency_keys set owner = '{NOBODY}' where key = 'stolen'")

    monkeypatch.setattr("api.jobs.held.check_job", stolen)
    assert assert_problem(send(client, "stolen", "/jobs", json=job_request), 409)["code"] == "idempotency_in_progress"
    assert count(client, "jobs") == before


def test_a_key_is_kept_for_a_day(client: TestClient, job_request: dict):
    first = send(client, "old", "/jobs", json=job_request).json()["id"]
    for hours, same in ((23, True), (25, False)):
        rows(f"update idempotency_keys set created_at = now() - interval '{hours} hours' where key = 'old'")
        assert (send(client, "old", "/jobs", json=job_request).json()["id"] == first) is same


def test_a_lease_is_renewed_while_a_request_is_at_work(
    client: TestClient, job_request: dict, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keys, "_RENEW_SECONDS", 0.05)
    seen: list[Any] = []

    def slow(*_: object) -> None:
        for _ in range(2):
            seen.append(rows("select locked_until from idempotency_keys where key = 'slow'")[0].locked_until)
            time.sleep(0.5)

    monkeypatch.setattr("api.jobs.held.check_job", slow)
    assert send(client, "slow", "/jobs", json=job_request).status_code == 202
    assert seen[1] > seen[0]
