"""How many threads a training on a CPU takes: measured at its first step, then the same to its end.

Another number of threads adds floats in another order, so the number is part of what a resumed run goes on with.
"""

import logging
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from pydantic import BaseModel, ConfigDict

from detrdistill.engine.processes import available_cores, available_memory, configured_threads
from detrdistill.engine.state import write_json

_log = logging.getLogger(__name__)
_PAYS = 0.8
"""Twice the threads pay if a step then takes at most this share of its time."""
_ROUNDS = 5
_LONG_SECONDS = 5.0
"""A step this long is measured once: it is longer than what disturbs it."""
LEAST_SECONDS_BESIDE = 20.0
"""A training shorter than this is over before a process of its own would have loaded its libraries."""


class StepCost(BaseModel):
    """What a step of a run takes on this machine."""

    model_config = ConfigDict(frozen=True)

    threads: int
    """Threads of one training."""
    seconds: float
    """Of one step, before the threads were chosen."""
    peak_bytes: int
    """Most memory that the process has had so far, this step included."""

    def has_room_beside(self, steps: int) -> bool:
        """Whether a second training of so many steps finds cores and memory, and is worth a process of its own."""
        return (
            self.seconds * steps >= LEAST_SECONDS_BESIDE
            and self.threads <= available_cores() // 2
            and self.peak_bytes <= available_memory()
        )


class Threads:
    """Threads of this process: those configured, those the run began with, or all until they are measured.

    Args:
        work: folder of the run, which keeps what was measured.
    """

    def __init__(self, work: Path):
        self._file = work / "state" / "step_cost.json"
        self._configured = configured_threads(os.environ)
        self.cost = StepCost.model_validate_json(self._file.read_bytes()) if self._file.is_file() else None
        if self._configured is not None and self.cost is not None and self._configured != self.cost.threads:
            _log.warning(
                "OMP_NUM_THREADS asks for %d threads, but this run began with %d: the last bits of its weights will "
                "not be those of an undisturbed run.",
                self._configured,
                self.cost.threads,
            )
            self.cost = self.cost.model_copy(update={"threads": self._configured})
        torch.set_num_threads(self._configured or (self.cost.threads if self.cost else available_cores()))

    def measure(self, step: Callable[[], object], steps_beside: int) -> None:
        """Choose the threads of this run, once, and take them.

        Args:
            step: computes a step, and leaves nothing behind.
            steps_beside: of a second training that may run at the same time; half of the cores are left to it.
        """
        if self.cost is not None:
            return
        step()  # the first of all allocates and plans
        cost = StepCost(threads=self._configured or 1, seconds=_seconds(step), peak_bytes=_peak_bytes())
        if self._configured is None:
            cores = available_cores()
            threads = fewest_that_pay(cores // 2 if cost.has_room_beside(steps_beside) else cores, step)
            cost = cost.model_copy(update={"threads": threads})
        torch.set_num_threads(cost.threads)
        write_json(self._file, cost.model_dump())
        self.cost = cost
        _log.info("a step takes %.2f s; %d threads on %d cores", cost.seconds, cost.threads, available_cores())


def fewest_that_pay(most: int, act: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> int:
    """The fewest threads of which half would be clearly slower, found by halving from `most`.

    Clearly: by the fastest of some measurements and by their median. In doubt it is the fewer threads.

    Args:
        most: threads to begin with.
        act: what is measured, under `torch.set_num_threads`, which this leaves changed.
        clock: seconds.
    """
    threads = most
    while threads > 1:
        fewer = threads // 2
        times: dict[int, list[float]] = {threads: [], fewer: []}
        for _ in range(_ROUNDS):  # in turn, so that a slow moment of the machine meets both
            for count, found in times.items():
                torch.set_num_threads(count)
                found.append(_seconds(act, clock))
            if min(times[threads][-1], times[fewer][-1]) > _LONG_SECONDS:
                break
        if all(middle(times[threads]) <= _PAYS * middle(times[fewer]) for middle in (min, median)):
            break
        threads = fewer
    return threads


def _seconds(act: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    act()
    return clock() - start


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
