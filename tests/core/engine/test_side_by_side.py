"""Student and control at the same time end in the bits they have one after the other, whatever happens on the way."""

import errno
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from detrdistill.engine import threads
from detrdistill.engine.control_process import _causes, _portable
from detrdistill.engine.run import run
from detrdistill.engine.side_by_side import Ended, _Signs
from detrdistill.engine.state import save_state
from detrdistill.engine.train import Progress
from detrdistill.errors import ConfigError, Stopped, TrainingProcessLost
from detrdistill.events import CheckpointSaved, Event, Role, RunFinished, StepLogged
from detrdistill.schema.paths import RunPaths
from tests.core.engine.test_run import TRAINING, Recorder, assert_equal_weights, config_of, teacher, weights_of

__all__ = ["teacher"]
pytestmark = pytest.mark.fault
EPOCHS = 4
STEPS = 3 * EPOCHS
TIMINGS = {"progress", "eta_seconds", "images_per_second"}


def config() -> Any:
    return config_of(training=TRAINING | {"epochs": EPOCHS})


def side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with room for two, and a reason to use it."""
    monkeypatch.setattr(threads, "LEAST_SECONDS_BESIDE", 0.0)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    monkeypatch.setattr(threads, "available_memory", lambda: 2**50)


def one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LEAST_SECONDS_BESIDE", float("inf"))


@pytest.fixture(scope="module")
def undisturbed(rectangles: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    """One after the other."""
    work, recorder = tmp_path_factory.mktemp("undisturbed"), Recorder()
    with pytest.MonkeyPatch.context() as monkeypatch:
        one_after_the_other(monkeypatch)
        run(config(), RunPaths(dataset=rectangles, work=work, teacher=teacher), recorder)
    return work, recorder


def told(recorder: Recorder, role: str) -> list[dict[str, Any]]:
    """A detector's events in order, without what a clock decides."""
    return [
        {name: value for name, value in event.model_dump().items() if name not in TIMINGS}
        for event in recorder.events
        if getattr(event, "role", None) == role
    ]


def control_process() -> int | None:
    """The child of this process that trains the control."""
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread or a child that has just ended
            for child in (task / "children").read_text().split():
                if b"control_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    return None


class Meeting(Recorder):
    """Holds the student after its second step until the control has done two, and then acts."""

    def __init__(self, act: Callable[[], bool] = lambda: False):
        super().__init__()
        self.act = act
        self.children: set[int | None] = set()
        self._met = threading.Event()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        self.children.add(control_process())
        if isinstance(event, StepLogged) and event.role == "control" and event.step >= 2:
            self._met.set()

    def should_stop(self) -> bool:
        steps = [event for event in self.of(StepLogged) if event.role == "student"]
        if len(steps) < 2:
            return False
        assert self._met.wait(300)
        return self.act()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_as_undisturbed(undisturbed: tuple[Path, Recorder], work: Path, recorder: Recorder) -> None:
    for role in ("student", "control"):
        assert_equal_weights(weights_of(undisturbed[0] / role), weights_of(work / role))
    expected, found = (each.of(RunFinished)[-1].result for each in (undisturbed[1], recorder))
    for role in ("student", "control"):
        assert getattr(found, role).metrics == getattr(expected, role).metrics
        assert getattr(found, role).best_epoch == getattr(expected, role).best_epoch
    assert found.teachers["teacher"].metrics == expected.teachers["teacher"].metrics
    assert found.kd_gain == expected.kd_gain


def test_side_by_side_gives_the_bits_and_events_of_one_after_the_other(
    undisturbed: tuple[Path, Recorder], rectangles: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    side_by_side(monkeypatch)
    recorder, signs = Meeting(), []
    paths = RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher)
    run(config(), paths, recorder, recorder.should_stop, lambda: signs.append(time.monotonic()))
    assert signs
    assert recorder.children - {None}, "there was another process"
    assert control_process() is None
    order = [event.role for event in recorder.of(StepLogged)]
    assert order.index("control") < len(order) - 1 - order[::-1].index("student"), "at the same time"
    assert_as_undisturbed(undisturbed, tmp_path, recorder)
    for role in ("student", "control", "teacher"):
        assert told(recorder, role) == told(undisturbed[1], role)
    stages = [event.stage for event in recorder.events if event.kind == "stage"]
    assert stages == ["prepare", "teacher_gate", "train_student", "train_control", "export"]
    progress = [event.progress for event in recorder.of(StepLogged)]
    assert progress == sorted(progress)
    assert progress[-1] == 1
    assert recorder.of(StepLogged)[-1].eta_seconds == 0


def test_stopped_and_resumed_side_by_side(
    undisturbed: tuple[Path, Recorder], rectangles: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    side_by_side(monkeypatch)
    paths = RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher)
    first = Meeting(lambda: True)
    with pytest.raises(Stopped, match=f"Stopped at step 2 of {STEPS}"):
        run(config(), paths, first, first.should_stop)
    assert control_process() is None
    saved = {event.role: event.step for event in first.of(CheckpointSaved)}
    assert saved["student"] == 2
    assert 2 <= saved["control"] <= STEPS
    second = Recorder()
    run(config(), paths, second)
    assert_as_undisturbed(undisturbed, tmp_path, second)
    steps = {role: [e.step for e in second.of(StepLogged) if e.role == role] for role in ("student", "control")}
    assert steps["student"] == list(range(3, STEPS + 1))
    assert steps["control"] == list(range(saved["control"] + 1, STEPS + 1))


def test_a_control_that_is_killed_ends_the_attempt_with_its_reason(
    undisturbed: tuple[Path, Recorder], rectangles: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The student is stopped with a checkpoint; resumed, here one after the other, both end in the same bits."""
    side_by_side(monkeypatch)

    def kill() -> bool:
        if (child := control_process()) is not None:
            os.kill(child, signal.SIGKILL)
            time.sleep(0.5)
        return False

    paths, first = RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher), Meeting(kill)
    with pytest.raises(TrainingProcessLost, match="of the control was killed by SIGKILL"):
        run(config(), paths, first, first.should_stop)
    assert 2 <= max(event.step for event in first.of(CheckpointSaved) if event.role == "student") < STEPS
    one_after_the_other(monkeypatch)
    second = Recorder()
    run(config(), paths, second)
    assert_as_undisturbed(undisturbed, tmp_path, second)


def test_an_error_of_the_control_stops_the_student_with_a_checkpoint(
    rectangles: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    side_by_side(monkeypatch)
    save_state(tmp_path / "state" / "control", 1, {"fingerprint": "of another run"})

    class Waiting(Recorder):
        def should_stop(self) -> bool:
            if len(self.of(StepLogged)) == 2:
                wait_until(lambda: control_process() is None)
                time.sleep(0.5)
            return False

    recorder = Waiting()
    with pytest.raises(ConfigError, match="checkpoints of another configuration") as caught:
        run(config(), RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher), recorder, recorder.should_stop)
    assert "Use an empty directory" in caught.value.hint
    assert [event.step for event in recorder.of(CheckpointSaved)] == [2]


@pytest.mark.slow
def test_an_error_of_the_student_stops_the_control_with_a_checkpoint(
    undisturbed: tuple[Path, Recorder], rectangles: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    side_by_side(monkeypatch)

    def fail() -> bool:
        raise RuntimeError("of the student")

    paths, first = RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher), Meeting(fail)
    with pytest.raises(RuntimeError, match="of the student"):
        run(config(), paths, first, first.should_stop)
    assert control_process() is None
    assert {event.role for event in first.of(CheckpointSaved)} == {"control"}
    second = Recorder()
    run(config(), paths, second)
    assert_as_undisturbed(undisturbed, tmp_path, second)


def run_until_killed(paths: RunPaths, after: int, told: Connection) -> None:
    """Run side by side; tell who trains the control, and die, after so many of its steps."""
    doomed = Meeting()

    def report(event: Event) -> None:
        doomed(event)
        if len([e for e in doomed.of(StepLogged) if e.role == "control"]) == after:
            told.send(control_process())
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as monkeypatch:
        side_by_side(monkeypatch)
        run(config(), paths, report, doomed.should_stop)


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 8])
def test_a_killed_run_takes_its_control_with_it_and_resumes_to_the_same_bits(
    after: int,
    undisturbed: tuple[Path, Recorder],
    rectangles: Path,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    paths = RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher)
    reading, writing = multiprocessing.Pipe(duplex=False)
    new_process = multiprocessing.get_context("spawn")  # autograd has threads here, which no fork survives
    process = new_process.Process(target=run_until_killed, args=(paths, after, writing))
    process.start()
    writing.close()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    child = Path(f"/proc/{reading.recv()}")
    wait_until(lambda: not child.exists() or child.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z")
    side_by_side(monkeypatch)
    second = Recorder()
    run(config(), paths, second)
    assert_as_undisturbed(undisturbed, tmp_path, second)


def test_a_sign_of_progress_is_one_of_both():
    passed: list[int] = []
    signs = _Signs(lambda: passed.append(1))

    def sign(role: Role) -> int:
        signs.sign(role)
        return len(passed)

    assert [sign("student"), sign("student")] == [1, 2], "the control has not begun"
    assert [sign("control"), sign("control"), sign("control")] == [2, 2, 2], "the student stands still"
    assert [sign("student"), sign("student"), sign("student")] == [3, 3, 3], "the control stands still"
    assert sign("control") == 4
    signs.end("student")
    assert [sign("control"), sign("control")] == [5, 6], "nobody waits for the student"


def test_an_error_crosses_the_pipe_with_its_causes():
    """By them a worker knows a full disk, which torch hides in an error of its own."""
    error = RuntimeError("unexpected pos 64 vs 0")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    sent = pickle.dumps(Ended(tuple(_portable(cause) for cause in _causes(error))))
    received = pickle.loads(sent).error
    assert (type(received), str(received)) == (RuntimeError, "unexpected pos 64 vs 0")
    assert isinstance(received.__cause__, OSError)
    assert received.__cause__.errno == errno.ENOSPC
    assert "training process of the control" in received.__notes__[0]
    hinted = _portable(ConfigError("wrong", hint="mend", pointer="/here"))
    assert isinstance(hinted, ConfigError)
    assert (hinted.message, hinted.hint, hinted.pointer) == ("wrong", "mend", "/here")


def test_an_error_that_cannot_be_sent_says_the_same_in_words():
    class Local(Exception):
        """Unknown to any other process."""

    found = _portable(Local("of nobody"))
    assert isinstance(found, RuntimeError)
    assert "of nobody" in str(found)


def test_the_remaining_time_is_that_of_whoever_ends_last(monkeypatch: pytest.MonkeyPatch):
    """After ten seconds the student has done 40 steps of 100, the control, resumed at 40, five."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(100, ("student", "control"), side_by_side=True, _start=0.0)
    progress.reach("student", 0)
    progress.reach("control", 40)
    now[0] = 10.0
    progress.reach("student", 40)
    progress.reach("control", 45)
    assert progress.fraction == pytest.approx(85 / 200)
    assert progress.eta_seconds == pytest.approx(10 / 5 * 55)


def test_the_remaining_time_is_that_of_both_where_one_comes_after_the_other(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(100, ("student", "control"), _start=0.0)
    progress.reach("student", 20)
    now[0] = 10.0
    progress.reach("student", 40)
    assert progress.fraction == pytest.approx(40 / 200)
    assert progress.eta_seconds == pytest.approx(10 / 20 * 160)
