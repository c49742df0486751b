"""What the checkpoint routes give."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from detrdistill.catalog import FamilyName


class CheckpointView(BaseModel):
    """A detector that can teach, or that a student can start from; or a black box that can teach."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    kind: Literal["detector", "onnx", "detections"] = Field(
        description="weights of a detector, or a teacher of which only boxes and scores are known"
    )
    family: FamilyName | None = Field(description="null for a black box, as all that only a detector has")
    classes: list[str] = Field(description="names by output index; none for detections, which have the data set's ids")
    parameters: int | None
    queries: int | None
    two_stage: bool | None = Field(
        description="queries are picked among proposals, in a family that else learns them (Deformable DETR); "
        "null also where it was not recorded"
    )
    decoder_layers: int | None
    width: int | None = Field(description="channels of a query")
    image_height: int | None = Field(description="rows of its input; null: images of varying size, or none are read")
    image_width: int | None
    size: int = Field(description="bytes")
    sha256: str = Field(description="of model.safetensors, model.onnx or detections.json")
    job_id: UUID | None = Field(description="the job whose student this is")
    created_at: datetime


class CheckpointPage(BaseModel):
    """Some checkpoints, newest first."""

    data: list[CheckpointView]
    has_more: bool = Field(description="more follow; ask with `after` set to the last id")
