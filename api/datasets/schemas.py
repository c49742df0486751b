"""What the data set routes give."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class SplitView(BaseModel):
    """Size of one split."""

    images: int
    boxes: int = Field(description="boxes to train on; crowd regions are not counted")


class DatasetView(BaseModel):
    """A data set."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    classes: list[str] = Field(description="names in the order of their COCO ids")
    splits: dict[str, SplitView]
    warnings: list[str] = Field(description="what was repaired or left out")
    size: int = Field(description="bytes")
    created_at: datetime


class DatasetPage(BaseModel):
    """Some data sets, newest first."""

    data: list[DatasetView]
    has_more: bool = Field(description="more follow; ask with `after` set to the last id")
