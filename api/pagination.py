"""Pages of a list, newest first. The id of a page's last entry asks for the next one."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar, TypeVarTuple
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Row, Select
from sqlalchemy.orm import InstrumentedAttribute, Session

LARGEST_PAGE = 100
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="most entries of a page")]
After = Annotated[UUID | None, Query(description="id of the last entry of the page before")]

Entry = TypeVar("Entry")
Columns = TypeVarTuple("Columns")


class Page(BaseModel, Generic[Entry]):
    """Some entries of a list, newest first."""

    data: list[Entry] = Field(max_length=LARGEST_PAGE)
    has_more: bool = Field(description="more follow; ask with `after` set to the last id")


def newest_first(
    session: Session, query: Select[*Columns], key: InstrumentedAttribute[UUID], after: UUID | None, limit: int
) -> tuple[Sequence[Row[*Columns]], bool]:
    """One page of the rows of a query.

    Args:
        session: to read with.
        query: without an order.
        key: id of an entry; ids grow with time.
        after: id of the last entry of the page before; None: the first page.
        limit: most entries.

    Returns:
        The rows, and whether there are more.
    """
    if after is not None:
        query = query.where(key < after)
    rows: Sequence[Any] = session.execute(query.order_by(key.desc()).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit
