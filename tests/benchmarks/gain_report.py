"""From finished and failed runs to means, deviations and gains, and to Markdown. AP is in points, 0 to 100."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from detrdistill.events import RunResult
from tests.benchmarks.gain_study import CONTROL, PlannedRun, Study

RECORD = "record.json"
_NOTHING = "-"
Number = TypeVar("Number", int, float)


class Record(BaseModel):
    """How one run went; lies in its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    commit: str
    finished_at: str
    """UTC, ISO 8601."""
    seconds: float
    """From the start of its process to its end."""
    error: str | None = None
    """Why it has no result."""
    result: RunResult | None = None


def read_record(out: Path, run: PlannedRun) -> Record | None:
    """What is known of a run; None if it has not ended yet, or was planned otherwise."""
    path = out / run.folder / RECORD
    if not path.is_file():
        return None
    record = Record.model_validate_json(path.read_bytes())
    return record if record.fingerprint == run.fingerprint else None


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation."""

    mean: float
    deviation: float | None
    """None for a single value."""


def spread_of(values: Sequence[float]) -> Spread | None:
    """None without values."""
    if not values:
        return None
    return Spread(mean(values), stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class ArmSummary:
    """One row; the mappings are by seed and hold finished runs only."""

    arm: str
    ap: Mapping[int, float]
    gain: Mapping[int, float]
    """AP minus that of the control of the same seed, where both finished."""
    errors: Mapping[int, str]
    ap50: float | None
    """Mean over the seeds, as `minutes`."""
    minutes: float | None
    beats_teacher: int | None
    """Seeds whose AP is above the teacher's; None for the control, which has none."""

    @property
    def ap_spread(self) -> Spread | None:
        """Over the finished seeds."""
        return spread_of(list(self.ap.values()))

    @property
    def gain_spread(self) -> Spread | None:
        """Over the seeds of which arm and control finished."""
        return spread_of(list(self.gain.values()))


@dataclass(frozen=True)
class PairSummary:
    """One table."""

    pair: str
    teacher_ap: float | None
    """As the gate of this pair's runs measured it, on their data."""
    teacher_parameters: int | None
    student_parameters: int | None
    arms: tuple[ArmSummary, ...]


def summarise(study: Study, pair: str, records: Mapping[tuple[str, int], Record]) -> PairSummary:
    """Put the runs of a pair together; `records` has what ended, by arm and seed."""
    results = {cell: record.result for cell, record in records.items() if record.result is not None}
    teacher = next((row for result in results.values() for row in result.teachers.values()), None)
    teacher_ap = None if teacher is None else 100 * teacher.metrics.ap

    def row(arm: str) -> ArmSummary:
        found = {seed: results[arm, seed] for seed in study.seeds if (arm, seed) in results}
        ap = {seed: 100 * result.student.metrics.ap for seed, result in found.items()}
        plain = {seed: results[CONTROL, seed] for seed in found if (CONTROL, seed) in results}
        ended = {seed: records[arm, seed] for seed in study.seeds if (arm, seed) in records}
        return ArmSummary(
            arm=arm,
            ap=ap,
            gain={} if arm == CONTROL else {s: ap[s] - 100 * plain[s].student.metrics.ap for s in plain},
            errors={seed: record.error for seed, record in ended.items() if record.error is not None},
            ap50=mean(100 * result.student.metrics.ap50 for result in found.values()) if found else None,
            minutes=mean(ended[seed].seconds / 60 for seed in found) if found else None,
            beats_teacher=None
            if arm == CONTROL or teacher_ap is None
            else sum(value > teacher_ap for value in ap.values()),
        )

    return PairSummary(
        pair=pair,
        teacher_ap=teacher_ap,
        teacher_parameters=teacher and teacher.parameters,
        student_parameters=next((result.student.parameters for result in results.values()), None),
        arms=tuple(row(arm) for arm in (CONTROL, *study.arms)),
    )


def markdown(study: Study, summary: PairSummary) -> str:
    """The section of a pair."""
    pair = study.pairs[summary.pair]
    training, size = pair.control.training, pair.control.data.image_size
    head = ["arm", *(f"AP, seed {seed}" for seed in study.seeds), "AP, mean ± sd"]
    head += ["gain by seed", "gain, mean ± sd", "AP50", "minutes a run", "beats its teacher"]
    lines = [
        f"## {summary.pair}",
        "",
        f"Teacher `{pair.teacher}`: AP {_or_nothing(summary.teacher_ap, _points)}, "
        f"{_or_nothing(summary.teacher_parameters, _millions)} parameters. "
        f"Student: {_or_nothing(summary.student_parameters, _millions)} parameters. "
        f"Data `{pair.dataset}`, {size or 'default'} px, {training.epochs} epochs, batch {training.batch_size}, "
        f"lr {training.lr:g}.",
        "",
        *_table([head, *(_row(study.seeds, arm) for arm in summary.arms)]),
        "",
    ]
    failed = [(arm.arm, seed, error) for arm in summary.arms for seed, error in arm.errors.items()]
    lines += [f"- failed: {arm}, seed {seed}: {error.splitlines()[-1]}" for arm, seed, error in failed]
    return "\n".join([*lines, ""] if failed else lines)


def _row(seeds: Sequence[int], arm: ArmSummary) -> tuple[str, ...]:
    def cell(seed: int) -> str:
        if seed in arm.errors:
            return "failed"
        return _points(arm.ap[seed]) if seed in arm.ap else _NOTHING

    beaten = None if arm.beats_teacher is None or not arm.ap else f"{arm.beats_teacher} of {len(arm.ap)}"
    return (
        arm.arm,
        *(cell(seed) for seed in seeds),
        _spread(arm.ap_spread, _points, len(arm.ap), len(seeds)),
        ", ".join(_signed(value) for value in arm.gain.values()) or _NOTHING,
        _spread(arm.gain_spread, _signed, len(arm.gain), len(seeds)),
        _or_nothing(arm.ap50, _points),
        _or_nothing(arm.minutes, "{:.1f}".format),
        beaten or _NOTHING,
    )


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *body = rows
    for row in (head, ["---", *["---:"] * (len(head) - 1)], *body):
        yield f"| {' | '.join(row)} |"


def _spread(spread: Spread | None, text: Callable[[float], str], count: int, planned: int) -> str:
    if spread is None:
        return _NOTHING
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.2f}"
    return f"{text(spread.mean)}{deviation}" + ("" if count == planned else f" ({count} of {planned})")


def _or_nothing(value: Number | None, text: Callable[[Number], str]) -> str:
    return _NOTHING if value is None else text(value)


def _points(value: float) -> str:
    return f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
