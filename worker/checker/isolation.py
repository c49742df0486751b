"""Takes from a process what a check has no use for: the network, other processes, privileges.

A filter of system calls (seccomp) refuses to make sockets, also unix sockets, behind which the database of the embedded
stack trusts whoever reaches it. It needs neither privileges nor namespaces, which containers commonly forbid.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_KEPT_CAPABILITIES = (1 << 1) | (1 << 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root goes on reading the files of others."""
_NUMBERS = {
    "x86_64": (0xC000003E, (41, 101, 310, 311, 425, 438)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, 425, 438)),
}
"""AUDIT_ARCH of a machine, and what is forbidden there: socket, ptrace, process_vm_readv, process_vm_writev,
io_uring_setup, pidfd_getfd."""
_X32 = 0x40000000
"""Calls of the x32 interface have this bit."""
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES


def isolate() -> list[str]:
    """Isolate this process and its children for good; returns what this machine cannot do.

    Call it while the process has one thread.
    """
    warnings: list[str] = []
    for step, warning in (
        (_drop_privileges, "Checks keep the privileges of their checker: {}."),
        (_forbid_sockets, "Checks are not cut off from the network: {}."),
    ):
        try:
            step()
        except OSError as error:
            warnings.append(warning.format(error.strerror or error))
    return warnings


def hide_memory() -> None:
    """Keep environment and memory of this process from others of the same user."""
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def _drop_privileges() -> None:
    """Give up all capabilities but those to read files."""
    _linux_only()
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    _call(lambda libc: libc.capget(header, sets))
    kept = (sets[0] & _KEPT_CAPABILITIES, sets[1] & _KEPT_CAPABILITIES, 0, 0, 0, 0)
    _call(lambda libc: libc.capset(header, (ctypes.c_uint32 * 6)(*kept)))


def _forbid_sockets() -> None:
    _linux_only()
    if platform.machine() not in _NUMBERS:
        raise OSError(errno.ENOSYS, f"the system calls of {platform.machine()} are not known")
    architecture, numbers = _NUMBERS[platform.machine()]
    to_refusal = len(numbers) + 1  # instructions between the first comparison of the number and the last line
    rules = [
        (_LOAD, 0, 0, 4),  # the architecture of the call
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),  # its number
        (_JUMP_IF_AT_LEAST, to_refusal, 0, _X32),
        *((_JUMP_IF_EQUAL, to_refusal - 1 - index, 0, number) for index, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, struct.pack("HP", len(rules), ctypes.addressof(code)))


def _linux_only() -> None:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "only Linux can do it")


def _prctl(option: int, *arguments: int | bytes) -> None:
    padded = [*arguments, 0, 0, 0, 0][:4]
    converted = [value if isinstance(value, bytes) else ctypes.c_ulong(value) for value in padded]
    _call(lambda libc: libc.prctl(option, *converted))


def _call(function: Callable[[ctypes.CDLL], int]) -> None:
    if function(ctypes.CDLL(None, use_errno=True)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
