"""The schema of a gain study, and the runs that it asks for. Torch-free.

Pairs x (control and arms) x seeds. A pair says how its control is trained; an arm adds a teacher and methods to that
and changes nothing else. Paths are relative, so that a study file fits every machine.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from detrdistill.schema.run import DistillConfig, MethodConfig, TeacherSourceConfig, TrainConfig

CONTROL = "control"
"""The arm that every pair has: the same training without a teacher."""

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _relative(path: PurePosixPath) -> PurePosixPath:
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a path is relative and stays below its root")
    return path


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
"""Also the name of a folder."""
Below = Annotated[PurePosixPath, AfterValidator(_relative)]
"""Below the root of the data, see `tests.benchmarks.gain`."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class TeacherSpec(BaseModel):
    """A teacher, trained once."""

    model_config = _STRICT

    dataset: Name
    start: Below | None = None
    """Checkpoint folder to fine-tune; null: `train` names a new detector."""
    train: TrainConfig


class PairSpec(BaseModel):
    """A student and its teacher."""

    model_config = _STRICT

    teacher: Name
    dataset: Name
    start: Below | None = None
    """Checkpoint folder the student starts from; null: `control` names a new detector."""
    control: TrainConfig
    """The student's training, without the seed."""
    gate: TeacherSourceConfig = TeacherSourceConfig()

    @model_validator(mode="after")
    def _seedless(self) -> "PairSpec":
        if "seed" in self.control.training.model_fields_set:
            raise ValueError("the study's `seeds` give the seed, not a pair")
        return self


@dataclass(frozen=True)
class PlannedRun:
    """One call of the engine."""

    folder: PurePosixPath
    """Below the study's output folder."""
    config: TrainConfig | DistillConfig
    dataset: PurePosixPath
    start: PurePosixPath | None
    teacher: "PlannedRun | None" = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything the study says about this run."""
        content = [
            self.config.model_dump(mode="json"),
            str(self.dataset),
            str(self.start),
            self.teacher and self.teacher.fingerprint,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


class Study(BaseModel):
    """Content of a study file."""

    model_config = _STRICT

    datasets: dict[Name, Below] = Field(min_length=1)
    teachers: dict[Name, TeacherSpec] = Field(min_length=1)
    pairs: dict[Name, PairSpec] = Field(min_length=1)
    arms: dict[Name, tuple[MethodConfig, ...]] = Field(min_length=1)
    """Methods of each arm, as in `DistillConfig.methods`."""
    seeds: tuple[Seed, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        if CONTROL in self.arms:
            raise ValueError(f"every pair has the arm `{CONTROL}`; give yours another name")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("each seed may be listed once")
        for owner, spec in [*self.teachers.items(), *self.pairs.items()]:
            if spec.dataset not in self.datasets:
                raise ValueError(f"{owner}: no dataset is named {spec.dataset!r}")
        for name, pair in self.pairs.items():
            if pair.teacher not in self.teachers:
                raise ValueError(f"{name}: no teacher is named {pair.teacher!r}")
            for arm in self.arms:
                self.run_of(name, arm, self.seeds[0])
        return self

    def teacher_of(self, pair: str) -> PlannedRun:
        """The training of a pair's teacher."""
        name = self.pairs[pair].teacher
        spec = self.teachers[name]
        return PlannedRun(PurePosixPath("teachers", name), spec.train, self.datasets[spec.dataset], spec.start)

    def run_of(self, pair: str, arm: str, seed: int) -> PlannedRun:
        """One cell of the table.

        Raises:
            ValueError: the arm's methods do not go together.
        """
        spec = self.pairs[pair]
        folder = PurePosixPath("runs", pair, arm, f"seed-{seed}")
        dataset = self.datasets[spec.dataset]
        plain = spec.control
        training = plain.training.model_copy(update={"seed": seed})
        if arm == CONTROL:
            return PlannedRun(folder, plain.model_copy(update={"training": training}), dataset, spec.start)
        config = DistillConfig(
            kind="distill",
            student=plain.student,
            teacher=spec.gate,
            methods=self.arms[arm],
            data=plain.data,
            training=training,
            criterion=plain.criterion,
            evaluation=plain.evaluation,
        )
        return PlannedRun(folder, config, dataset, spec.start, self.teacher_of(pair))

    def cells(self, pair: str) -> Iterator[tuple[str, int]]:
        """Arm and seed of every run of a pair: seed by seed, so that an unfinished study is paired too."""
        for seed in self.seeds:
            for arm in (CONTROL, *self.arms):
                yield arm, seed
