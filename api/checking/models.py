"""Columns of a resource that is checked, and the table of checkers."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, CreatedAt


class ResourceState(StrEnum):
    """States of a dataset or checkpoint: `checking`, then one of the others for good."""

    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"


class Checked:
    """Columns of a resource that is checked. What only the check finds out is empty or null until it is ready."""

    state: Mapped[str] = mapped_column(server_default=ResourceState.READY.value)
    error: Mapped[dict[str, Any] | None]
    """Why it was refused: code, message, hint and pointer into the request."""
    check_fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Grows with every claim; an answer that carries an older value changes nothing."""
    check_attempts: Mapped[int] = mapped_column(server_default="0")
    check_lease_until: Mapped[datetime | None]


def checked_constraints(table: str) -> tuple[CheckConstraint, Index]:
    """Constraint and index of a table with these columns."""
    states = ", ".join(repr(state.value) for state in ResourceState)
    return (
        CheckConstraint(f"state in ({states})", name="state"),
        Index(f"ix_{table}_checking", "id", postgresql_where=text("state = 'checking'")),
    )


class CheckerRow(Base):
    """A checker process and its last sign of life."""

    __tablename__ = "checkers"

    name: Mapped[str] = mapped_column(primary_key=True)
    warnings: Mapped[list[Any]]
    """Bounds that its machine cannot give to the checks."""
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
