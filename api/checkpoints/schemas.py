"""What the checkpoint routes give."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from detrdistill.catalog import FamilyName


class CheckpointView(BaseModel):
    """A detector that can teach, or that a student can start from."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    family: FamilyName
    classes: list[str] = Field(description="names by output index")
    parameters: int
    queries: int
    decoder_layers: int
    width: int = Field(description="channels of a query")
    image_height: int | None = Field(description="rows of its input; null: trained on images of varying size")
    image_width: int | None
    size: int = Field(description="bytes")
    sha256: str = Field(description="of model.safetensors")
    job_id: UUID | None = Field(description="the job whose student this is")
    created_at: datetime


class CheckpointPage(BaseModel):
    """Some checkpoints, newest first."""

    data: list[CheckpointView]
    has_more: bool = Field(description="more follow; ask with `after` set to the last id")
