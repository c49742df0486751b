"""Table of Idempotency-Keys."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, CreatedAt


class IdempotencyKey(Base):
    """One key on one route, and how far its request has come."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[str]
    owner: Mapped[UUID]
    """The attempt that may carry out the request."""
    locked_until: Mapped[datetime]
    """The owner renews it while it is at work; afterwards somebody else may take over."""
    executed: Mapped[bool] = mapped_column(default=False)
    """Set in the transaction that carries out the request: from then on it is never carried out again."""
    target: Mapped[str | None]
    """Path of the resource that the request made or changed."""
    status: Mapped[int | None]
    location: Mapped[str | None]
    body: Mapped[bytes | None]
    """The answer; null until it is complete."""
    created_at: Mapped[CreatedAt]
