import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from api.db import get_engine
from api.jobs import repository, states
from api.jobs.events import StateChanged
from api.jobs.files import JobFile
from api.jobs.states import JobState
from detrdistill.events import CocoMetrics, StageChanged
from tests.support.events import step
from tests.support.problems import NOBODY, assert_problem


def submit(client: TestClient, request: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = client.post("/jobs", json=request, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


def start(job_id: str) -> states.Claim:
    """As a worker does."""
    with Session(get_engine()) as session, session.begin():
        owned = states.claim(session, job_id, "worker@test", lease_seconds=60)  # pyright: ignore
        assert owned is not None
        return owned


def test_a_job_is_stored_queued_with_every_default_filled_in(client: TestClient, job_request: dict):
    answer = client.post("/jobs", json=job_request)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}"
    assert (job["state"], job["kind"], job["attempt"], job["progress"]) == ("queued", "distill", 0, 0)
    assert job["config"]["training"]["epochs"] == 24
    assert [method["kind"] for method in job["config"]["teachers"]["teacher"]["methods"]] == [
        "matched_logits",
        "target_features",
        "query_prior",
    ]
    assert {method["variant"] for method in job["config"]["teachers"]["teacher"]["methods"]} == {"recommended"}
    assert job["config"]["teachers"]["teacher"]["methods"][0]["contrastive_weight"] == 0
    assert client.get(f"/jobs/{job['id']}").json() == job


def test_jobs_are_listed_newest_first_and_in_pages(client: TestClient, job_request: dict):
    made = [submit(client, job_request | {"name": f"job {index}"})["id"] for index in range(3)]
    first = client.get("/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == made[:0:-1]
    assert first["has_more"]
    second = client.get("/jobs", params={"limit": 2, "after": made[1]}).json()
    assert second["data"][0]["id"] == made[0]
    assert client.get("/jobs", params={"state": "succeeded"}).json() == {"data": [], "has_more": False}


def test_the_same_key_gives_the_same_job(client: TestClient, job_request: dict):
    key = {"Idempotency-Key": "once"}
    first, again = (submit(client, job_request, **key) for _ in range(2))
    assert first["id"] == again["id"]
    other = client.post("/jobs", json=job_request | {"name": "other"}, headers=key)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_mismatch"


def test_many_at_once_with_one_key_make_one_job(client: TestClient, job_request: dict):
    answers: list[Any] = []

    def send() -> None:
        answers.append(client.post("/jobs", json=job_request, headers={"Idempotency-Key": "together"}))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_queued_job_is_cancelled_at_once_and_only_once(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    for _ in range(2):
        answer = client.post(f"/jobs/{job['id']}/cancel")
        assert answer.status_code == 202
        assert answer.json()["state"] == "cancelled"
    with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        text = stream.read().decode()
    assert text.count("event: state") == 2


def test_a_running_job_is_asked_to_stop(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    owned = start(job["id"])
    answer = client.post(f"/jobs/{job['id']}/cancel").json()
    assert (answer["state"], answer["cancel_requested"]) == ("running", True)
    with Session(get_engine()) as session, session.begin():
        assert states.renew(session, owned, 60) is True


def test_events_are_replayed_after_an_id_and_end_with_the_job(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    owned = start(job["id"])
    with Session(get_engine()) as session, session.begin():
        assert states.update_progress(session, owned, {"stage": "prepare"})
        repository.add_events(session, owned.job_id, [StageChanged(stage="prepare")])
        states.finish(session, owned, JobState.FAILED, error='{"code": "x", "message": "y"}', result=None)
        repository.add_events(session, owned.job_id, [StateChanged(state=JobState.FAILED)])
    with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = parse(stream.read().decode())
    assert [event["event"] for event in events] == ["state", "stage", "state"]
    second = events[1]["id"]
    for how in ({"headers": {"Last-Event-ID": second}}, {"params": {"after": second}}):
        with client.stream("GET", f"/jobs/{job['id']}/events", **how) as stream:
            assert [event["id"] for event in parse(stream.read().decode())] == [events[2]["id"]]
    done = client.get(f"/jobs/{job['id']}/events", headers={"Last-Event-ID": events[2]["id"]})
    assert done.status_code == 204


def parse(text: str) -> list[dict[str, str]]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    return [block for block in blocks if "event" in block]


def test_curves_are_thinned_and_a_repeated_step_replaces_the_earlier(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    rows = [
        {
            "job_id": job["id"],
            "role": "student",
            "name": "total",
            "step": step,
            "epoch": step / 10,
            "value": float(step),
        }
        for step in range(1, 1001)
    ]
    with Session(get_engine()) as session, session.begin():
        repository.add_metrics(session, rows)
        repository.add_metrics(session, [rows[-1] | {"value": 5.0}])
    [curve] = client.get(f"/jobs/{job['id']}/metrics", params={"max_points": 10}).json()["series"]
    assert curve["name"] == "total"
    assert len(curve["values"]) == 10
    assert curve["values"][0] == pytest.approx(sum(range(1, 101)) / 100)
    assert curve["steps"][-1] == 1000
    [whole] = client.get(f"/jobs/{job['id']}/metrics", params={"max_points": 1000}).json()["series"]
    assert whole["values"][-1] == 5.0
    assert client.get(f"/jobs/{job['id']}/metrics", params={"role": "control"}).json()["series"] == []


def test_evaluations_are_stored_with_all_coco_numbers(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    numbers = dict.fromkeys(CocoMetrics.model_fields, 0.25) | {"per_class": {"red": 0.5, "green": 0.0}}
    with Session(get_engine()) as session, session.begin():
        row = {"job_id": job["id"], "role": "student", "step": 4, "epoch": 1.0} | numbers
        repository.add_evaluation(session, row)
        repository.add_evaluation(session, row | {"ap": 0.75})
    [evaluation] = client.get(f"/jobs/{job['id']}/metrics").json()["evaluations"]
    assert evaluation["ap"] == 0.75
    assert evaluation["per_class"] == {"red": 0.5, "green": 0.0}
    assert client.get(f"/jobs/{job['id']}").json()["ap"] == {"student": 0.75}


def artifacts(client: TestClient, job_id: str) -> dict[str, dict[str, Any]]:
    return {file["name"]: file for file in client.get(f"/jobs/{job_id}/artifacts").json()["data"]}


def test_a_list_leaves_the_ap_of_each_class_out(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    report = {"parameters": 1, "milliseconds_per_image": 1.0, "best_epoch": 1.0}
    numbers = dict.fromkeys(CocoMetrics.model_fields, 0.25) | {"per_class": {"red": 0.5, "green": 0.0}}
    found = {"device": "cpu", "versions": {}}
    found["teachers"] = {name: report | {"metrics": numbers} for name in ("teacher", "second")}
    found |= {role: report | {"metrics": numbers} for role in ("student", "control")}
    owned = start(job["id"])
    with Session(get_engine()) as session, session.begin():
        states.finish(session, owned, JobState.SUCCEEDED, error=None, result=json.dumps(found))
    detail = client.get(f"/jobs/{job['id']}").json()["result"]
    [row] = [row["result"] for row in client.get("/jobs").json()["data"] if row["id"] == job["id"]]
    assert "per_class" not in json.dumps(row)
    assert json.dumps(detail).count("per_class") == 4
    assert detail["teachers"]["second"]["metrics"]["per_class"] == {"red": 0.5, "green": 0.0}
    assert row["student"]["metrics"]["ap"] == 0.25


def test_an_artifact_is_downloaded_whole_or_in_ranges(client: TestClient, job_request: dict, storage_dir):
    job = submit(client, job_request)
    folder = storage_dir / "jobs" / job["id"] / "student"
    folder.mkdir(parents=True)
    content = bytes(range(256)) * 100
    (folder / "model.safetensors").write_bytes(content)
    digest = "3f" * 32
    time = (folder / "model.safetensors").stat().st_mtime_ns
    with Session(get_engine()) as session, session.begin():
        file = JobFile("student/model.safetensors", len(content), time, digest)
        repository.record_artifacts(session, job["id"], [file])
    artifact = artifacts(client, job["id"])["student/model.safetensors"]
    assert (artifact["size"], artifact["sha256"]) == (len(content), digest)
    whole = client.get(artifact["url"])
    assert whole.content == content
    assert whole.headers["etag"] == f'"{digest}"'
    assert whole.headers["repr-digest"].startswith("sha-256=:Pz8/")
    assert 'filename="model.safetensors"' in whole.headers["content-disposition"]
    part = client.get(artifact["url"], headers={"Range": "bytes=100-199", "If-Range": f'"{digest}"'})
    assert part.status_code == 206
    assert part.content == content[100:200]
    assert client.get(artifact["url"], headers={"Range": "bytes=999999-"}).status_code == 416
    assert client.get(artifact["url"], headers={"Range": "bytes=-3"}).content == content[-3:]
    assert client.get(artifact["url"], headers={"Range": "bytes=5-2"}).content == content
    other = client.get(artifact["url"], headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, content)
    (folder / "model.safetensors").unlink()
    gone = client.get(artifact["url"])
    assert gone.status_code == 410
    assert gone.json()["code"] == "file_gone"


def test_files_are_there_while_a_job_runs(client: TestClient, job_request: dict, storage_dir: Path):
    job = submit(client, job_request)
    start(job["id"])
    work = storage_dir / "jobs" / job["id"]
    assert artifacts(client, job["id"]) == {}
    (work / "student").mkdir(parents=True)
    (work / "student" / "config.json").write_text("{}")
    (work / "log.txt").write_text("first line")
    (work / "spec.json").write_text("not for users")
    checkpoint = work / "state" / "student" / "step-00000040.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"state")
    checkpoint.with_suffix(".sha256").write_text(hashlib.sha256(b"state").hexdigest())
    checkpoint.with_name("step-00000050.pt.part").write_bytes(b"half")
    files = artifacts(client, job["id"])
    names = {"student/config.json", "student.zip", "log.txt", "state/student/step-00000040.pt"}
    assert set(files) == names
    for file in files.values():
        content = client.get(file["url"]).content
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"]), file["name"]
    assert client.get(f"/jobs/{job['id']}/artifacts/spec.json").status_code == 404
    with (work / "log.txt").open("a") as log:
        log.write(", second line")
    assert client.get(files["log.txt"]["url"]).content == b"first line, second line"
    assert artifacts(client, job["id"])["log.txt"]["sha256"] != files["log.txt"]["sha256"]


def test_a_job_that_has_ended_is_retried(client: TestClient, job_request: dict):
    job = submit(client, job_request)
    active = assert_problem(client.post(f"/jobs/{job['id']}/retry"), 409)
    assert active["code"] == "job_active"
    client.post(f"/jobs/{job['id']}/cancel")
    answer = client.post(f"/jobs/{job['id']}/retry")
    assert answer.status_code == 202
    again = answer.json()
    assert (again["state"], again["cancel_requested"], again["finished_at"]) == ("queued", False, None)
    owned = start(job["id"])
    assert assert_problem(client.post(f"/jobs/{job['id']}/retry"), 409)["code"] == "job_active"
    with Session(get_engine()) as session, session.begin():
        rows = [{"role": "student", "name": "total", "step": 1, "epoch": 1.0, "value": 1.0}]
        repository.add_metrics(session, [row | {"job_id": owned.job_id} for row in rows])
        repository.add_events(session, owned.job_id, [step(1)])
        states.finish(session, owned, JobState.FAILED, error='{"code": "x", "message": "y"}', result=None)
    assert client.post(f"/jobs/{job['id']}/retry", json={"from": "checkpoint"}).status_code == 202
    assert len(client.get(f"/jobs/{job['id']}/metrics").json()["series"]) == 1, "it goes on with the curve it has"
    client.post(f"/jobs/{job['id']}/cancel")
    answer = client.post(f"/jobs/{job['id']}/retry", json={"from": "start"})
    assert (answer.status_code, answer.json()["error"]) == (202, None)
    assert client.get(f"/jobs/{job['id']}/metrics").json() == {"series": [], "evaluations": []}
    client.post(f"/jobs/{job['id']}/cancel")
    with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
        text = stream.read().decode()
    assert "event: step" not in text
    assert [how for how in ("checkpoint", "start") if f'"retry":"{how}"' in text] == ["checkpoint", "start"]


def test_a_retry_is_refused_where_it_means_nothing(client: TestClient, job_request: dict):
    assert_problem(client.post(f"/jobs/{NOBODY}/retry"), 404)
    job = submit(client, job_request)
    wrong = assert_problem(client.post(f"/jobs/{job['id']}/retry", json={"from": "scratch"}), 422, "/from")
    assert wrong["code"] == "request_invalid"
    with Session(get_engine()) as session, session.begin():
        states.finish(session, start(job["id"]), JobState.SUCCEEDED, error=None, result=None)
    assert assert_problem(client.post(f"/jobs/{job['id']}/retry"), 409)["code"] == "job_succeeded"


@pytest.mark.bad_input
@pytest.mark.parametrize("limit", [0, -1, True, "60", 1e9])
def test_a_limit_of_time_must_be_one(client: TestClient, job_request: dict, limit: object):
    answer = client.post("/jobs", json=job_request | {"max_runtime_seconds": limit})
    assert assert_problem(answer, 422, "/max_runtime_seconds")["code"] == "request_invalid"


def test_a_limit_of_time_is_shown(client: TestClient, job_request: dict):
    job = submit(client, job_request | {"max_runtime_seconds": 90})
    assert (job["max_runtime_seconds"], job["attempts_without_progress"]) == (90, 0)
    assert submit(client, job_request)["max_runtime_seconds"] is None
