"""Alembic environment: migrates the database that DATABASE_URL names, one process at a time."""

from alembic import context
from sqlalchemy import create_engine, text

import api.checking.models
import api.checkpoints.models
import api.datasets.models
import api.idempotency.models
import api.jobs.models
import api.workers.models  # noqa: F401
from api.db import Base
from api.settings import Settings, get_settings

_LOCK = 4_127_001
"""Key of the advisory lock that lets several processes migrate at once without harm."""


def run() -> None:
    """Bring the schema up (or down) to the requested revision."""
    url = context.config.attributes.get("database_url")
    engine = create_engine(get_settings().database_url if url is None else Settings.with_driver(url))
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            context.run_migrations()
    engine.dispose()


run()
