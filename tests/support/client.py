"""A service with short leases, and a client that asserts what it gets."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.checking import checker
from tests.support.servers import RunningService, Servers, fresh_database
from tests.support.uploads import zip_of

PATIENCE = float(os.environ.get("DETRDISTILL_TEST_PATIENCE", "1"))
"""Waits may take so many times as long as on a machine that does nothing else."""
_LEASES = {
    "DETRDISTILL_LEASE_SECONDS": "6",
    "DETRDISTILL_RENEW_SECONDS": "0.5",
    "DETRDISTILL_REDISPATCH_SECONDS": "2",
    "DETRDISTILL_SWEEP_SECONDS": "0.5",
    "DETRDISTILL_STOP_GRACE_SECONDS": "60",
    "DETRDISTILL_CHECK_WAIT_SECONDS": "120",
    "OMP_NUM_THREADS": "1",
}


@contextmanager
def running_service(servers: Servers, folder: Path) -> Iterator[RunningService]:
    """Api, scheduler and a checker in this process on a database of their own; tests start the workers."""
    with fresh_database(servers.postgres_url) as database_url:
        environment = _LEASES | {
            "DATABASE_URL": database_url,
            "REDIS_URL": servers.redis_url,
            "DETRDISTILL_STORAGE_DIR": str(folder / "storage"),
        }
        running = RunningService(folder, servers, database_url, environment)
        try:
            running.start_api()
            running.start_scheduler()
            with checker(running.settings):
                yield running
        finally:
            running.stop()


class Client:
    """What the tests ask of the service."""

    def __init__(self, url: str):
        self.http = httpx.Client(base_url=url, timeout=30)

    def get(self, path: str, **params: Any) -> Any:
        answer = self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, kind: str, name: str, folder: Path) -> str:
        answer = self.http.post(f"/{kind}", data={"name": name}, files={"files": ("upload.zip", zip_of(folder))})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def submit(self, **request: Any) -> str:
        answer = self.http.post("/jobs", json={"name": "test"} | request)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def wait(self, job_id: str, until: Callable[[dict[str, Any]], bool], seconds: float = 120) -> dict[str, Any]:
        deadline = time.monotonic() + seconds * PATIENCE
        while not until(job := self.get(f"/jobs/{job_id}")):
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
        return job

    def wait_for_end(self, job_id: str, seconds: float = 180) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["state"] in ("succeeded", "failed", "cancelled"), seconds)

    def events(self, job_id: str) -> list[tuple[str, dict[str, Any]]]:
        """All events of a job that has ended."""
        with self.http.stream("GET", f"/jobs/{job_id}/events") as stream:
            text = stream.read().decode()
        found = []
        for block in text.split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                found.append((fields["event"], json.loads(fields["data"])))
        return found

    def steps(self, job_id: str) -> list[int]:
        """Student steps in the order they were reported."""
        return [data["step"] for kind, data in self.events(job_id) if kind == "step" and data["role"] == "student"]
