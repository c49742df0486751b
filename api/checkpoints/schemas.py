"""What the checkpoint routes give."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from api.checking.models import ResourceState
from api.checking.schemas import ResourceError
from api.checkpoints.models import Checkpoint
from api.pagination import Page
from detrdistill.catalog import FamilyName
from detrdistill.files.checkpoints import CoverageFacts


class CheckpointView(BaseModel):
    """A detector that can teach, or that a student can start from; or a black box that can teach."""

    id: UUID
    name: str
    state: ResourceState = Field(description="what follows is empty or null until it is `ready`")
    error: ResourceError | None = Field(description="why it was refused")
    kind: Literal["detector", "onnx", "detections"] | None = Field(
        description="weights of a detector, or a teacher of which only boxes and scores are known"
    )
    family: FamilyName | None = Field(description="null for a black box, as all that only a detector has")
    classes: list[str] = Field(
        description="names by output index, in lists the first 100; none for detections, which have the dataset's ids"
    )
    class_count: int
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
    sha256: str | None = Field(
        description="of model.safetensors, model.onnx or detections.json; of several files, one after the other by name"
    )
    coverage: CoverageFacts | None = Field(description="which tensors of the detector its weights fill")
    warnings: list[str] = Field(description="what a user of this checkpoint should know")
    job_id: UUID | None = Field(description="the job whose student this is")
    created_at: datetime

    @classmethod
    def of(cls, row: Checkpoint, **replaced: Any) -> "CheckpointView":
        """The view of a row, some of its fields replaced."""
        fields = {name: getattr(row, name) for name in cls.model_fields if name not in {"class_count", *replaced}}
        return cls.model_validate({"class_count": len(fields.get("classes", ()))} | fields | replaced)


class CheckpointPage(Page[CheckpointView]):
    """Some checkpoints, newest first."""
