"""Reads of checkpoints."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from api.checking.columns import first_classes, number_of_classes
from api.checkpoints.models import Checkpoint
from api.pagination import newest_first


def find(session: Session, checkpoint_id: UUID) -> Checkpoint | None:
    """A checkpoint by id."""
    return session.get(Checkpoint, checkpoint_id)


def page(session: Session, after: UUID | None, limit: int) -> tuple[list[tuple[Checkpoint, dict[str, Any]]], bool]:
    """Checkpoints newest first, after a given one; and whether there are more.

    With each come the first classes, cut by the database, and their number.
    """
    query = select(Checkpoint, first_classes(Checkpoint), number_of_classes(Checkpoint))
    rows, has_more = newest_first(session, query.options(defer(Checkpoint.classes)), Checkpoint.id, after, limit)
    return [(row, {"classes": classes, "class_count": count}) for row, classes, count in rows], has_more
