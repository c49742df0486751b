"""Table of checkpoints."""

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from api.checking.models import Checked, checked_constraints
from api.db import Base, HasId


class Checkpoint(HasId, Checked, Base):
    """A detector: weights, configuration and preprocessing; or a black box. Its files never change."""

    __tablename__ = "checkpoints"
    __table_args__ = checked_constraints("checkpoints")

    name: Mapped[str]
    kind: Mapped[str | None]
    """`detector`, or the kind of a black box, of which the facts of a detector are null."""
    family: Mapped[str | None]
    scores: Mapped[str | None]
    """What its scores are; null for a detector of an earlier version, whose family says it."""
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
    sha256: Mapped[str | None]
    """Of the file that holds the weights, the model or the detections; of several, one after the other by name."""
    coverage: Mapped[dict[str, Any] | None]
    """`detrdistill.files.checkpoints.CoverageFacts` of a detector."""
    warnings: Mapped[list[Any]] = mapped_column(server_default="[]")
    path: Mapped[str | None]
    """Folder on the operator's machine, if it was registered by path; else the files are in the storage."""
    job_id: Mapped[UUID | None]
    """The job whose student this is. No foreign key: jobs point at checkpoints, and provenance outlives a job."""
