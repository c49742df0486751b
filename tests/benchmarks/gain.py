"""What distillation gains: `python -m tests.benchmarks.gain STUDY.json --data ROOT --out .run/gain`.

Trains every student of a study (`tests.benchmarks.gain_study`) with and without its teacher, over several seeds, and
writes `report.md` and `report.json` to the output folder after every run. Each run is a process of its own,
`python -m detrdistill run.json`, in a folder of its own. Started again, the command repeats only what failed, what has
not ended, and what the study now describes otherwise.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from detrdistill.__main__ import RunFile, RunPaths
from detrdistill.events import RunResult
from tests.benchmarks.gain_report import RECORD, Record, markdown, read_record, summarise
from tests.benchmarks.gain_study import PlannedRun, Study

ROOT = Path(__file__).resolve().parents[2]
_STOPPED = 3
"""Exit status of a run that was asked to stop."""


def main(arguments: list[str] | None = None) -> int:
    """Run a study; exit status 1 if a run failed or the study is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gain", description=__doc__)
    parser.add_argument("study", type=Path, help="study file (JSON)")
    parser.add_argument("--data", type=Path, help="root of the study's paths; default: the study's folder")
    parser.add_argument("--out", type=Path, default=Path(".run/gain"), help="folder of the runs and the report")
    parser.add_argument("--jobs", type=int, help="processes at a time; default: one with a GPU, else one per core")
    parser.add_argument("--only", action="append", metavar="PAIR", help="this pair; may be repeated")
    options = parser.parse_args(arguments)
    try:
        study = Study.model_validate_json(options.study.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"{options.study}: {error}", file=sys.stderr)
        return 1
    pairs = options.only or list(study.pairs)
    if unknown := set(pairs) - set(study.pairs):
        parser.error(f"no such pair: {', '.join(sorted(unknown))}")
    jobs = options.jobs or _jobs()
    bench = Bench(options.data or options.study.resolve().parent, options.out.resolve(), jobs)
    command = f"python -m tests.benchmarks.gain {options.study.name} --data DATA --jobs {jobs}"

    bench.run_all([study.teacher_of(pair) for pair in pairs])
    runs = [study.run_of(pair, *cell) for pair in pairs for cell in study.cells(pair)]
    bench.run_all(runs, after_each=lambda: write_report(study, bench.out, command))
    write_report(study, bench.out, command)
    print(f"written to {bench.out / 'report.md'}")
    records = [read_record(bench.out, run) for run in runs]
    return int(any(record is None or record.error is not None for record in records))


class Bench:
    """Carries out planned runs.

    Args:
        data: root of the study's paths.
        out: each run has its folder below it.
        jobs: processes at a time.
    """

    def __init__(self, data: Path, out: Path, jobs: int):
        self.data = data.resolve()
        self.out = out
        self.jobs = jobs
        self.commit = _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
        self.living: set[subprocess.Popen[bytes]] = set()

    def run_all(self, runs: Sequence[PlannedRun], after_each: Callable[[], None] = lambda: None) -> None:
        """Run what has no result yet, and print a line for each."""
        wanted = {run.folder: run for run in runs if not self._is_finished(run)}.values()
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self._run, run): run for run in wanted}
            try:
                for count, future in enumerate(as_completed(futures), start=1):
                    record, run = future.result(), futures[future]
                    found = f"AP {100 * record.result.student.metrics.ap:.2f}" if record.result else "failed"
                    print(f"[{count}/{len(futures)}] {run.folder}  {found}  {record.seconds / 60:.1f} min", flush=True)
                    after_each()
            except KeyboardInterrupt:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in list(self.living):
                    process.terminate()
                raise

    def _is_finished(self, run: PlannedRun) -> bool:
        record = read_record(self.out, run)
        return record is not None and record.result is not None

    def _run(self, run: PlannedRun) -> Record:
        folder = self.out / run.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        start = time.monotonic()
        error = self._execute(run, folder)
        shutil.rmtree(folder / "state", ignore_errors=True)
        record = Record(
            fingerprint=run.fingerprint,
            commit=self.commit,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=time.monotonic() - start,
            error=error,
            result=None if error else RunResult.model_validate_json((folder / "result.json").read_bytes()),
        )
        (folder / RECORD).write_text(record.model_dump_json(indent=2) + "\n")
        return record

    def _execute(self, run: PlannedRun, folder: Path) -> str | None:
        """The process of a run; what it said when it failed."""
        if run.teacher is not None and not self._is_finished(run.teacher):
            return f"its teacher has no weights: {run.teacher.folder}"
        paths = RunPaths(
            dataset=self.data / run.dataset,
            work=folder,
            teacher=None if run.teacher is None else self.out / run.teacher.folder / "student",
            student=None if run.start is None else self.data / run.start,
        )
        (folder / "run.json").write_text(RunFile(config=run.config, paths=paths).model_dump_json(indent=2) + "\n")
        command = [sys.executable, "-m", "detrdistill", str(folder / "run.json"), "--json"]
        errors = folder / "errors.log"
        with (folder / "events.jsonl").open("wb") as events, errors.open("wb") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, stdout=events, stderr=log, env=environment, cwd=ROOT)
            self.living.add(process)
            status = process.wait()
            self.living.discard(process)
        if status == _STOPPED:
            raise KeyboardInterrupt
        return None if status == 0 else errors.read_text().strip() or f"exit status {status}"


def write_report(study: Study, out: Path, command: str) -> None:
    """`report.md` and `report.json`, from what lies in the output folder."""
    records: dict[str, dict[tuple[str, int], Record]] = {pair: {} for pair in study.pairs}
    for pair, found in records.items():
        for cell in study.cells(pair):
            record = read_record(out, study.run_of(pair, *cell))
            if record is not None:
                found[cell] = record
    summaries = [summarise(study, pair, found) for pair, found in records.items()]
    every = [record for found in records.values() for record in found.values()]
    origin = {
        "command": command,
        "commits": sorted({record.commit for record in every}),
        "finished": [min(dates), max(dates)] if (dates := [record.finished_at for record in every]) else [],
        "devices": sorted({record.result.device for record in every if record.result}),
        "processor": _processor(),
        "versions": next((record.result.versions for record in every if record.result), {}),
    }
    lines = [
        "# Gain of distillation",
        "",
        "AP in points, measured on the exported folder. The gain is paired: AP minus that of the control with the same "
        "seed. sd is the sample standard deviation over the seeds.",
        "",
        *(markdown(study, summary) for summary in summaries),
        "## Origin",
        "",
        *(f"- {name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in origin.items()),
    ]
    (out / "report.md").write_text("\n".join(lines) + "\n")
    document = {
        "study": study.model_dump(mode="json"),
        "origin": origin,
        "summary": [asdict(summary) for summary in summaries],
        "runs": [
            {"pair": pair, "arm": arm, "seed": seed} | record.model_dump(mode="json")
            for pair, found in records.items()
            for (arm, seed), record in found.items()
        ],
    }
    (out / "report.json").write_text(json.dumps(document, indent=2) + "\n")


def _jobs() -> int:
    import torch  # the only thing here that needs it

    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _processor() -> str:
    """Name of the processor, as the kernel has it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {os.cpu_count()} cores"


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
