"""Student and control at the same time: the control in a child process, to the same bits as after the student.

Both are whole trainings with checkpoints of their own, and neither knows of the other; so they end in the same weights
in whatever order they run. Objects pass between the two processes over one pipe:

    parent -> child   (config, paths); then `TOLD` for each event, and `STOP` to ask for a checkpoint and an end
    child -> parent   each event; `ALIVE` as it makes progress; at last the `Best` it found, or how it `Ended`

An event counts as reported when the parent has answered. So whatever is reported before a checkpoint is known before it
is written, as in a single process.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import Pipe
from typing import Any, Literal

from detrdistill.engine.context import RunContext
from detrdistill.engine.train import Best, Progress, Report
from detrdistill.errors import Stopped, TrainingProcessLost
from detrdistill.events import Event, Role, StepLogged

TOLD: Literal["told"] = "told"
STOP: Literal["stop"] = "stop"
ALIVE: Literal["alive"] = "alive"
_POLL_SECONDS = 0.1


def one_at_a_time(report: Report) -> Report:
    """A callback that several threads may call."""
    lock = threading.Lock()

    def locked(event: Event) -> None:
        with lock:
            report(event)

    return locked


@dataclass(frozen=True)
class Ended:
    """What ended the training of the control: an exception and those it came from, which pickling forgets."""

    errors: tuple[BaseException, ...]

    @property
    def error(self) -> BaseException:
        """The exception, linked to its causes."""
        for error, cause in pairwise(self.errors):
            error.__cause__ = cause
        return self.errors[0]


class _Signs:
    """Passes a sign of progress on when every training has given one: neither hides that the other stands still."""

    def __init__(self, alive: Callable[[], None]):
        self._alive = alive
        self._lock = threading.Lock()
        self._running: set[Role] = set()
        self._silent: set[Role] = set()

    def sign(self, role: Role) -> None:
        """A training makes progress; from its first sign on it is waited for."""
        with self._lock:
            self._running.add(role)
            self._silent.discard(role)
            if not self._silent:
                self._silent = set(self._running)
                self._alive()

    def end(self, role: Role) -> None:
        """A training is over; nobody waits for it."""
        with self._lock:
            self._running.discard(role)
            self._silent.discard(role)


@contextmanager
def control_of(context: RunContext) -> Iterator[Callable[[], Best] | None]:
    """Train the control of a run: beside what is done inside the context, where there is room, or after it.

    Yields:
        Gives the control's best evaluation, when it is trained; None: the run has no control.

    Raises:
        Exception: what ended the control, also when the caller is in the midst of its own training: this has been
            stopped then, with a checkpoint. What the caller raises stops the control in the same way.
    """
    if not context.with_control:
        yield None
    elif (
        context.threads is None
        or context.threads.cost is None
        or not context.threads.cost.has_room_beside(context.progress.steps)
    ):
        yield lambda: context.train("control", context.new_student(), [])
    else:
        should_stop, alive, context.progress.side_by_side = context.should_stop, context.alive, True
        signs = _Signs(alive)
        control = _ControlProcess(context, signs)
        context.should_stop = lambda: should_stop() or control.failure is not None
        context.alive = lambda: signs.sign("student")
        try:
            yield lambda: control.result(should_stop)
        except Exception as error:
            control.stop()
            control.join()
            if isinstance(error, Stopped) and control.failure is not None:
                raise error if isinstance(control.failure, Stopped) else control.failure  # noqa: B904  it has its own
            raise
        finally:
            control.close()
            context.should_stop, context.alive = should_stop, alive


class _ControlProcess:
    """The process that trains the control of a context, and the thread that hears from it.

    Attributes:
        best: what it found.
        failure: what ended it before.
    """

    def __init__(self, context: RunContext, signs: _Signs):
        self.best: Best | None = None
        self.failure: BaseException | None = None
        self._report: Report = context.report
        self._progress: Progress = context.progress
        self._signs = signs
        self._connection, theirs = Pipe()
        self._sending = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "detrdistill.engine.control_process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what it prints belongs to the log, not among the events of this process
                pass_fds=[theirs.fileno()],
            )
        self._thread = threading.Thread(target=self._listen, name="control", daemon=True)
        self._send((context.config, context.paths))
        self._thread.start()

    def result(self, should_stop: Callable[[], bool]) -> Best:
        """Wait for its end, and tell it to stop if it is to.

        Raises:
            Exception: what ended it.
        """
        self._signs.end("student")
        asked = False
        while self._thread.is_alive():
            if not asked and should_stop():
                asked = True
                self.stop()
            self.join(_POLL_SECONDS)
        if self.failure is not None:
            raise self.failure
        assert self.best is not None, "it has ended"
        return self.best

    def stop(self) -> None:
        """Ask for a checkpoint and an end."""
        self._send(STOP)

    def join(self, seconds: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(seconds)

    def close(self) -> None:
        """End it at once if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        self._connection.close()

    def _listen(self) -> None:
        try:
            while self.best is None and self.failure is None:
                self._take(self._connection.recv())
        except (EOFError, ConnectionError):
            self.failure = _lost(self._process.wait())
        except Exception as error:  # noqa: BLE001  whoever waits for the control is told
            self.failure = error
        finally:
            self._signs.end("control")

    def _take(self, message: Any) -> None:
        match message:
            case Best():
                self.best = message
            case Ended():
                self.failure = message.error
            case "alive":
                self._signs.sign("control")
            case StepLogged():
                self._progress.reach(message.role, message.step)
                whole = {"progress": self._progress.fraction, "eta_seconds": self._progress.eta_seconds}
                self._tell(message.model_copy(update=whole))
            case _:
                self._tell(message)

    def _tell(self, event: Event) -> None:
        self._report(event)
        self._send(TOLD)

    def _send(self, message: object) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except ConnectionError:
            return  # it has just ended; the thread that listens will say so


def _lost(status: int) -> TrainingProcessLost:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    return TrainingProcessLost(f"The training process of the control {how}.", hint="Start the run again to resume it.")
