"""One stream for several jobs: `GET /events`."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.db import get_engine
from api.jobs import repository
from detrdistill.events import StageChanged
from tests.support.problems import assert_problem


@pytest.fixture
def ended_jobs(client: TestClient, job_request: dict) -> Iterator[list[str]]:
    """Two jobs that have ended, with events that follow each other in turns."""
    ids = [client.post("/jobs", json=job_request).json()["id"] for _ in range(2)]
    with Session(get_engine()) as session:
        for stage in ("prepare", "train_student"):
            for job_id in ids:
                repository.add_events(session, UUID(job_id), [StageChanged(stage=stage)])
                session.commit()
    for job_id in ids:
        assert client.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    return ids


def events_of(client: TestClient, jobs: list[str], **how: Any) -> list[dict[str, Any]]:
    with client.stream("GET", "/events", params={"job": jobs} | how.pop("params", {}), **how) as stream:
        assert stream.status_code == 200, stream.read()
        assert stream.headers["content-type"].startswith("text/event-stream")
        text = stream.read().decode()
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [{**block, "data": json.loads(block["data"])} for block in blocks if "event" in block]


def test_one_stream_has_the_events_of_each_job_once_and_in_its_order(client: TestClient, ended_jobs: list[str]):
    events = events_of(client, ended_jobs)
    for job_id in ended_jobs:
        own = [event for event in events if event["data"]["job_id"] == job_id]
        assert [event["event"] for event in own] == ["state", "stage", "stage", "state"]
        assert [event["data"].get("stage") for event in own] == [None, "prepare", "train_student", None]
    assert len(events) == 8


def test_the_id_of_an_event_says_where_the_reader_stands_in_each_job(client: TestClient, ended_jobs: list[str]):
    events = events_of(client, ended_jobs)
    for index, event in enumerate(events[:-1]):
        for how in (
            {"headers": {"Last-Event-ID": event["id"]}},
            {"params": {"after": event["id"].split(",")}},
            {"params": {"after": [0, 0]}, "headers": {"Last-Event-ID": event["id"]}},
        ):
            assert events_of(client, ended_jobs, **how) == events[index + 1 :], how
    done = client.get("/events", params={"job": ended_jobs}, headers={"Last-Event-ID": events[-1]["id"]})
    assert (done.status_code, done.content) == (204, b"")


def test_a_stream_of_one_job_has_its_plain_ids(client: TestClient, ended_jobs: list[str]):
    events = events_of(client, ended_jobs[:1])
    assert all(event["id"].isdigit() for event in events)


@pytest.mark.bad_input
@pytest.mark.parametrize("identifier", ["1,2", "x", "-1", "1,", "9" * 19])
def test_an_id_of_another_list_of_jobs_is_refused(client: TestClient, ended_jobs: list[str], identifier: str):
    answer = client.get("/events", params={"job": ended_jobs[:1]}, headers={"Last-Event-ID": identifier})
    assert_problem(answer, 422, "/Last-Event-ID")


@pytest.mark.bad_input
def test_what_names_no_jobs_is_refused(client: TestClient, ended_jobs: list[str]):
    first = ended_jobs[0]
    for params, status, pointer in [
        ({}, 422, "/job"),
        ({"job": "x"}, 422, "/job"),
        ({"job": [first, first]}, 422, "/job"),
        ({"job": [str(uuid4()) for _ in range(51)]}, 422, "/job"),
        ({"job": ended_jobs, "after": [1]}, 422, "/after"),
        ({"job": first, "after": [-1]}, 422, "/after"),
        ({"job": first, "after": [2**63]}, 422, "/after"),
        ({"job": [first, str(uuid4())]}, 404, None),
    ]:
        assert_problem(client.get("/events", params=params), status, *([pointer] if pointer else []))
