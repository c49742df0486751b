"""How many threads a training takes, and how they wait. Times are told by a fake clock, and once by a real one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detrdistill.engine import processes, threads
from detrdistill.engine.processes import configured_threads, never_spin
from detrdistill.engine.run import run
from detrdistill.engine.threads import StepCost, Threads, fewest_that_pay
from detrdistill.schema.paths import RunPaths
from tests.core.engine.test_run import STUDENT, Recorder, train_config


@pytest.fixture(autouse=True)
def _same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """Runs an act in a time that depends on torch's threads; every third act is disturbed."""

    def __init__(self, seconds: Callable[[int], float], disturbance: float = 0.0):
        self.now, self.acts = 0.0, 0
        self.seconds, self.disturbance = seconds, disturbance

    def act(self) -> None:
        self.acts += 1
        self.now += self.seconds(torch.get_num_threads()) + (self.disturbance if self.acts % 3 == 0 else 0)

    def chosen(self, most: int) -> int:
        return fewest_that_pay(most, self.act, lambda: self.now)


@pytest.mark.parametrize(
    ("seconds", "most", "chosen"),
    [
        (lambda count: 0.1 + 0.02 * count, 2, 1),
        (lambda count: 0.1 + 0.02 * count, 64, 1),
        (lambda count: 0.11, 2, 1),
        (lambda count: 1 / count, 2, 2),
        (lambda count: 1 / count, 64, 64),
        (lambda count: 1 / min(count, 8), 64, 8),
        (lambda count: 1 / min(count, 3), 6, 3),
        (lambda count: 1.0, 1, 1),
    ],
    ids=["more cost", "more cost, 64", "no gain", "gain", "gain, 64", "gain up to 8", "gain up to 3", "one core"],
)
def test_the_fewest_threads_that_pay_are_chosen(seconds: Callable[[int], float], most: int, chosen: int):
    assert Machine(seconds).chosen(most) == chosen


def test_a_disturbed_measurement_misleads_nobody():
    assert Machine(lambda count: 1 / count, disturbance=5.0).chosen(2) == 2
    assert Machine(lambda count: 0.1 + 0.02 * count, disturbance=5.0).chosen(2) == 1


def test_a_long_step_is_measured_once():
    machine = Machine(lambda count: 60 / count)
    assert machine.chosen(2) == 2
    assert machine.acts == 2


def test_a_small_act_gets_one_thread_by_a_real_clock():
    """Sums of ten numbers never gain from a second thread."""
    small = torch.ones(10)
    assert fewest_that_pay(2, lambda: [small.sum() for _ in range(5000)]) == 1


def measured(
    work: Path, monkeypatch: pytest.MonkeyPatch, *, cores: int, configured: str = "", extra_queries: int = 0
) -> int:
    monkeypatch.setenv("OMP_NUM_THREADS", configured)
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    monkeypatch.setattr(threads, "available_memory", lambda: 2**50)
    monkeypatch.setattr(threads, "fewest_that_pay", lambda most, act: most)
    Threads(work).measure(lambda: None, steps_beside=extra_queries)
    return torch.get_num_threads()


def test_half_of_the_cores_are_left_to_a_training_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "LEAST_SECONDS_BESIDE", 0)
    assert measured(tmp_path / "a", monkeypatch, cores=8, extra_queries=100) == 4
    assert measured(tmp_path / "b", monkeypatch, cores=1, extra_queries=100) == 1


def test_the_number_is_kept_for_whoever_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert measured(tmp_path, monkeypatch, cores=4) == 4
    assert json.loads((tmp_path / "state" / "step_cost.json").read_text())["threads"] == 4
    assert measured(tmp_path, monkeypatch, cores=2) == 4, "fewer cores than it began with"


def test_what_the_operator_asks_for_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    assert measured(tmp_path, monkeypatch, cores=4, configured="3") == 3
    assert caplog.records == []
    assert measured(tmp_path, monkeypatch, cores=4) == 3, "resumed without the setting"
    assert measured(tmp_path, monkeypatch, cores=4, configured="2") == 2
    assert "asks for 2 threads, but this run began with 3" in caplog.text


@pytest.mark.parametrize(("value", "found"), [("", None), ("3", 3), ("4,2", 4), ("0", None), ("-1", None), ("x", None)])
def test_the_setting_is_read_as_openmp_reads_it(value: str, found: int | None):
    assert configured_threads({"OMP_NUM_THREADS": value}) == found


@pytest.mark.parametrize(
    ("cost", "steps", "room"),
    [
        (StepCost(threads=1, seconds=0.1, peak_bytes=900), 200, True),
        (StepCost(threads=1, seconds=0.1, peak_bytes=900), 199, False),
        (StepCost(threads=2, seconds=0.1, peak_bytes=900), 200, False),
        (StepCost(threads=1, seconds=0.1, peak_bytes=1001), 200, False),
    ],
    ids=["room", "too short", "no cores", "no memory"],
)
def test_a_second_training_needs_cores_memory_and_a_reason(
    cost: StepCost, steps: int, room: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    monkeypatch.setattr(threads, "available_memory", lambda: 1000)
    assert cost.has_room_beside(steps) is room


def test_cores_and_memory_are_those_of_the_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processes, "_CGROUP", tmp_path)
    cores, memory = processes.available_cores(), processes.available_memory()
    assert cores == len(os.sched_getaffinity(0))
    assert memory > 0
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    assert processes.available_cores() == 1
    assert processes.available_memory() == 3000
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert processes.available_cores() == cores
    assert processes.available_memory() > 3000


def test_a_run_measures_once_and_trains_with_what_it_found(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Alone on a machine that gains nothing, and resumed on one that would gain."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    measurements: list[int] = []

    def choose(most: int, act: Callable[[], object]) -> int:
        act()
        measurements.append(most)
        return 1

    monkeypatch.setattr(threads, "fewest_that_pay", choose)
    counts: list[int] = []

    class Watching(Recorder):
        def __call__(self, event: object) -> None:
            super().__call__(event)
            counts.append(torch.get_num_threads())

    paths = RunPaths(dataset=rectangles, work=tmp_path)
    stopped = Watching(stop_after=3)
    with pytest.raises(Exception, match="Stopped"):
        run(train_config(), paths, stopped, stopped.should_stop)
    assert measurements == [2]
    assert counts[0] == 2, "until it is measured"
    assert set(counts[1:]) == {1}
    monkeypatch.setattr(threads, "fewest_that_pay", lambda most, act: most)
    counts.clear()
    run(train_config(), paths, Watching())
    assert set(counts) == {1}


def test_threads_that_wait_sleep_unless_somebody_has_chosen():
    environment: dict[str, str] = {}
    never_spin(environment)
    assert environment == {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
    for name, value in (("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "1000"), ("KMP_BLOCKTIME", "200")):
        environment = {name: value}
        never_spin(environment)
        assert environment == {name: value}


def python(program: str, **environment: str) -> str:
    """What a program writes, in an environment that says nothing of OpenMP but this."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=plain | environment, check=True, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is that of the wheels for Linux")
def test_the_openmp_of_torch_takes_it():
    said = python(
        "import os; from detrdistill.engine.processes import never_spin; never_spin(os.environ); import torch",
        OMP_DISPLAY_ENV="VERBOSE",
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said
    assert "GOMP_SPINCOUNT = '0'" in said


def test_the_command_line_decides_before_it_imports_torch(tmp_path: Path):
    file = tmp_path / "run.json"
    content = {"config": {"kind": "train", "student": STUDENT}, "paths": {"dataset": "data", "work": "work"}}
    file.write_text(json.dumps(content))
    said = python(f"""
import os, sys
from detrdistill.__main__ import main
assert "torch" not in sys.modules
sys.modules["torch"] = None  # whoever imports it now gets an ImportError
try:
    main([{str(file)!r}])
except ImportError:
    print(os.environ["OMP_WAIT_POLICY"])
""")
    assert "passive" in said.splitlines()
