"""Twenty rounds of random kills and freezes: every job once, every point once, and what the undisturbed run finds."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.client import PATIENCE, Client, running_service
from tests.support.servers import RunningService, Servers, template_database
from tests.support.uploads import write_teacher
from tests.worker.test_faults import pid_of
from tests.worker.test_jobs import training_process
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.processes import Service
from worker.embedded.valkey import EmbeddedValkey

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(5400)]
ROUNDS = int(os.environ.get("DETRDISTILL_TEST_KILLS", "20"))
SEED = int(os.environ.get("DETRDISTILL_TEST_SEED", "0"))
EPOCHS = 16
LEASE_SECONDS = 12
STALL_SECONDS = 15 * PATIENCE
WORKERS = ("first", "second")
CONFIG = {
    "kind": "distill",
    "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10},
    "teacher": {"min_ap": 0},
    "control": True,
    "data": {"image_size": 64},
    "training": {"epochs": EPOCHS, "batch_size": 4, "lr": 1e-3},
    "evaluation": {"every_epochs": 2},
}


@dataclass
class Disturbed:
    """A service with servers of its own, all of which may be killed."""

    running: RunningService
    postgres: EmbeddedPostgres
    valkey: EmbeddedValkey
    client: Client
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))

    def start_worker(self, name: str) -> None:
        self.running.start_worker(name)

    def kill(self, service: Service) -> None:
        assert service._process is not None
        os.killpg(service._process.pid, signal.SIGKILL)
        service._process.wait()

    # ---- what may happen

    def kill_trainer(self, job_id: str) -> None:
        os.kill(training_process(job_id), signal.SIGKILL)

    def freeze_trainer(self, job_id: str) -> None:
        os.kill(training_process(job_id), signal.SIGSTOP)

    def kill_worker(self, job_id: str) -> None:
        name = self.worker_of(job_id)
        os.kill(pid_of(self.running, name), signal.SIGKILL)
        self.running.processes[name]._process.wait()  # pyright: ignore
        self.start_worker(name)

    def freeze_worker(self, job_id: str) -> None:
        """With its pool process, for longer than a lease; then it wakes."""
        group = pid_of(self.running, self.worker_of(job_id))
        os.killpg(group, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 6)
        os.killpg(group, signal.SIGCONT)

    def drain_worker(self, job_id: str) -> None:
        name = self.worker_of(job_id)
        self.running.processes[name].stop()
        self.start_worker(name)

    def kill_scheduler(self, _: str) -> None:
        self.kill(self.running.processes["scheduler"])
        self.running.start_scheduler()

    def freeze_scheduler(self, _: str) -> None:
        group = pid_of(self.running, "scheduler")
        os.killpg(group, signal.SIGSTOP)
        time.sleep(5)
        os.killpg(group, signal.SIGCONT)

    def kill_database(self, _: str) -> None:
        self.kill(self.postgres.service)
        time.sleep(self.dice.uniform(0, 3))
        self.postgres.start()

    def kill_broker(self, _: str) -> None:
        self.kill(self.valkey.service)
        time.sleep(self.dice.uniform(0, 3))
        self.valkey.start()

    # ---- what is seen

    def worker_of(self, job_id: str) -> str:
        return str(self.job(job_id)["worker"]).partition("@")[0]

    def job(self, job_id: str) -> dict[str, Any]:
        """The job, however long the database is away."""
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = self.client.http.get(f"/jobs/{job_id}")
                if answer.status_code == 200:
                    return answer.json()
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def until(self, job_id: str, seen: Callable[[dict[str, Any]], bool], seconds: float = 240) -> dict[str, Any]:
        deadline = time.monotonic() + seconds * PATIENCE
        while not (seen(job := self.job(job_id)) or job["state"] in ("succeeded", "failed", "cancelled")):
            assert time.monotonic() < deadline, job
            time.sleep(0.2)
        return job


@contextmanager
def disturbed(folder: Path) -> Iterator[Disturbed]:
    with ExitStack() as stack:
        postgres = EmbeddedPostgres(folder, folder / "postgres.log")
        stack.callback(postgres.service.stop)
        postgres.start()
        valkey = EmbeddedValkey(folder, folder / "valkey.log")
        stack.callback(valkey.service.stop)
        valkey.start()
        stack.enter_context(template_database(postgres.url))
        running = stack.enter_context(running_service(Servers(postgres.url, valkey.url), folder))
        running.environment = dict(running.environment) | {
            "DETRDISTILL_STALL_SECONDS": str(STALL_SECONDS),
            "DETRDISTILL_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        client = Client(running.url)
        stack.callback(client.http.close)
        for name in WORKERS:
            running.start_worker(name)
        yield Disturbed(running, postgres, valkey, client)


def found(client: Client, folder: Path, job_id: str) -> dict[str, Any]:
    """All that a job has found, but for its speed."""
    metrics = client.get(f"/jobs/{job_id}/metrics", max_points=5000)
    work = folder / "storage" / "jobs" / job_id
    return {
        "weights": {role: (work / role / "model.safetensors").read_bytes() for role in ("student", "control")},
        "curves": {
            (curve["role"], curve["name"]): (curve["steps"], curve["epochs"], curve["values"])
            for curve in metrics["series"]
            if curve["name"] != "images_per_second"
        },
        "evaluations": metrics["evaluations"],
        "ap": {role: row["metrics"] for role, row in client.get(f"/jobs/{job_id}")["result"].items() if _is_row(row)},
    }


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and "metrics" in value


def assert_once(client: Client, job_id: str) -> None:
    """Every step, evaluation and checkpoint is told once, and so is the end."""
    events = client.events(job_id)
    steps_per_role = 3 * EPOCHS
    for role in ("student", "control"):
        told = [data["step"] for kind, data in events if kind == "step" and data["role"] == role]
        assert told == list(range(1, steps_per_role + 1)), role
        for kind_of_event in ("evaluated", "checkpoint"):
            told = [data["step"] for kind, data in events if kind == kind_of_event and data["role"] == role]
            assert len(told) == len(set(told)), (role, kind_of_event)
    assert [data["step"] for kind, data in events if kind == "evaluated" and data["role"] == "teacher"] == [0]
    states = [data["state"] for kind, data in events if kind == "state"]
    assert states[-1] == "succeeded"
    assert states.count("succeeded") == 1
    assert [kind for kind, _ in events].count("finished") == 1


def test_random_kills_change_nothing(tmp_path: Path, rectangles: Path):
    if {"DATABASE_URL", "REDIS_URL"} & set(os.environ):
        pytest.skip("kills its servers: needs embedded ones")
    with disturbed(tmp_path) as service:
        client = service.client
        request = {
            "dataset_id": client.upload("datasets", "rectangles", rectangles),
            "teacher_id": client.upload("checkpoints", "teacher", write_teacher(tmp_path / "teacher")),
            "config": CONFIG,
        }
        undisturbed = client.submit(**request)
        job = client.wait_for_end(undisturbed, seconds=600)
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job["error"]
        assert_once(client, undisturbed)
        expected = found(client, tmp_path, undisturbed)
        kinds = [
            service.kill_trainer,
            service.freeze_trainer,
            service.kill_worker,
            service.freeze_worker,
            service.drain_worker,
            service.kill_scheduler,
            service.freeze_scheduler,
            service.kill_database,
            service.kill_broker,
        ]
        done = 0
        while done < ROUNDS:
            job_id = client.submit(**request)
            while done < ROUNDS:
                if not under_way(service, job_id):
                    break
                act = kinds[done] if done < len(kinds) else service.dice.choice(kinds)
                try:
                    act(job_id)
                except (AssertionError, ProcessLookupError):
                    continue  # the training ended in this moment
                done += 1
                print(f"round {done}: {act.__name__}, job {job_id}, {service.job(job_id)['progress']:.0%}", flush=True)
            job = service.until(job_id, lambda _: False, seconds=900)
            assert job["state"] == "succeeded", job
            assert_once(client, job_id)
            again = found(client, tmp_path, job_id)
            assert again["ap"] == expected["ap"]
            assert again["evaluations"] == expected["evaluations"]
            assert again["curves"] == expected["curves"]
            assert again["weights"] == expected["weights"]
            print(f"job {job_id}: the same weights and numbers after {job['attempt']} attempts", flush=True)


def under_way(service: Disturbed, job_id: str) -> bool:
    """Wait for a random while after the job has trained a step more; false if it has ended."""
    before = service.job(job_id)["attempt"], steps(service, job_id)

    def is_training(job: dict[str, Any]) -> bool:
        last_chance = job["attempts_without_progress"] >= 3  # three in a row without a checkpoint end a job, by right
        moved = (job["attempt"], steps(service, job_id)) != before
        return job["state"] == "running" and moved and not last_chance and trains(job_id)

    job = service.until(job_id, is_training)
    time.sleep(service.dice.uniform(0, 3))
    return job["state"] in ("queued", "running")


def trains(job_id: str) -> bool:
    try:
        return training_process(job_id) > 0
    except AssertionError:
        return False


def steps(service: Disturbed, job_id: str) -> int:
    answer = service.client.http.get(f"/jobs/{job_id}/metrics", params={"name": "total", "max_points": 5000})
    return sum(len(curve["steps"]) for curve in answer.json()["series"]) if answer.status_code == 200 else -1
