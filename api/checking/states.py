"""The life of a check. Every change of a resource's state is one guarded UPDATE in this file and nowhere else.

    checking -> ready | refused
    checking -> checking      the checker was lost or shut down, or the process of the check was killed

A checker owns a check as long as its `fence` is the row's; all times are the database's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Update, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from api.checking.models import ResourceState
from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.live import CHANNEL

CHECKS_CHANNEL = "detrdistill_checks"
"""A notification here wakes the checkers; rows are what they work from."""
ResourceKind = Literal["datasets", "checkpoints"]
Resource = Dataset | Checkpoint
RESOURCES: Mapping[ResourceKind, type[Dataset] | type[Checkpoint]] = MappingProxyType(
    {"checkpoints": Checkpoint, "datasets": Dataset}
)


@dataclass(frozen=True)
class CheckClaim:
    """Ownership of the check of a resource."""

    kind: ResourceKind
    id: UUID
    fence: int
    attempt: int
    path: str | None
    """Folder of the operator, if it was registered by path."""
    size: int
    """Bytes of its files."""
    options: dict[str, Any]
    pointer: str
    """Field of the request that named the files."""


def kind_of(row: Resource) -> ResourceKind:
    """The kind of a row."""
    return "datasets" if isinstance(row, Dataset) else "checkpoints"


def announce(session: Session) -> None:
    """Wake the checkers once this transaction is committed."""
    session.execute(select(func.pg_notify(CHECKS_CHANNEL, "")))


def claim(session: Session, kind: ResourceKind, lease_seconds: float) -> CheckClaim | None:
    """Take the oldest resource of a kind that waits for a check; None if there is none.

    Checks that were tried before come after the others, so that one that keeps dying holds up nobody.
    """
    model = RESOURCES[kind]
    now = func.clock_timestamp()
    free = (
        select(model.id)
        .where(
            model.state == ResourceState.CHECKING,
            or_(model.check_lease_until.is_(None), model.check_lease_until < now),
        )
        .order_by(model.check_attempts, model.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    taken = (
        update(model)
        .where(model.id == free)
        .values(
            check_fence=model.check_fence + 1,
            check_attempts=model.check_attempts + 1,
            check_lease_until=now + _seconds(lease_seconds),
        )
        .returning(model)
        .execution_options(populate_existing=True)
    )
    row = session.scalars(taken).one_or_none()
    if row is None:
        return None
    return CheckClaim(
        kind,
        row.id,
        row.check_fence,
        row.check_attempts,
        row.path,
        row.size,
        (row.options or {}) if isinstance(row, Dataset) else {},
        source_pointer(row),
    )


def source_pointer(row: Resource) -> str:
    """Field of the request that named the files of a resource."""
    if row.path is not None:
        return "/path"
    return "/job_id" if isinstance(row, Checkpoint) and row.job_id is not None else "/files"


def renew(session: Session, owned: CheckClaim, lease_seconds: float) -> bool:
    """Extend the lease; false if the check is no longer ours."""
    return _change(session, owned, check_lease_until=func.clock_timestamp() + _seconds(lease_seconds))


def accept(session: Session, owned: CheckClaim, facts: Mapping[str, Any]) -> bool:
    """Make a resource ready, with what the check found out; false if the check is no longer ours.

    Its warnings come after those of the upload.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    if "warnings" in known:
        known["warnings"] = RESOURCES[owned.kind].warnings.op("||")(cast(known["warnings"], JSONB))
    return _settle(session, owned, state=ResourceState.READY.value, **known)


def refuse(session: Session, owned: CheckClaim, error: Mapping[str, str]) -> bool:
    """Refuse a resource; false if the check is no longer ours."""
    return _settle(session, owned, state=ResourceState.REFUSED.value, error=dict(error))


def give_back(session: Session, owned: CheckClaim, *, count_attempt: bool) -> bool:
    """Leave a check to whoever claims it next; an attempt is not counted where a checker is shut down."""
    changed = _change(
        session, owned, check_lease_until=None, check_attempts=owned.attempt - (0 if count_attempt else 1)
    )
    announce(session)
    return changed


def _settle(session: Session, owned: CheckClaim, **values: Any) -> bool:
    changed = _change(session, owned, check_lease_until=None, **values)
    if changed:
        session.execute(select(func.pg_notify(CHANNEL, str(owned.id))))
    return changed


def _change(session: Session, owned: CheckClaim, **values: Any) -> bool:
    model = RESOURCES[owned.kind]
    ours = (model.id == owned.id, model.check_fence == owned.fence, model.state == ResourceState.CHECKING)
    statement: Update = update(model).where(*ours).values(**values).execution_options(synchronize_session=False)
    return session.execute(statement.returning(model.id)).one_or_none() is not None


def _seconds(seconds: float) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds)
