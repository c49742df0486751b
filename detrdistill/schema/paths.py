"""Where a run reads and writes, and whether what is there is what was meant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detrdistill.errors import ConfigError, DatasetError
from detrdistill.files.coco import CocoSet, DatasetOptions, Split
from detrdistill.schema.run import DistillConfig, TrainConfig


@dataclass(frozen=True)
class Registered:
    """What a data set held when it was registered."""

    classes: tuple[str, ...]
    images: Mapping[str, int]
    """Number of images by split."""


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes."""

    dataset: Path
    """COCO data, see `detrdistill.files.coco`."""
    work: Path
    """Resumable state, and the exported folders `student` and `control`."""
    teacher: Path | None = None
    """Checkpoint folder of the teacher, or a black box (see `detrdistill.files.black_boxes`); required to distil."""
    further_teachers: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """The same for each of `DistillConfig.further_teachers`, by name."""
    student: Path | None = None
    """Checkpoint folder the student starts from; required where the configuration names no architecture."""
    dataset_options: DatasetOptions = field(default_factory=DatasetOptions)
    """How the data set is to be read."""
    registered: Registered | None = None
    """What the data set must hold; None: whatever is there."""

    def of_teacher(self, name: str) -> tuple[Path | None, str]:
        """Folder of a teacher, and the JSON pointer to where it is declared."""
        if name:
            return self.further_teachers.get(name), f"/further_teachers/{name}"
        return self.teacher, "/teacher"

    def check_names(self, config: TrainConfig | DistillConfig) -> None:
        """Refuse folders of teachers that the configuration does not name.

        Raises:
            ConfigError: there is one.
        """
        named = config.further_teachers if isinstance(config, DistillConfig) else {}
        for name in self.further_teachers:
            if name not in named:
                raise ConfigError(
                    f"The configuration has no further teacher {name!r}.",
                    hint=f"Names there are: {', '.join(named) or 'none'}.",
                    pointer=f"/further_teachers/{name}",
                )

    def check_unchanged(self, sets: Mapping[Split, CocoSet]) -> None:
        """Refuse a data set that holds something else than when it was registered.

        Raises:
            DatasetError: it does.
        """
        found = Registered(sets["train"].classes, {split: len(content.images) for split, content in sets.items()})
        if self.registered is not None and found != self.registered:
            raise DatasetError(
                f"The data set was replaced: it had {_contents(self.registered)}, and has {_contents(found)}.",
                hint="Register the new one, and submit a new job.",
            )


def _contents(held: Registered) -> str:
    images = " and ".join(f"{count} {split} images" for split, count in held.images.items())
    classes = f"{len(held.classes)} classes ({', '.join(held.classes[:5])}{', ...' if len(held.classes) > 5 else ''})"
    return f"{images} of {classes}"
