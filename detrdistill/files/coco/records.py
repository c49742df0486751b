"""What a dataset is to the rest of the project."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
MIN_BOX_PX = 1.0
"""Boxes with a thinner side are left out of training and evaluation."""
Id = int | float | str
"""An id as the file writes it; ids are compared by `fields.key_of`."""


class DatasetOptions(BaseModel):
    """How a dataset is to be read, where its files leave it open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    val_fraction: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="part of the images to validate on, where there is one annotation file for all images",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="chooses these images")


@dataclass(frozen=True)
class ImageRecord:
    """One image and its boxes, ready to train on."""

    id: Id
    """As the annotation file writes it."""
    path: Path
    width: int
    """Of the image as detectors see it, in pixels: after `upright`."""
    height: int
    boxes_xyxy_px: tuple[tuple[float, float, float, float], ...]
    """Clipped to the image; crowd regions and boxes thinner than one pixel are left out."""
    labels: tuple[int, ...]
    """Index into `CocoSet.classes` of each box."""
    upright: bool = True
    """Its EXIF orientation, if it has one, is applied when it is decoded; see `detrdistill.files.coco.turning`."""


@dataclass(frozen=True)
class CocoSet:
    """One split of a dataset."""

    classes: tuple[str, ...]
    """Names, the class indices of the project: in the order of their ids in train if these are integers, else as
    they are listed there."""
    category_ids: tuple[Id | None, ...]
    """Id of each class in the split's own file; that of train where this file does not list the class, or None if it
    gives that id to another one."""
    images: tuple[ImageRecord, ...]
    annotations: dict[str, Any] = field(repr=False)
    """Ground truth of the evaluation in COCO form, crowd regions included, with the file's own ids. What training
    leaves out is left out; area and iscrowd are sound."""
    warnings: tuple[str, ...] = ()

    @property
    def boxes_per_class(self) -> tuple[int, ...]:
        """Number of boxes to train on of each class."""
        count = Counter(label for image in self.images for label in image.labels)
        return tuple(count[label] for label in range(len(self.classes)))
