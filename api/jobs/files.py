"""The files of a job, as they lie in its work folder now: while it runs as well as after any end.

A training replaces its files as a whole and changes none in place, but for the log, which grows. So what has been
opened stays what it was, and a digest holds as long as size and time of the last change do.
"""

import hashlib
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from api.jobs.zips import Member, frame

_FILES = ("result.json", "log.txt")
_EXPORTS = ("student", "control")
_CHECKPOINT = re.compile(r"step-\d+\.pt")
_OLD, _HALF_WRITTEN = ".old", ".part"
"""Ends of the names of a folder that is being replaced, and of what is being written."""
_TRIES, _PAUSE_SECONDS = 100, 0.002
"""So often may a folder be replaced while it is being opened."""
_CHUNK = 1024**2
_MOST_DIGESTS = 10_000


@dataclass(frozen=True)
class JobFile:
    """A file that can be downloaded."""

    name: str
    """Path below the work folder; an exported folder is there as a whole, too, as `student.zip`."""
    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class _Digest:
    sha256: str
    crc32: int


class _Part:
    """A file on disk, opened. It may grow, but only what was there is read."""

    def __init__(self, file: BinaryIO, name: str):
        self.file = file
        self.name = name
        status = os.fstat(file.fileno())
        self.size = status.st_size
        self.modified_ns = status.st_mtime_ns
        self.identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    @property
    def digest(self) -> _Digest:
        """Of the content."""
        return _remembered(self.identity, lambda: _digest_of(self.read(0, self.size)))

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to before `end`, in pieces; several may read at a time."""
        while start < end and (chunk := os.pread(self.file.fileno(), min(_CHUNK, end - start), start)):
            start += len(chunk)
            yield chunk


_digests: dict[Hashable, _Digest] = {}
_digest_lock = threading.RLock()


def _remembered(identity: Hashable, compute: Callable[[], _Digest]) -> _Digest:
    """A digest, computed once in the life of this process."""
    with _digest_lock:
        if (found := _digests.get(identity)) is None:
            found = compute()
            if len(_digests) >= _MOST_DIGESTS:
                _digests.clear()
            _digests[identity] = found
        return found


def _digest_of(chunks: Iterable[bytes]) -> _Digest:
    sha256, crc32 = hashlib.sha256(), 0
    for chunk in chunks:
        sha256.update(chunk)
        crc32 = zlib.crc32(chunk, crc32)
    return _Digest(sha256.hexdigest(), crc32)


class OpenedFile:
    """A file that stays what it was when it was opened, whatever happens to its name.

    Args:
        name: in the list.
        parts: what it is made of, one after the other; made when they are needed.
        size: bytes.
        modified_ns: time of the last change.
        noted: its SHA-256, where somebody has noted it.
    """

    def __init__(
        self, name: str, parts: Callable[[], Sequence[bytes | _Part]], size: int, modified_ns: int, noted: str | None
    ):
        self.name = name
        self.size = size
        self.modified_ns = modified_ns
        self._make_parts = parts
        self._noted = noted

    @cached_property
    def sha256(self) -> str:
        """Of the content, which is read if nobody has noted it."""
        if self._noted is not None:
            return self._noted
        identity = tuple(part.identity if isinstance(part, _Part) else part for part in self._parts)
        return _remembered(identity[0] if len(identity) == 1 else identity, self._read_digest).sha256

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to before `end`, in pieces."""
        for part in self._parts:
            size = part.size if isinstance(part, _Part) else len(part)
            stop = min(size, end)
            if start < stop:
                yield from part.read(start, stop) if isinstance(part, _Part) else [part[start:stop]]
            start, end = max(start - size, 0), end - size

    def _read_digest(self) -> _Digest:
        return _digest_of(self.read(0, self.size))

    @cached_property
    def _parts(self) -> Sequence[bytes | _Part]:
        return self._make_parts()


KnownDigests = Mapping[tuple[str, int, int], str]
"""SHA-256 of files, by name, size and time of the last change."""


class OpenedFolder:
    """All files of a job, opened at one moment; close it.

    Args:
        work: the job's folder; it need not be there.
        known: spares reading files.

    Attributes:
        files: by name.

    Raises:
        OSError: the storage does not answer.
    """

    def __init__(self, work: Path, known: KnownDigests = MappingProxyType({})):
        self._opened = ExitStack()
        self._known = known
        self.files: dict[str, OpenedFile] = {}
        try:
            self._open_all(work)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "OpenedFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._opened.close()

    def _open_all(self, work: Path) -> None:
        for name in _FILES:
            self._add_file(work, name)
        for role in _EXPORTS:
            if parts := self._open_export(work, role):
                self._add_export(role, parts)
            for name in _checkpoints(work, role):
                self._add_file(work, name)

    def _add_file(self, work: Path, name: str) -> None:
        with suppress(FileNotFoundError):
            part = self._keep((work / name).open("rb"), name)
            self._add(name, lambda: [part], part.size, part.modified_ns, _noted_digest(work / name))

    def _add_export(self, role: str, parts: list[_Part]) -> None:
        for part in parts:
            self._add(f"{role}/{part.name}", lambda part=part: [part], part.size, part.modified_ns)
        blank = frame([Member(f"{role}/{part.name}", part.size, 0) for part in parts])
        size = sum(map(len, blank)) + sum(part.size for part in parts)
        self._add(f"{role}.zip", lambda: _zipped(role, parts), size, max(part.modified_ns for part in parts))

    def _add(
        self,
        name: str,
        parts: Callable[[], Sequence[bytes | _Part]],
        size: int,
        modified_ns: int,
        noted: str | None = None,
    ) -> None:
        noted = self._known.get((name, size, modified_ns), noted)
        self.files[name] = OpenedFile(name, parts, size, modified_ns, noted)

    def _open_export(self, work: Path, role: str) -> list[_Part]:
        """The files of an exported folder, all of one and the same export."""
        current, before = work / role, work / (role + _OLD)
        for _ in range(_TRIES):
            for folder in (current, before):
                with suppress(FileNotFoundError), ExitStack() as stack:
                    parts = [_Part(stack.enter_context(file), name) for file, name in _open_files(folder, current)]
                    self._opened.push(stack.pop_all())
                    return parts
            if not (current.exists() or before.exists()):
                break
            time.sleep(_PAUSE_SECONDS)
        return []

    def _keep(self, file: BinaryIO, name: str) -> _Part:
        return _Part(self._opened.enter_context(file), name)


def job_files(work: Path, known: KnownDigests = MappingProxyType({})) -> list[JobFile]:
    """All files of a job, by name; see `OpenedFolder`."""
    with OpenedFolder(work, known) as folder:
        return [JobFile(name, file.size, file.modified_ns, file.sha256) for name, file in sorted(folder.files.items())]


def _open_files(folder: Path, current: Path) -> Iterator[tuple[BinaryIO, str]]:
    """The files of an export.

    A new one takes the place of the one before by two renames, and only then is that removed. So a folder is whole if
    it still has its place when all its files are open, or if the place is still free.

    Raises:
        FileNotFoundError: it is not there, or it may be on its way out.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in sorted(os.listdir(descriptor)):
            if not name.endswith(_HALF_WRITTEN):
                yield os.fdopen(os.open(name, os.O_RDONLY, dir_fd=descriptor), "rb"), name
        if not _is_whole(folder, descriptor, current):
            raise FileNotFoundError(folder)
    finally:
        os.close(descriptor)


def _is_whole(folder: Path, descriptor: int, current: Path) -> bool:
    try:
        return os.path.samestat(current.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return folder != current


def _checkpoints(work: Path, role: str) -> list[str]:
    try:
        found = [path.name for path in (work / "state" / role).iterdir()]
    except FileNotFoundError:
        return []
    return [f"state/{role}/{name}" for name in found if _CHECKPOINT.fullmatch(name)]


def _noted_digest(path: Path) -> str | None:
    """What the training has written beside a checkpoint."""
    try:
        return path.with_suffix(".sha256").read_text()
    except FileNotFoundError:
        return None


def _zipped(role: str, parts: Sequence[_Part]) -> list[bytes | _Part]:
    around = frame([Member(f"{role}/{part.name}", part.size, part.digest.crc32) for part in parts])
    pairs: list[bytes | _Part] = [piece for pair in zip(around, parts, strict=False) for piece in pair]
    return [*pairs, around[-1]]
