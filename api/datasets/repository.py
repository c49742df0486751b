"""Reads of datasets."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session, defer

from api.checking.columns import first_classes, number_of_classes
from api.datasets.models import Dataset
from api.pagination import newest_first


def find(session: Session, dataset_id: UUID) -> Dataset | None:
    """A dataset by id."""
    return session.get(Dataset, dataset_id)


def page(session: Session, after: UUID | None, limit: int) -> tuple[list[tuple[Dataset, dict[str, Any]]], bool]:
    """Datasets newest first, after a given one; and whether there are more.

    With each come the columns that are large, cut by the database: the first classes, their number, and the splits
    without the boxes of each class.
    """
    splits = Dataset.splits
    for split in ("train", "val"):
        splits = splits.op("#-")(array([split, "boxes_per_class"]))
    query = select(Dataset, first_classes(Dataset), number_of_classes(Dataset), splits)
    query = query.options(defer(Dataset.classes), defer(Dataset.splits))
    rows, has_more = newest_first(session, query, Dataset.id, after, limit)
    return [
        (row, {"classes": classes, "class_count": count, "splits": splits}) for row, classes, count, splits in rows
    ], has_more
