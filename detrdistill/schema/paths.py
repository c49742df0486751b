"""Where a run reads and writes, and whether what is there is what was meant. Torch-free."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detrdistill.errors import ConfigError, DatasetError, FieldError
from detrdistill.files.coco import CocoSet, DatasetOptions, Split
from detrdistill.schema.run import SINGLE_TEACHER, DistillConfig, TeacherName, TrainConfig


class RegisteredDataset(BaseModel):
    """What a dataset held when it was registered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...]
    images: dict[str, int]
    """Number of images by split."""


class RunPaths(BaseModel):
    """Where a run reads and writes: `paths` of a run file, and what a worker tells its training process."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    dataset: Path
    """COCO data, see `detrdistill.files.coco`."""
    work: Path
    """Resumable state, and the exported folders `student` and `control`."""
    teachers: dict[TeacherName, Path] = {}
    """Checkpoint folder of each teacher by its name in the configuration, or a black box (see
    `detrdistill.files.black_boxes`)."""
    teacher: Path | None = Field(default=None, exclude=True)
    """Short form for a single teacher, the one called `teacher`."""
    student: Path | None = None
    """Checkpoint folder the student starts from; required where the configuration names no architecture."""
    dataset_options: DatasetOptions = DatasetOptions()
    """How the dataset is to be read."""
    registered: RegisteredDataset | None = None
    """What the dataset must hold; null: whatever is there."""

    @model_validator(mode="after")
    def _expand(self) -> Self:
        """Turn the short form into the mapping, which is all that is kept."""
        if self.teacher is not None:
            if self.teachers:
                raise FieldError("the short form is for a single teacher; move it into teachers", pointer="/teacher")
            object.__setattr__(self, "teachers", {SINGLE_TEACHER: self.teacher})  # frozen for everybody else
            object.__setattr__(self, "teacher", None)
        return self

    def below(self, home: Path) -> "RunPaths":
        """The same paths, relative ones seen from a folder."""
        return self.model_copy(
            update={
                "dataset": home / self.dataset,
                "work": home / self.work,
                "teachers": {name: home / path for name, path in self.teachers.items()},
                "student": self.student and home / self.student,
            }
        )

    def check_names(self, config: TrainConfig | DistillConfig) -> None:
        """Refuse folders of teachers that the configuration does not name.

        Raises:
            ConfigError: there is one.
        """
        named = config.teachers if isinstance(config, DistillConfig) else {}
        for name in self.teachers:
            if name not in named:
                raise ConfigError(
                    f"The configuration has no teacher {name!r}.",
                    hint=f"Names there are: {', '.join(named) or 'none'}.",
                    path_pointer=f"/teachers/{name}",
                )

    def check_unchanged(self, sets: Mapping[Split, CocoSet]) -> None:
        """Refuse a dataset that holds something else than when it was registered.

        Raises:
            DatasetError: it does.
        """
        images = {str(split): len(content.images) for split, content in sets.items()}
        found = RegisteredDataset(classes=sets["train"].classes, images=images)
        if self.registered is not None and found != self.registered:
            raise DatasetError(
                f"The dataset was replaced: it had {_contents(self.registered)}, and has {_contents(found)}.",
                hint="Register the new one, and submit a new job.",
                path_pointer="/dataset",
            )


def _contents(held: RegisteredDataset) -> str:
    images = " and ".join(f"{count} {split} images" for split, count in held.images.items())
    classes = f"{len(held.classes)} classes ({', '.join(held.classes[:5])}{', ...' if len(held.classes) > 5 else ''})"
    return f"{images} of {classes}"
