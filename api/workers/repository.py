"""Signs of life of the workers."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.workers.models import Worker


def seen(session: Session, name: str, device: str, *, started: bool = False) -> None:
    """Record that a worker is alive; `started` when it has just begun."""
    now = func.clock_timestamp()
    statement = insert(Worker).values(name=name, device=device)
    changes = {"device": device, "seen_at": now} | ({"started_at": now} if started else {})
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changes))


def gone(session: Session, name: str) -> None:
    """Forget a worker that has ended in good order."""
    worker = session.get(Worker, name)
    if worker is not None:
        session.delete(worker)


def alive(session: Session, within_seconds: float) -> int:
    """Workers seen lately."""
    limit = func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, within_seconds)
    return session.scalar(select(func.count()).where(Worker.seen_at > limit)) or 0
