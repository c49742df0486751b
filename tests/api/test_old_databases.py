"""Databases as earlier versions left them are brought to the newest schema, and everything in them can be read."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg.rows import dict_row
from sqlalchemy.orm import Session

from api.app import create_app
from api.db import get_engine
from api.storage import Storage
from detrdistill.schema.run import RUN_CONFIG
from tests.api.conftest import settings_of
from tests.support.servers import Servers, fresh_database
from worker.specs import build_spec

ROOT = Path(__file__).resolve().parents[2]
DUMPS = sorted((ROOT / "tests" / "fixtures").glob("database_*.sql"))
OLD_WORDS = ("further_teachers", "further_teacher_ids", "/config/methods", "/config/teacher/", '"/teacher_id"')


@pytest.fixture(scope="module", params=DUMPS, ids=lambda path: path.stem.removeprefix("database_"))
def upgraded(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestClient, list[dict[str, Any]]]]:
    """An api on the upgraded database, and the jobs as they were before."""
    with fresh_database(servers.postgres_url, "template0") as url:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            connection.execute(request.param.read_text())
            before = connection.execute("select * from public.jobs order by id").fetchall()
        alembic = [sys.executable, "-m", "alembic", "-c", str(ROOT / "alembic.ini"), "upgrade", "head"]
        environment = os.environ | {"DATABASE_URL": url}
        done = subprocess.run(alembic, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
        storage, imports = tmp_path_factory.mktemp("storage"), tmp_path_factory.mktemp("imports")
        with settings_of(url, storage, imports), TestClient(create_app()) as client:
            yield client, before


def test_every_job_can_be_read(upgraded: tuple[TestClient, list[dict[str, Any]]]):
    client, before = upgraded
    assert len(before) >= 16
    listed = client.get("/jobs", params={"limit": 100}).json()["data"]
    assert {job["id"] for job in listed} == {str(job["id"]) for job in before}
    for job in before:
        found = client.get(f"/jobs/{job['id']}").json()
        assert (found["name"], found["state"], found["kind"]) == (job["name"], job["state"], job["kind"])
        assert client.get(f"/jobs/{job['id']}/metrics").status_code == 200
        assert not [word for word in OLD_WORDS if word in json.dumps(found)]


def test_configurations_keep_their_values(upgraded: tuple[TestClient, list[dict[str, Any]]]):
    client, before = upgraded
    for job in before:
        old, new = job["config"], client.get(f"/jobs/{job['id']}").json()["config"]
        for section in {"student", "data", "training", "criterion", "evaluation", "control", "recipe"} & old.keys():
            assert new[section] == old[section], (job["name"], section)
        if job["kind"] != "distill":
            continue
        wanted = {"teacher": old["teacher"] | {"methods": old["methods"]}}
        wanted |= {
            name: further["teacher"] | {"methods": further["methods"]}
            for name, further in old["further_teachers"].items()
        }
        assert {name: _without_new(teacher, wanted[name]) for name, teacher in new["teachers"].items()} == wanted


def test_checkpoints_and_results_are_named_by_their_teacher(upgraded: tuple[TestClient, list[dict[str, Any]]]):
    client, before = upgraded
    several = 0
    for job in before:
        found = client.get(f"/jobs/{job['id']}").json()
        ids = {} if job["teacher_id"] is None else {"teacher": str(job["teacher_id"])}
        assert found["teacher_ids"] == ids | job["further_teacher_ids"]
        if job["kind"] == "train" or job["result"] is None:
            continue
        reports = {"teacher": job["result"]["teacher"]} | job["result"]["further_teachers"]
        assert {name: row["metrics"]["ap"] for name, row in found["result"]["teachers"].items()} == {
            name: row["metrics"]["ap"] for name, row in reports.items() if row is not None
        }
        metrics = client.get(f"/jobs/{job['id']}/metrics").json()
        evaluated = {row["teacher"]: row["ap"] for row in metrics["evaluations"] if row["role"] == "teacher"}
        assert evaluated == {name: row["metrics"]["ap"] for name, row in reports.items() if row is not None}
        if len(reports) > 1:
            several += 1
            names = {series["name"].split(".")[0] for series in metrics["series"]}
            assert {"teacher", *job["result"]["further_teachers"]} <= names
            assert not names & {"matched_logits", "target_features", "query_prior"}
    assert several == 1


def test_errors_and_held_jobs_point_into_the_new_form(upgraded: tuple[TestClient, list[dict[str, Any]]]):
    client, before = upgraded
    found = [client.get(f"/jobs/{job['id']}").json() for job in before]
    pointers = {job["error"]["pointer"] for job in found if job["error"]}
    assert "/config/teachers/teacher/min_ap" in pointers
    assert {pointer for job in found for pointer in job["waiting_for"]} <= {"/teacher_ids/late"}


def test_a_worker_can_be_told_what_to_do(upgraded: tuple[TestClient, list[dict[str, Any]]], tmp_path: Path):
    client, before = upgraded
    queued = [job for job in before if job["state"] == "queued"]
    assert len(queued) >= 9
    with Session(get_engine()) as session:
        for job in queued:
            spec = build_spec(session, Storage(tmp_path), job["id"], journal=tmp_path, sequence=0, silence_seconds=1.0)
            config = client.get(f"/jobs/{job['id']}").json()["config"]
            assert spec.config == RUN_CONFIG.validate_python(config)
            assert set(spec.paths.teachers) == set(client.get(f"/jobs/{job['id']}").json()["teacher_ids"])


def test_logs_can_be_followed(upgraded: tuple[TestClient, list[dict[str, Any]]]):
    client, before = upgraded
    for job in before:
        if job["state"] in ("succeeded", "failed", "cancelled"):
            with client.stream("GET", f"/jobs/{job['id']}/events") as stream:
                text = "".join(stream.iter_text())
            assert "event: state" in text
            assert not [word for word in OLD_WORDS if word in text], job["name"]


def _without_new(found: Any, known: Any) -> Any:
    """What a later version knows of a stored value, without the fields that the earlier one did not have."""
    if isinstance(found, dict) and isinstance(known, dict):
        return {key: _without_new(value, known[key]) for key, value in found.items() if key in known}
    if isinstance(found, list) and isinstance(known, list):
        return [_without_new(*pair) for pair in zip(found, known, strict=True)]
    return found
