"""`make demo`: the whole way, from data and teacher to weights that were checked, through the REST API.

Starts the embedded stack unless it is running, uploads, submits a distillation with control, follows it, downloads
the student, loads it with `transformers`, evaluates it again and prints one table.

    make demo                                    handwritten digits and the teacher in examples/digits
    make demo DATASET=dir TEACHER=dir            your COCO folder and your checkpoint
    make demo DATASET=dir TEACHER=dir CONFIG=job.json EPOCHS=60
"""

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import connect_sse
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from detrdistill.catalog import CATALOG
from detrdistill.engine.processes import never_spin
from detrdistill.errors import DetrDistillError
from detrdistill.files.checkpoints import inspect_checkpoint
from detrdistill.files.coco import find_annotations, find_root

HERE = Path(__file__).resolve().parent
STATE = Path(".run")
WORK = STATE / "demo"
_STAGES = {
    "prepare": "reading data and weights",
    "teacher_gate": "evaluating the teacher",
    "train_student": "training the student",
    "train_control": "training the control",
    "export": "exporting and verifying",
}
console = Console()


class DemoError(Exception):
    """The demo cannot go on, and why."""


def main() -> int:
    """Run the demo; exit status 0 if the downloaded weights reproduce the reported AP."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, help="COCO folder; default: digits, made on the spot")
    parser.add_argument("--teacher", type=Path, help="checkpoint folder; default: examples/digits/teacher")
    parser.add_argument("--config", type=Path, help="configuration of the job; default: fits data and teacher")
    parser.add_argument("--epochs", type=int, help="overrides the configuration")
    parser.add_argument("--seed", type=int, help="overrides the configuration")
    parser.add_argument("--port", type=int, default=8000, help="port of the service if it is started")
    options = parser.parse_args()
    if (options.dataset is None) != (options.teacher is None):
        parser.error("give both DATASET and TEACHER, or neither")
    never_spin(os.environ)
    try:
        return run(options)
    except (DemoError, DetrDistillError, httpx.HTTPError) as error:
        console.print(f"[red]demo: {error}[/red]")
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; the job was cancelled")
        return 130


def run(options: argparse.Namespace) -> int:
    """All the steps, with a live line for each."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=console))
        with working(progress, "preparing data"):
            dataset, teacher = options.dataset, options.teacher
            if dataset is None:
                dataset, teacher = digits(), HERE / "digits" / "teacher"
            request = {"name": f"demo: {dataset.name}", "config": configuration(options, dataset, teacher)}
        with working(progress, "starting the service"):
            url = stack.enter_context(service(options.port))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=httpx.Timeout(60, read=600)))
        with working(progress, "uploading"):
            request["dataset_id"] = upload(client, "datasets", dataset)
            request["teacher_id"] = upload(client, "checkpoints", teacher)
        job = checked(client.post("/jobs", json=request)).json()
        progress.console.print(f"\n  watch it live: [bold]{url}/view/jobs/{job['id']}[/bold]\n")
        with cancelled_if_left(client, job["id"]):
            follow(client, job["id"], progress)
        job = checked(client.get(f"/jobs/{job['id']}")).json()
        if job["state"] != "succeeded":
            error = job["error"] or {"message": f"The job was {job['state']}.", "hint": ""}
            raise DemoError(f"{error['message']} {error['hint']}")
        with working(progress, "downloading"):
            folder = download(client, job["id"])
        with working(progress, "evaluating the download"):
            measured = evaluate_download(folder, dataset)
    return summary(job["result"], folder, measured)


@contextmanager
def cancelled_if_left(client: httpx.Client, job_id: str) -> Iterator[None]:
    """Cancel the job if the demo does not wait for its end, lest the next demo queue behind it."""
    try:
        yield
    except BaseException:
        client.post(f"/jobs/{job_id}/cancel")
        raise


@contextmanager
def working(progress: Progress, what: str) -> Iterator[None]:
    """A line that is live while something without steps is done."""
    task = progress.add_task(what, total=None, note="")
    yield
    progress.update(task, total=1, completed=1)


def digits() -> Path:
    """The default dataset, made once."""
    folder = WORK / "digits"
    if not (folder / "val.json").is_file():
        from examples.digits.make_dataset import make_dataset  # noqa: PLC0415  scikit-learn loads slowly

        make_dataset(folder)
    return folder


def configuration(options: argparse.Namespace, dataset: Path, teacher: Path) -> dict[str, Any]:
    """The job's configuration: given, that of the digits, or a small student of the teacher's family."""
    if options.config is not None:
        config = json.loads(options.config.read_text())
    else:
        config = json.loads((HERE / "digits" / "distill.json").read_text())
        if options.dataset is not None:
            card = inspect_checkpoint(teacher)
            config["student"] = {"family": card.family, "size": next(iter(CATALOG[card.family].sizes))}
            config["data"] = {"image_size": card.image_size[1] if card.image_size else 640}
            images = len(json.loads(find_annotations(find_root(dataset), "train").read_bytes())["images"])
            config["training"]["batch_size"] = 8
            config["training"]["epochs"] = max(2, min(60, 12_000 // images))
            config["evaluation"] = {"every_epochs": max(1, config["training"]["epochs"] // 10)}
    for name in ("epochs", "seed"):
        if getattr(options, name) is not None:
            config["training"][name] = getattr(options, name)
    return config


@contextmanager
def service(port: int) -> Iterator[str]:
    """URL of the service: of the stack that is running, or of one started for the demo and stopped after it."""
    if (url := running_service()) is not None:
        yield url
        return
    if not is_free(port):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    log = WORK / "service.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        command = [sys.executable, "-m", "worker.embedded", "--state", str(STATE), "--port", str(port)]
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        while (url := running_service()) is None:
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            raise DemoError(f"the service did not start: {log.read_text()}")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def is_free(port: int) -> bool:
    """Nothing listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def running_service() -> str | None:
    """URL of the embedded stack, if it answers."""
    try:
        url = json.loads((STATE / "up.json").read_text())["url"]
        return url if httpx.get(f"{url}/health", timeout=5).status_code == 200 else None
    except (FileNotFoundError, ValueError, httpx.HTTPError):
        return None


def upload(client: httpx.Client, kind: str, folder: Path) -> str:
    """Send a folder as one zip, wait until it has been checked and return the id it got."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.suffix != ".onnx":
                    archive.write(path, path.relative_to(folder))
        file.seek(0)
        made = checked(
            client.post(f"/{kind}", data={"name": folder.name}, files={"files": ("upload.zip", file)})
        ).json()
    while made["state"] == "checking":
        time.sleep(1)
        made = checked(client.get(f"/{kind}/{made['id']}")).json()
    if made["state"] == "refused":
        raise DemoError(f"{folder}: {made['error']['message']} {made['error']['hint']}")
    return made["id"]


def checked(response: httpx.Response) -> httpx.Response:
    """The response, unless it is a problem."""
    if response.is_error:
        problem = response.json()
        hints = " ".join(error["hint"] for error in problem["errors"])
        raise DemoError(f"{problem['detail']} {hints}")
    return response


def follow(client: httpx.Client, job_id: str, progress: Progress) -> None:
    """Show the job's events until it ends, across lost connections."""
    task = progress.add_task("waiting for a worker", total=1.0, note="")
    last = "0"
    while True:
        try:
            with connect_sse(client, "GET", f"/jobs/{job_id}/events", headers={"Last-Event-ID": last}) as source:
                if source.response.status_code == 204:
                    break
                for event in source.iter_sse():
                    last = event.id or last
                    if event.data:  # not so the server's advice on when to reconnect
                        show(progress, task, event.event, event.json())
        except httpx.TransportError:
            continue
    progress.update(task, completed=1.0, note="")


def show(progress: Progress, task: Any, kind: str, data: dict[str, Any]) -> None:
    """One event as a change of the bar, or as a line above it."""
    match kind:
        case "stage":
            progress.update(task, description=_STAGES[data["stage"]])
        case "step":
            note = f"{data['eta_seconds']:.0f} s left, loss {data['losses']['total']:.2f}"
            progress.update(task, completed=data["progress"], note=note)
        case "evaluated":
            progress.console.print(f"  {data['role']:<8} epoch {data['epoch']:>4.1f}  AP {data['metrics']['ap']:.4f}")
        case "state" if "error" in data:
            progress.console.print(f"  {data['state']}: {data['error']['message']}")
        case _:
            pass


def download(client: httpx.Client, job_id: str) -> Path:
    """Fetch `student.zip`, check its SHA-256 and unpack it."""
    files = checked(client.get(f"/jobs/{job_id}/artifacts")).json()["data"]
    wanted = next(file for file in files if file["name"] == "student.zip")
    target = WORK / job_id / "student.zip"
    target.parent.mkdir(parents=True, exist_ok=True)
    with client.stream("GET", wanted["url"]) as response, target.open("wb") as output:
        for chunk in response.iter_bytes():
            output.write(chunk)
    if hashlib.sha256(target.read_bytes()).hexdigest() != wanted["sha256"]:
        raise DemoError("the download is damaged: its SHA-256 is not the one the service gave")
    with zipfile.ZipFile(target) as archive:
        archive.extractall(target.parent)
    return target.parent / "student"


def evaluate_download(folder: Path, dataset: Path) -> float:
    """AP of the downloaded weights, measured with transformers and pycocotools alone."""
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415  torch loads slowly

    from examples.evaluate import evaluate  # noqa: PLC0415

    disable_progress_bar()
    root = find_root(dataset)
    annotations = find_annotations(root, "val")
    images = next(path for path in (root / "images", root / "val2017", annotations.parent, root) if path.is_dir())
    return evaluate(folder, annotations, images)[0]


def summary(result: dict[str, Any], folder: Path, measured: float) -> int:
    """Print the table; 0 if the download is what was reported."""
    table = Table(title="distilled through the REST API", title_justify="left")
    for name in ("", "AP", "AP50", "parameters", "ms per image"):
        table.add_column(name, justify="left" if name == "" else "right")
    rows = result["teachers"] | {role: result[role] for role in ("student", "control")}
    for name, row in rows.items():
        if row is not None:
            numbers = (f"{row['metrics']['ap']:.4f}", f"{row['metrics']['ap50']:.4f}", f"{row['parameters']:,}")
            table.add_row(name, *numbers, f"{row['milliseconds_per_image']:.1f}")
    console.print(table)
    if result["verdict"] is not None:
        console.print(f"[bold red]{escape(result['verdict'])}[/bold red]")
    elif result["kd_gain"] is not None:
        console.print(f"KD gain (student minus control): [bold]{100 * result['kd_gain']:+.1f} AP[/bold]")
    reported = result["student"]["metrics"]["ap"]
    console.print(f"downloaded weights: {folder}\n  AP reported {reported:.4f}, AP of the download {measured:.4f}")
    console.print("`make up` keeps the service and its dashboard running.")
    if abs(reported - measured) > 1e-3:
        console.print("[red]the download does not reproduce the reported AP[/red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
