"""Unpack an uploaded zip without trusting it.

Members are written one by one below a folder opened once; a path is made only of names that were checked, links are
never created and never followed, and sizes are counted while they are written, not read from the archive.
"""

import os
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import IO

from api.errors import ApiError

_MAX_MEMBERS = 500_000
_MAX_DEPTH = 8
_MAX_RATIO = 200
_SLACK_BYTES = 64 * 1024**2
_CHUNK = 1024**2
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error,
    NotImplementedError, EOFError, OverflowError, RuntimeError, ValueError,
)  # fmt: skip
"""What the library raises when an archive is not what it says."""


class _Refused(Exception):
    """A member that is not written, and why."""

    def __init__(self, detail: str, hint: str = "Pack the folder again, with plain files only."):
        super().__init__(detail)
        self.hint = hint


def unpack_zip(file: IO[bytes], folder: Path, *, suffixes: Collection[str], max_bytes: int, pointer: str) -> None:
    """Write the members of a zip below `folder`.

    Args:
        file: the archive, seekable.
        folder: exists and is empty.
        suffixes: file endings that are taken; any other is refused.
        max_bytes: most bytes all members together may have.
        pointer: field of the request to blame.

    Raises:
        ApiError: the archive is broken, too large, or has a member that is not a plain file with a plain path.
        OSError: the disk is full.
    """
    compressed = file.seek(0, os.SEEK_END)
    budget = min(max_bytes, compressed * _MAX_RATIO + _SLACK_BYTES)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with zipfile.ZipFile(file) as archive:
            _unpack(archive, root, suffixes, budget)
    except _Refused as error:
        raise ApiError(str(error), pointer=pointer, hint=error.hint, code="archive_invalid") from error
    except _BROKEN as error:
        detail = f"The archive cannot be unpacked: {error}."
        raise ApiError(detail, pointer=pointer, hint="Pack the folder again.", code="archive_invalid") from error
    finally:
        os.close(root)


def _unpack(archive: zipfile.ZipFile, root: int, suffixes: Collection[str], budget: int) -> None:
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise _Refused(f"The archive has {len(members)} members, more than {_MAX_MEMBERS}.")
    seen: set[str] = set()
    for member in members:
        parts = _checked_parts(member, suffixes)
        if not parts:
            continue
        key = "/".join(parts).casefold()
        if key in seen:
            raise _Refused(f"{key[:120]!r} is in the archive twice.")
        seen.add(key)
        with archive.open(member) as source:
            budget -= _write(root, parts, source, budget)


def _checked_parts(member: zipfile.ZipInfo, suffixes: Collection[str]) -> list[str]:
    """Names of the folders and the file; nothing for a folder and for what packers add on their own."""
    name = unicodedata.normalize("NFC", member.filename)
    shown = repr(name[:120])
    mode = stat.S_IFMT(member.external_attr >> 16)
    if member.flag_bits & 1:
        raise _Refused(f"{shown} is encrypted.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _Refused(f"{shown} is compressed by an unusual method.", "Pack the folder again, with deflate.")
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _Refused(f"{shown} is not a plain file.")
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or len(parts) > _MAX_DEPTH or not all(map(_is_plain, parts)):
        raise _Refused(f"{shown} is not a plain relative path.")
    if member.is_dir() or parts[0] == "__MACOSX" or parts[-1] in (".DS_Store", "Thumbs.db"):
        return []
    if not parts[-1].lower().endswith(tuple(suffixes)):
        raise _Refused(f"{shown} is no file of this kind.", f"Only these are taken: {', '.join(sorted(suffixes))}.")
    return parts


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and ":" not in part and part.isprintable() and len(part.encode()) <= 255


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
