"""Table of datasets."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from api.checking.models import Checked, checked_constraints
from api.db import Base, HasId


class Dataset(HasId, Checked, Base):
    """A COCO dataset; its files never change."""

    __tablename__ = "datasets"
    __table_args__ = checked_constraints("datasets")

    name: Mapped[str]
    classes: Mapped[list[Any]]
    splits: Mapped[dict[str, Any]]
    """For each split its numbers of images and boxes, and the boxes of each class."""
    warnings: Mapped[list[Any]]
    size: Mapped[int] = mapped_column(BigInteger)
    options: Mapped[dict[str, Any] | None]
    """`detrdistill.files.coco.DatasetOptions`; null for those of an earlier version."""
    path: Mapped[str | None]
    """Folder on the operator's machine, if it was registered by path; else the files are in the storage."""
