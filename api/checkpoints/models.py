"""Table of checkpoints."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, HasId


class Checkpoint(HasId, Base):
    """A checked detector: weights, configuration and preprocessing; or a black box. Its files never change."""

    __tablename__ = "checkpoints"

    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="detector")
    """`detector`, or the kind of a black box, of which the facts of a detector are null."""
    family: Mapped[str | None]
    scores: Mapped[str | None]
    """What the scores of a black box are; a family knows it itself."""
    classes: Mapped[list[Any]]
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    queries: Mapped[int | None]
    two_stage: Mapped[bool | None]
    """Its queries are picked among proposals, in a family that else learns them; null where it was not recorded."""
    decoder_layers: Mapped[int | None]
    width: Mapped[int | None]
    image_height: Mapped[int | None]
    image_width: Mapped[int | None]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    """Of the one file that holds the weights, the model or the detections."""
    path: Mapped[str | None]
    """Folder on the operator's machine, if it was registered by path; else the files are in the storage."""
    job_id: Mapped[UUID | None]
    """The job whose student this is. No foreign key: jobs point at checkpoints, and provenance outlives a job."""
