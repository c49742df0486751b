"""`make bench`: latency of the API, cost of the training step, speed of trainings and of registration.

It prints a table and writes `.run/bench.json`.

Speeds are ratios of things measured in turn in this one run, because machines differ and are noisy. Latencies are
medians, on a real database, over loopback, one request at a time.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import torch

from detrdistill.catalog import size_of
from detrdistill.data.dataset import Batch
from detrdistill.data.transforms import DetectorInput
from detrdistill.detectors.build import build_detector, make_trainable
from detrdistill.engine.components import build_criterion, build_methods, shape_of
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import ScheduledMethod, StepPosition, TeacherSupervision
from detrdistill.engine.teacher import Teacher
from detrdistill.outputs import Targets
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from examples.digits.make_dataset import make_dataset
from tests.benchmarks.registration import decoding_rate
from tests.benchmarks.training import DIGITS, EPOCHS
from tests.support.client import running_service
from tests.support.factories import methods_in
from tests.support.rectangles import write_rectangles
from tests.support.servers import start_servers, template_database
from tests.support.uploads import write_teacher, zip_of

RESULT = Path(".run/bench.json")
REQUESTS = 200
ROUNDS = 12


def main() -> None:
    """Measure everything."""
    result = {
        "machine": {"cpu_count": os.cpu_count(), "processor": platform.machine(), "device": _device()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "api": api_latency(),
        "step": step_cost(),
        "training": training_speed(),
        "registration": {"images_per_second_640x480": round(decoding_rate())},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    for section in ("api", "step", "training", "registration"):
        print(f"\n{section}")
        for name, value in result[section].items():
            print(f"  {name:<48} {value}")
    print(f"\nwritten to {RESULT}")


def api_latency() -> dict[str, Any]:
    """Milliseconds of one request at a time; the api runs as a process of its own."""
    with (
        tempfile.TemporaryDirectory() as name,
        start_servers(Path(name)) as servers,
        template_database(servers.postgres_url),
        running_service(servers, Path(name)) as service,
    ):
        return _request_latency(service.url, Path(name))


def _request_latency(url: str, folder: Path) -> dict[str, Any]:
    data = write_rectangles(folder / "rectangles", images={"train": 4, "val": 2})
    with httpx.Client(base_url=url) as client:
        files = {"files": ("data.zip", zip_of(data))}
        dataset = client.post("/datasets", data={"name": "bench"}, files=files).json()["id"]
        files = {"files": ("teacher.zip", zip_of(write_teacher(folder / "teacher")))}
        teacher = client.post("/checkpoints", data={"name": "bench"}, files=files).json()["id"]
        config = {"kind": "distill", "student": {"family": "rt-detr-v2", "size": "pico"}, "control": True}
        request = {"name": "bench", "dataset_id": dataset, "teacher_id": teacher, "config": config}

        def submit() -> str:
            answer = client.post("/jobs", json=request)
            assert answer.status_code == 202, answer.text
            return answer.json()["id"]

        job = submit()
        return {
            **_spread("POST /jobs", submit),
            **_spread("GET /jobs/{id}", lambda: client.get(f"/jobs/{job}")),
            **_spread("GET /jobs", lambda: client.get("/jobs")),
        }


def _spread(name: str, act: Callable[[], object]) -> dict[str, float]:
    times = [_seconds(act) * 1000 for _ in range(REQUESTS)]
    return {f"{name}, median ms": round(median(times), 1), f"{name}, p95 ms": round(quantiles(times, n=20)[-1], 1)}


def step_cost() -> dict[str, Any]:
    """Cost of a step of the default methods against teacher forward plus plain student step.

    A step is forward pass, losses and backward pass.
    """
    device = torch.device(_device())
    small = device.type == "cpu"
    side, batch_size = (128, 8) if small else (640, 16)
    teacher = _build("nano" if small else "r50", side, 1, device)
    student = _build("pico" if small else "r18", side, 0, device)
    make_trainable(student)
    config = RUN_CONFIG.validate_python({"kind": "distill", "data": {"image_size": side}})
    assert isinstance(config, DistillConfig)
    criterion = build_criterion(config.criterion, student)
    methods = build_methods(methods_in(config), shape_of(teacher), shape_of(student), criterion, 0)
    methods = [method.to(device) for method in methods]
    student.train()
    frozen = Teacher(teacher, tuple(range(10)))
    inputs = [DetectorInput(student.preprocessing)]
    supervision = TeacherSupervision(frozen, [ScheduledMethod(method) for method in methods])
    plain = LossStep(student, criterion, [], inputs, None, device)
    distilled = LossStep(student, criterion, [supervision], inputs, None, device)
    batch = _batch(side, batch_size)
    pixels = inputs[0].normalise(batch.inputs[0].to(device))

    def train(step: LossStep) -> Callable[[], None]:
        def act() -> None:
            step(batch, StepPosition(step=0, total_steps=1)).total.backward()

        return act

    parts = {"teacher": lambda: frozen(pixels), "plain": train(plain), "distilled": train(distilled)}
    for act in parts.values():
        act()
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(ROUNDS):  # in turn, so that a slow moment of the machine meets all of them
        for name, act in parts.items():
            times[name].append(_seconds(act, device))
    middle = {name: median(values) for name, values in times.items()}
    return {
        "teacher, student, image, batch": f"{'nano, pico' if small else 'r50, r18'}, {side}, {batch_size}",
        "teacher forward, ms": round(1000 * middle["teacher"], 1),
        "plain student step, ms": round(1000 * middle["plain"], 1),
        "distilled student step, ms": round(1000 * middle["distilled"], 1),
        "distilled / (teacher + plain)": round(middle["distilled"] / (middle["teacher"] + middle["plain"]), 3),
    }


def training_speed() -> dict[str, Any]:
    """The demo's trainings with the threads they choose: alone and beside a busy process, together and apart."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "digits"
        make_dataset(data)
        alone = {"side by side": _train(data), "one after the other": _train(data, "--apart")}
        with _busy_process():
            beside = {"side by side": _train(data), "one after the other": _train(data, "--apart")}
    rows: dict[str, Any] = {"threads": alone["side by side"]["threads"], "epochs": EPOCHS}
    for where, found in (("alone", alone), ("beside a busy process", beside)):
        for how, row in found.items():
            rows[f"{how}, {where}, s"] = round(row["seconds"], 1)
        apart = found["one after the other"]["step_ms"]
        rows |= {f"step of the {role}, {where}, ms": round(value, 1) for role, value in apart.items()}
        ratio = found["side by side"]["seconds"] / found["one after the other"]["seconds"]
        rows[f"side by side / one after the other, {where}"] = round(ratio, 3)
    slower = beside["side by side"]["seconds"] / alone["side by side"]["seconds"]
    return rows | {"beside a busy process / alone": round(slower, 3)}


def _train(data: Path, *options: str) -> dict[str, Any]:
    """In a process of its own, whose environment says nothing of threads."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-m", "tests.benchmarks.training", str(data), *options]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _busy_process() -> Iterator[None]:
    """A neighbour that wants one whole core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _methods() -> list[dict[str, Any]]:
    """What the demo ships with."""
    return json.loads((DIGITS / "distill.json").read_text())["methods"]


def _build(size: str, side: int, seed: int, device: torch.device) -> Any:
    classes = [str(digit) for digit in range(10)]
    return build_detector("rt-detr-v2", size_of("rt-detr-v2", size), classes, side, seed).to(device)


def _batch(side: int, count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    targets = tuple(
        Targets(torch.randint(0, 10, (4,), generator=generator), torch.rand(4, 4, generator=generator) * 0.3 + 0.2)
        for _ in range(count)
    )
    return Batch((images,), targets, tuple(range(count)))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _seconds(act: Callable[[], object], device: torch.device | None = None) -> float:
    start = time.perf_counter()
    act()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
