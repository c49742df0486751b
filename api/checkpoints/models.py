"""Table of checkpoints."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, HasId


class Checkpoint(HasId, Base):
    """A checked detector: weights, configuration and preprocessing; its files never change."""

    __tablename__ = "checkpoints"

    name: Mapped[str]
    family: Mapped[str]
    classes: Mapped[list[Any]]
    parameters: Mapped[int] = mapped_column(BigInteger)
    queries: Mapped[int]
    decoder_layers: Mapped[int]
    width: Mapped[int]
    image_height: Mapped[int | None]
    image_width: Mapped[int | None]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    """Of model.safetensors."""
    path: Mapped[str | None]
    """Folder on the operator's machine, if it was registered by path; else the files are in the storage."""
    job_id: Mapped[UUID | None]
    """The job whose student this is. No foreign key: jobs point at checkpoints, and provenance outlives a job."""
