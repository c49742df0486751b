"""The broker loses messages and nobody announces jobs; the row is the job."""

import time

import pytest
import redis

from tests.support.client import Client
from tests.support.servers import RunningService

pytestmark = pytest.mark.fault


def test_an_emptied_broker_loses_no_job(service: RunningService, client: Client, short_job: dict):
    short_job["config"]["control"] = False
    jobs = [client.submit(**short_job) for _ in range(2)]
    time.sleep(2)
    connection = redis.Redis.from_url(
        service.environment["REDIS_URL"].replace("redis+socket://", "unix://").partition("?")[0]
    )
    connection.flushdb()
    service.start_worker()
    for job_id in jobs:
        job = client.wait_for_end(job_id)
        assert (job["state"], job["attempt"]) == ("succeeded", 1)


@pytest.mark.slow
def test_a_job_submitted_while_nothing_else_runs_is_not_forgotten(
    service: RunningService, client: Client, short_job: dict
):
    service.processes["scheduler"].stop()
    short_job["config"]["control"] = False
    job_id = client.submit(**short_job)
    service.start_worker()
    time.sleep(1)
    assert client.get(f"/jobs/{job_id}")["state"] == "queued"
    service.start_scheduler()
    service.start("another-scheduler", "worker.scheduler")
    assert client.wait_for_end(job_id)["state"] == "succeeded"
