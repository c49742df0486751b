"""The child process that trains a control: `python -m detrdistill.engine.control_process fd`; see `side_by_side`."""

import logging
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection

from detrdistill.engine.context import RunContext
from detrdistill.engine.processes import die_with_parent
from detrdistill.engine.side_by_side import ALIVE, STOP, TOLD, Ended
from detrdistill.errors import DetrDistillError, Stopped
from detrdistill.events import Event

_SIGN_SECONDS = 0.5


class Parent:
    """The process that has started this one, at the other end of a pipe."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._stop = False
        self._signed_at = float("-inf")

    def report(self, event: Event) -> None:
        """Hand over an event, and wait until it is reported."""
        self._connection.send(event)
        while (answer := self._connection.recv()) != TOLD:
            self._stop = self._stop or answer == STOP

    def alive(self) -> None:
        """Give a sign of progress; it may be called as often as there is progress."""
        if time.monotonic() - self._signed_at > _SIGN_SECONDS:
            self._signed_at = time.monotonic()
            self._connection.send(ALIVE)

    def should_stop(self) -> bool:
        """Whether this process is to write a checkpoint and end."""
        while self._connection.poll():
            self._stop = self._connection.recv() == STOP
        return self._stop


def main() -> int:
    """Train the control of the run that the parent names."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are the parent's to answer, which then asks this process to stop
    logging.basicConfig(level=logging.INFO, format="control: %(message)s")
    connection: Connection = Connection(int(sys.argv[1]))
    parent = Parent(connection)
    try:
        config, paths = connection.recv()
        context = RunContext(config, paths, parent.report, parent.should_stop, parent.alive)
        if parent.should_stop():
            raise Stopped("Stopped before the first step.", hint="Start it again to resume.")  # noqa: TRY301
        connection.send(context.train("control", context.new_student(), []))
    except Exception as error:  # noqa: BLE001  it is raised again in the parent
        connection.send(Ended(tuple(_portable(cause) for cause in _causes(error))))
    return 0


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, the outermost first."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _portable(error: BaseException) -> BaseException:
    """The error, with its trace as a note; another that says the same if it cannot be sent."""
    if not isinstance(error, DetrDistillError):
        error.add_note("In the training process of the control:\n" + "".join(traceback.format_tb(error.__traceback__)))
    try:
        return pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    except Exception:  # noqa: BLE001  whatever an error's class does when it is copied
        return RuntimeError("".join(traceback.format_exception(error)))


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
