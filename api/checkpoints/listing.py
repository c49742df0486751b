"""Pages of checkpoints, of bounded size whatever their number of classes."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from api.checking.listing import first_classes, number_of_classes
from api.checkpoints.models import Checkpoint
from api.checkpoints.schemas import CheckpointPage, CheckpointView


def page(session: Session, after: UUID | None, limit: int) -> CheckpointPage:
    """Checkpoints newest first, after a given one."""
    query = select(Checkpoint, first_classes(Checkpoint), number_of_classes(Checkpoint))
    if after is not None:
        query = query.where(Checkpoint.id < after)
    rows = session.execute(
        query.options(defer(Checkpoint.classes)).order_by(Checkpoint.id.desc()).limit(limit + 1)
    ).all()
    return CheckpointPage(
        data=[CheckpointView.of(row, classes=classes, class_count=count) for row, classes, count in rows[:limit]],
        has_more=len(rows) > limit,
    )
