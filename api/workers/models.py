"""Table of workers."""

from datetime import datetime

from sqlalchemy import func
from sqlalchemy.orm import Mapped, mapped_column

from api.db import Base, CreatedAt


class Worker(Base):
    """A worker process and its last sign of life."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    started_at: Mapped[CreatedAt]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
