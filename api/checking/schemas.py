"""What the views of datasets and checkpoints have in common."""

from pydantic import BaseModel, Field


class ResourceError(BaseModel):
    """Why a dataset or checkpoint was refused."""

    code: str = Field(examples=["dataset_invalid"])
    message: str
    hint: str = ""
    pointer: str = Field(default="", description="JSON pointer to the field of the request that is to blame")
