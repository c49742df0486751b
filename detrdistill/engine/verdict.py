"""What is said of a finished run whose detectors do not detect."""

from collections import Counter
from dataclasses import dataclass

from detrdistill.events import CocoMetrics
from detrdistill.files.coco import CocoSet
from detrdistill.schema.run import DistillConfig, TrainConfig

LEAST_AP = 0.01
"""A detector below this has learned nothing."""
_RAREST = 3
"""Classes that a verdict names."""


@dataclass(frozen=True)
class TrainingFacts:
    """What there was to learn from, as a verdict says it."""

    steps: int
    """Optimiser steps."""
    epochs: int
    lr: float
    images: int
    """Of the training split."""
    boxes: dict[str, int]
    """Training boxes of each class."""
    from_checkpoint: bool = False
    """The student started from one."""

    @classmethod
    def of(cls, config: TrainConfig | DistillConfig, steps: int, train_set: CocoSet) -> "TrainingFacts":
        """Of one training on a split."""
        counts = Counter(label for image in train_set.images for label in image.labels)
        boxes = {name: counts[label] for label, name in enumerate(train_set.classes)}
        training, started = config.training, config.student is None
        return cls(steps, training.epochs, training.lr, len(train_set.images), boxes, started)

    def __str__(self) -> str:
        rarest = sorted(self.boxes.items(), key=lambda item: item[1])[:_RAREST]
        fewest = ", ".join(f"{name} {count}" for name, count in rarest)
        start = "" if self.from_checkpoint else ", or a student that starts from a checkpoint"
        return (
            f"There were {self.steps} steps ({self.epochs} epochs of {self.images} images) at lr {self.lr:g}. Try more "
            f"epochs, a higher training.lr{',' if start else ' or'} more training images{start}; and look "
            f"whether classes and boxes are right (classes with the fewest training boxes: {fewest})."
        )


def verdict_of(student: CocoMetrics, control: CocoMetrics | None, facts: TrainingFacts) -> str | None:
    """Say that student or control learned nothing, and what to try; None where both learned something.

    Args:
        student: metrics of its exported folder.
        control: the same of the control, where there is one.
        facts: what there was to learn from.
    """
    said = f"AP {student.ap:.4f} on the validation set, below {LEAST_AP}"
    if student.ap >= LEAST_AP:
        if control is None or control.ap >= LEAST_AP:
            return None
        return (
            f"control learned nothing: without its teacher the student scores AP {control.ap:.4f}, below {LEAST_AP}, "
            f"so that the KD gain only says that the distilled one began to learn. {facts}"
        )
    if control is None:
        return f"learned nothing: the student scores {said}. {facts}"
    if control.ap >= LEAST_AP:
        return (
            f"learned nothing: the student scores {said}, but {control.ap:.4f} without its teacher: what it was taught "
            f"harms it. Try lower weights of the methods, fewer of them, or another teacher. {facts}"
        )
    return (
        f"learned nothing: the student scores {said}, and {control.ap:.4f} without its teacher, so that the KD gain "
        f"says nothing. {facts}"
    )
