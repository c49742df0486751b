"""What the dataset routes give."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from api.checking.models import ResourceState
from api.checking.schemas import ResourceError
from api.datasets.models import Dataset
from api.pagination import Page
from detrdistill.files.coco import DatasetOptions


class SplitView(BaseModel):
    """Size of one split."""

    images: int
    boxes: int = Field(description="boxes to train on; crowd regions are not counted")
    boxes_per_class: dict[str, int] | None = Field(
        default=None, description="null in lists, and for datasets of an earlier version"
    )


class DatasetView(BaseModel):
    """A dataset."""

    id: UUID
    name: str
    state: ResourceState = Field(description="what follows is empty until it is `ready`")
    error: ResourceError | None = Field(description="why it was refused")
    classes: list[str] = Field(description="names in the order of their COCO ids; in lists the first 100")
    class_count: int
    splits: dict[str, SplitView]
    warnings: list[str] = Field(description="what was repaired or left out")
    options: DatasetOptions | None = Field(description="null for datasets of an earlier version")
    size: int = Field(description="bytes")
    created_at: datetime

    @classmethod
    def of(cls, row: Dataset, **replaced: Any) -> "DatasetView":
        """The view of a row, some of its fields replaced."""
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in {"class_count", *replaced}}
        return cls.model_validate({"class_count": len(fields.get("classes", ()))} | fields | replaced)


class DatasetPage(Page[DatasetView]):
    """Some datasets, newest first."""
