"""The disk of the service is full or does not answer: said so, and nothing is kept."""

import errno
import os
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.jobs import artifacts
from api.storage import Storage
from tests.api.test_jobs import submit
from tests.support.problems import assert_problem
from tests.support.uploads import zip_of

pytestmark = pytest.mark.fault
CASES = [
    (errno.ENOSPC, 507, "storage_full"),
    (errno.EDQUOT, 507, "storage_full"),
    (errno.EROFS, 503, "storage_unavailable"),
    (errno.EIO, 503, "storage_unavailable"),
]


@pytest.mark.parametrize(("number", "status", "code"), CASES)
def test_an_upload_that_finds_no_place(
    client: TestClient,
    rectangles: Path,
    monkeypatch: pytest.MonkeyPatch,
    nothing_is_stored: None,
    number: int,
    status: int,
    code: str,
):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/srv/store/staging/x")

    monkeypatch.setattr(Storage, "publish", fail)
    answer = client.post("/datasets", data={"name": "r"}, files={"files": ("r.zip", zip_of(rectangles))})
    problem = assert_problem(answer, status)
    assert problem["code"] == code
    assert "/srv" not in answer.text


def test_files_that_cannot_be_read(client: TestClient, job_request: dict, monkeypatch: pytest.MonkeyPatch):
    job = submit(client, job_request)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/srv/store/jobs/x")

    monkeypatch.setattr(artifacts, "job_files", fail)
    answer = client.get(f"/jobs/{job['id']}/artifacts")
    assert assert_problem(answer, 503)["code"] == "storage_unavailable"
    assert "/srv" not in answer.text
