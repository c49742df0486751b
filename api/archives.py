"""Unpack an uploaded zip without trusting it.

Members are written one by one below a folder opened once; a path is made only of names that were checked, links are
never created and never followed, and sizes are counted while they are written, not read from the archive. Members that
are not needed are not opened.
"""

import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from api.errors import ApiError

_MAX_MEMBERS = 500_000
_MAX_DEPTH = 8
_MAX_NAME = 255
_DRIVE = re.compile("[A-Za-z]:")
_MAX_RATIO = 200
_SLACK_BYTES = 64 * 1024**2
_CHUNK = 1024**2
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error,
    NotImplementedError, EOFError, OverflowError, RuntimeError, ValueError,
)  # fmt: skip
"""What the packages raise when an archive is not what it says."""
_EXAMPLES = 5
_TOOLS = ("__MACOSX", "__pycache__")
_UTF8 = 0x800
"""Flag of a member whose name is UTF-8; without it Python takes the name for code page 437."""


@dataclass
class Skipped:
    """Files that were sent but not kept, because nothing needs them."""

    count: int = 0
    examples: list[str] = field(default_factory=list[str])

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(name[-80:])

    @property
    def warnings(self) -> list[str]:
        """For the owner of the files; nothing if all were kept."""
        if not self.count:
            return []
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return [f"Files that are not needed were left out: {self.count} ({', '.join(self.examples)}{more})."]


def is_needed(parts: Sequence[str], suffixes: Collection[str]) -> bool:
    """A file of a kind that is taken, neither hidden nor in a folder that tools keep for themselves."""
    hidden = any(part.startswith(".") or part in _TOOLS for part in parts)
    return not hidden and parts[-1].lower().endswith(tuple(suffixes))


class _Refused(Exception):
    """A member that is not written, and why."""

    def __init__(self, detail: str, hint: str = "Pack the folder again, with plain files only."):
        super().__init__(detail)
        self.hint = hint


def unpack_zip(file: IO[bytes], folder: Path, *, suffixes: Collection[str], max_bytes: int, pointer: str) -> Skipped:
    """Write the members of a zip below `folder`.

    Args:
        file: the archive, seekable.
        folder: exists and is empty.
        suffixes: file endings that are needed; any other is left out.
        max_bytes: most bytes all members together may have.
        pointer: field of the request to blame.

    Returns:
        What was left out.

    Raises:
        ApiError: the archive is broken, too large, or has a member that is not a plain file with a plain path.
        OSError: the disk is full.
    """
    compressed = file.seek(0, os.SEEK_END)
    budget = min(max_bytes, compressed * _MAX_RATIO + _SLACK_BYTES)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with zipfile.ZipFile(file) as archive:
            return _unpack(archive, root, suffixes, budget)
    except _Refused as error:
        raise ApiError(str(error), pointer=pointer, hint=error.hint, code="archive_invalid") from error
    except _BROKEN as error:
        detail = f"The archive cannot be unpacked: {error}."
        raise ApiError(detail, pointer=pointer, hint="Pack the folder again.", code="archive_invalid") from error
    finally:
        os.close(root)


def _unpack(archive: zipfile.ZipFile, root: int, suffixes: Collection[str], budget: int) -> Skipped:
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise _Refused(f"The archive has {len(members)} members, more than {_MAX_MEMBERS}.")
    seen: dict[str, str] = {}
    skipped = Skipped()
    for member in members:
        parts = _checked_parts(member)
        if not parts:
            continue
        if not is_needed(parts, suffixes):
            skipped.add("/".join(parts))
            continue
        _check_contents(member, parts)
        name = "/".join(parts)
        other = seen.get(name.casefold())
        if other == name:
            raise _Refused(f"{name[:120]!r} is in the archive twice.")
        if other is not None:
            raise _Refused(f"{other[:120]!r} and {name[:120]!r} differ only in case.", "Rename one of them.")
        seen[name.casefold()] = name
        with archive.open(member) as source:
            budget -= _write(root, parts, source, budget)
    if skipped.count and not seen:
        raise _Refused(
            f"The archive has no file of use; it holds {', '.join(skipped.examples)}.",
            f"Needed are files that end in {', '.join(sorted(suffixes))}; archives in the archive are not opened.",
        )
    return skipped


def _checked_parts(member: zipfile.ZipInfo) -> list[str]:
    """Names of the folders and the file; nothing for a folder."""
    name = _name_of(member)
    shown = repr(name[:120])
    mode = stat.S_IFMT(member.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _Refused(f"{shown} is not a plain file.")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or _DRIVE.match(name) or not all(map(_is_plain, parts)):
        raise _Refused(f"{shown} is not a plain relative path.")
    return [] if name.endswith("/") else parts


def _name_of(member: zipfile.ZipInfo) -> str:
    """A member's name as its packer meant it: some write backslashes, and some UTF-8 without saying so."""
    name = member.filename
    if not member.flag_bits & _UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def _check_contents(member: zipfile.ZipInfo, parts: list[str]) -> None:
    """What only matters for members that are kept."""
    shown = repr("/".join(parts)[:120])
    if member.flag_bits & 1:
        raise _Refused(f"{shown} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refused(f"{shown} is compressed by an unusual method.", "Pack the folder again, with deflate.")
    if len(parts) > _MAX_DEPTH:
        raise _Refused(f"{shown} lies in more than {_MAX_DEPTH - 1} folders.")
    if any(len(part.encode()) > _MAX_NAME for part in parts):
        raise _Refused(f"{shown} has a name of more than {_MAX_NAME} bytes.")


def _is_plain(part: str) -> bool:
    return part != ".." and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in part)


def _write(root: int, parts: list[str], source: IO[bytes], budget: int) -> int:
    """Write one member and return its size."""
    opened: list[int] = []
    folder = root
    try:
        for part in parts[:-1]:
            with suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
            folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            opened.append(folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        written = 0
        with os.fdopen(os.open(parts[-1], flags, 0o644, dir_fd=folder), "wb") as target:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > budget:
                    raise _Refused("The archive unpacks to more than is allowed.", "Split it, or ask the operator.")
                target.write(chunk)
    except (NotADirectoryError, FileExistsError) as error:
        raise _Refused(f"{'/'.join(parts)[:120]!r} is a file and a folder at once.") from error
    finally:
        for descriptor in reversed(opened):
            os.close(descriptor)
    return written
