"""The events of an attempt, on disk before anybody hears of them.

The training process appends each event to a file in the work folder and then sends it to its worker. Whoever goes on
with the job, after whatever was killed, finds in the file what did not reach the database. Each attempt has a file of
its own, named by its fence: what a process that was given up still writes is read by nobody.

One line an event: `<sequence> <JSON>`. Sequence numbers of a job grow over all its attempts.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from detrdistill.events import EVENT, Event, StepLogged

_FOLDER = "journal"
_LARGEST_BYTES = 32 * 1024**2
"""A longer file is set aside, and what was set aside before is dropped: it has been in the database long since."""
_EARLIER = ".earlier"
_SYNC_SECONDS = 5.0


@dataclass(frozen=True)
class JournalEntry:
    """An event with its place among all events of a job."""

    sequence: int
    event: Event

    @property
    def line(self) -> bytes:
        """As it is written and sent."""
        return f"{self.sequence} {self.event.model_dump_json()}\n".encode()

    @classmethod
    def parse(cls, line: bytes) -> "JournalEntry":
        """Read a line.

        Raises:
            ValueError: it is not whole.
        """
        sequence, separator, event = line.partition(b" ")
        if not separator or not line.endswith(b"\n"):
            raise ValueError("the line is torn")
        try:
            return cls(int(sequence), EVENT.validate_json(event))
        except ValidationError as error:
            raise ValueError(f"not an event: {error}") from error


class Journal:
    """The file of one attempt, as its training process writes it.

    Args:
        path: empty, made by `begin`.
        sequence: of the last event before.
    """

    def __init__(self, path: Path, sequence: int):
        self._path = path
        self._sequence = sequence
        self._file: int | None = None
        self._size = 0
        self._synced_at = time.monotonic()

    def number(self, event: Event) -> JournalEntry:
        """Give an event its place."""
        self._sequence += 1
        return JournalEntry(self._sequence, event)

    def write(self, entry: JournalEntry) -> None:
        """Append an event; at the latest some seconds later it outlasts a loss of power, too.

        Raises:
            OSError: the storage does not take it; nothing of it is left in the file.
        """
        line = entry.line
        file = self._open(len(line))
        try:
            written = os.write(file, line)
            if written < len(line):  # the disk has just become full
                os.write(file, line[written:])
        except OSError:
            os.ftruncate(file, self._size)
            raise
        self._size += len(line)
        if not isinstance(entry.event, StepLogged) or time.monotonic() - self._synced_at > _SYNC_SECONDS:
            os.fsync(file)
            self._synced_at = time.monotonic()

    def _open(self, room: int) -> int:
        """The file, with room for a line."""
        if self._file is not None and self._size + room > _LARGEST_BYTES:
            self._path.replace(self._path.with_name(self._path.name + _EARLIER))
            os.close(self._file)
            self._file, self._size = None, 0
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        return self._file


def begin(work: Path, fence: int) -> Path:
    """Make the empty journal of an attempt; those of earlier attempts, which have been read, are removed.

    Raises:
        OSError: the storage does not take it.
    """
    folder = work / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{fence:012d}"
    path.touch()
    for earlier in folder.iterdir():
        if not earlier.name.startswith(path.name):
            with contextlib.suppress(OSError):
                earlier.unlink()
    return path


def read_last(work: Path, fence: int, after: int) -> list[JournalEntry]:
    """What the last attempt up to a fence has written, after a sequence number.

    Raises:
        OSError: there is a journal, but it cannot be read.
    """
    try:
        names = sorted(path.name for path in (work / _FOLDER).iterdir() if not path.name.endswith(_EARLIER))
    except FileNotFoundError:
        return []
    of_fence = [name for name in names if int(name) <= fence]
    if not of_fence:
        return []
    path = work / _FOLDER / of_fence[-1]
    return [
        entry
        for part in (path.with_name(path.name + _EARLIER), path)
        if part.exists()
        for entry in _whole_lines(part)
        if entry.sequence > after
    ]


def _whole_lines(path: Path) -> Iterator[JournalEntry]:
    """Entries up to the first line that is torn."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield JournalEntry.parse(line)
            except ValueError:
                return
