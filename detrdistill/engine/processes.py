"""What a process may take of its machine: cores, memory, and how its threads wait. Torch-free."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CGROUP = Path("/sys/fs/cgroup")
_WAITING = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
"""For GNU's OpenMP, which PyTorch ships on Linux, and for LLVM's and Intel's. Both read it when they are loaded."""
_SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Whoever sets one of these has chosen how threads wait."""


def never_spin(environment: MutableMapping[str, str]) -> None:
    """Have idle threads sleep, unless the environment says how they wait; call it before torch is imported.

    By default an idle OpenMP thread spins some milliseconds before it sleeps. Beside another training it then holds
    the core that the other, or the very thread it waits for, needs: two trainings of two threads on two cores take
    twenty times as long.
    """
    if not any(name in environment for name in _SPINNING):
        environment.update(_WAITING)


def configured_threads(environment: Mapping[str, str]) -> int | None:
    """Threads that the operator has asked for with `OMP_NUM_THREADS`; None: they are to be measured."""
    first = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def available_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota, _, period = _content(_CGROUP / "cpu.max").partition(" ")
    return max(1, min(cores, int(quota) // int(period))) if quota.isdecimal() else cores


def available_memory() -> int:
    """Bytes that can be taken without swapping: of the machine, and of the control group; 0 where nobody says."""
    rows = (line.split() for line in _content(Path("/proc/meminfo")).splitlines())
    free = next((1024 * int(row[1]) for row in rows if row[0] == "MemAvailable:"), 0)
    limit, used = _content(_CGROUP / "memory.max"), _content(_CGROUP / "memory.current")
    return min(free, int(limit) - int(used)) if limit.isdecimal() and used.isdecimal() else free


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies (Linux)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _content(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
