"""Pages of data sets, of bounded size whatever their number of classes."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session, defer

from api.checking.listing import first_classes, number_of_classes
from api.datasets.models import Dataset
from api.datasets.schemas import DatasetPage, DatasetView


def page(session: Session, after: UUID | None, limit: int) -> DatasetPage:
    """Data sets newest first, after a given one."""
    splits = Dataset.splits
    for split in ("train", "val"):
        splits = splits.op("#-")(array([split, "boxes_per_class"]))
    query = select(Dataset, first_classes(Dataset), number_of_classes(Dataset), splits)
    if after is not None:
        query = query.where(Dataset.id < after)
    query = query.options(defer(Dataset.classes), defer(Dataset.splits)).order_by(Dataset.id.desc()).limit(limit + 1)
    rows = session.execute(query).all()
    return DatasetPage(
        data=[
            DatasetView.of(row, classes=classes, class_count=count, splits=splits)
            for row, classes, count, splits in rows[:limit]
        ],
        has_more=len(rows) > limit,
    )
