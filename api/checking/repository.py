"""Signs of life of the checkers. What is checked has its columns in `columns` and its life in `states`."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.checking.models import CheckerRow


def seen(session: Session, name: str, warnings: Sequence[str]) -> None:
    """Record that a checker is alive."""
    statement = insert(CheckerRow).values(name=name, warnings=list(warnings))
    changes = {"warnings": statement.excluded.warnings, "seen_at": func.clock_timestamp()}
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))


def gone(session: Session, name: str) -> None:
    """Forget a checker that has ended in good order."""
    session.execute(delete(CheckerRow).where(CheckerRow.name == name))


def forget(session: Session, silent_seconds: float) -> None:
    """Forget checkers that were killed long ago."""
    session.execute(delete(CheckerRow).where(~_seen_within(silent_seconds)))


def alive(session: Session, within_seconds: float) -> tuple[int, list[str]]:
    """Number of checkers seen lately, and what they warn of."""
    rows = session.scalars(select(CheckerRow.warnings).where(_seen_within(within_seconds))).all()
    return len(rows), sorted({str(warning) for row in rows for warning in row})


def _seen_within(seconds: float) -> ColumnElement[bool]:
    return CheckerRow.seen_at > func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
