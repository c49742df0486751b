"""The database: engine, sessions and the base of all tables."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy import DateTime, Engine, MetaData, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from uuid_utils.compat import uuid7

from api.settings import get_settings

_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

_OPTIONS = ("timezone=UTC", "statement_timeout=30000", "idle_in_transaction_session_timeout=10000")
"""The last: a process that is frozen in the middle of a transaction must not keep the rows it has locked."""


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy's own form
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        datetime: DateTime(timezone=True),
    }


UuidKey = Annotated[UUID, mapped_column(primary_key=True, default=uuid7)]
"""Time-ordered primary key, so that newest first is the order of the key."""
CreatedAt = Annotated[datetime, mapped_column(server_default=func.clock_timestamp())]


class HasId:
    """Columns every resource has."""

    id: Mapped[UuidKey]
    created_at: Mapped[CreatedAt]


@lru_cache
def get_engine() -> Engine:
    """The connection pool of this process."""
    return create_engine(
        get_settings().database_url,
        pool_size=10,
        max_overflow=10,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 3, "options": " ".join(f"-c {option}" for option in _OPTIONS)},
    )


def get_session(request: Request) -> Iterator[Session]:
    """One session per request; the handler commits. Whoever answers the request may have prepared it."""
    with Session(get_engine(), expire_on_commit=False) as session:
        if (prepare := getattr(request.state, "on_session", None)) is not None:
            prepare(session)
        yield session


DbSession = Annotated[Session, Depends(get_session)]
