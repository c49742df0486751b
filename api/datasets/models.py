"""Table of data sets."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, HasId


class Dataset(HasId, Base):
    """A checked COCO data set; its files never change."""

    __tablename__ = "datasets"

    name: Mapped[str]
    classes: Mapped[list[Any]]
    splits: Mapped[dict[str, Any]]
    """For each split its numbers of images, of boxes, and of boxes of each class."""
    warnings: Mapped[list[Any]]
    size: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str | None]
    """Folder on the operator's machine, if it was registered by path; else the files are in the storage."""
