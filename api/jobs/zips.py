"""The bytes of a zip around files that stay where they are: nothing is packed, no disk is needed.

Members are stored, not compressed (weights do not shrink), and carry no time, so equal files give equal bytes. What of
APPNOTE is left out: comments, encryption, more than 65,535 members.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_LARGEST = 0xFFFFFFFF
"""Greater numbers stand in the 64-bit extra field."""
_VERSION, _VERSION_64 = 20, 45
_UTF8 = 0x0800
_EPOCH = (1 << 5) | 1
"""1 January 1980 as a date of DOS."""
_UNIX = 3 << 8
_MODE = 0o100644 << 16


@dataclass(frozen=True)
class Member:
    """A file to be stored."""

    name: str
    size: int
    crc32: int


def frame(members: Sequence[Member]) -> list[bytes]:
    """What stands before the content of each member, and after that of the last."""
    parts: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for member in members:
        parts.append(_local_header(member))
        directory.append(_central_header(member, offset))
        offset += len(parts[-1]) + member.size
    return [*parts, _end(b"".join(directory), len(members), offset)]


def _local_header(member: Member) -> bytes:
    name, extra = member.name.encode(), _extra(member.size, member.size)
    size = min(member.size, _LARGEST)
    fields = (_version(extra), _UTF8, 0, 0, _EPOCH, member.crc32, size, size, len(name), len(extra))
    return struct.pack("<4s5H3L2H", b"PK\3\4", *fields) + name + extra


def _central_header(member: Member, offset: int) -> bytes:
    name, extra = member.name.encode(), _extra(member.size, member.size, offset)
    size, version = min(member.size, _LARGEST), _version(extra)
    fields = (_UNIX | version, version, _UTF8, 0, 0, _EPOCH, member.crc32, size, size, len(name), len(extra), 0, 0, 0)
    return struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields, _MODE, min(offset, _LARGEST)) + name + extra


def _end(directory: bytes, count: int, offset: int) -> bytes:
    large = b""
    if offset >= _LARGEST:
        fields = (44, _VERSION_64, _VERSION_64, 0, 0, count, count, len(directory), offset)
        large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", *fields)
        large += struct.pack("<4sLQL", b"PK\6\7", 0, offset + len(directory), 1)
    fields = (0, 0, count, count, len(directory), min(offset, _LARGEST), 0)
    return directory + large + struct.pack("<4s4H2LH", b"PK\5\6", *fields)


def _extra(*values: int) -> bytes:
    large = [value for value in values if value >= _LARGEST]
    return struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def _version(extra: bytes) -> int:
    return _VERSION_64 if extra else _VERSION
