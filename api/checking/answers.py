"""How an upload is answered: with what its check found, if that is known soon; else with `checking`."""

import asyncio
import time
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from api.checking import repository as checkers
from api.checking.models import ResourceState
from api.checking.states import RESOURCES, Resource, ResourceKind, announce, kind_of
from api.db import get_engine
from api.errors import ApiError
from api.live import Live
from api.settings import get_settings
from api.storage import Storage

_LOOK_SECONDS = 1.0
_DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeoutError)


def still_checking(view: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route whose answer may come before the check has ended."""
    return {HTTPStatus.ACCEPTED: {"model": view, "description": "stored; the check goes on, see `state`"}}


def store(session: Session, row: Resource) -> None:
    """Keep a resource whose files are in their place, and have it checked."""
    row.state = ResourceState.CHECKING
    session.add(row)
    announce(session)
    session.commit()
    session.refresh(row)


async def settled(live: Live, session: Session, storage: Storage, row: Resource) -> HTTPStatus:
    """Wait a while for the check of a resource and bring its row up to date.

    Without a checker there is nothing to wait for.

    Returns:
        201 if it is ready, 202 if it is still being checked.

    Raises:
        ApiError: it was refused; nothing of it was kept.
    """
    if not await run_in_threadpool(_is_anybody_there, session):
        return HTTPStatus.ACCEPTED
    await _wait(live, kind_of(row), row.id, get_settings().check_wait_seconds)
    return await run_in_threadpool(_conclude, session, storage, row)


def _is_anybody_there(session: Session) -> bool:
    try:
        count, _ = checkers.alive(session, get_settings().alive_seconds)
        session.commit()  # no connection is held while waiting
    except _DATABASE_DOWN:
        return False
    return count > 0


async def _wait(live: Live, kind: ResourceKind, identifier: UUID, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with live.watch(str(identifier)) as woken:
        while True:
            woken.clear()
            if await run_in_threadpool(_state, kind, identifier) != ResourceState.CHECKING:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                return
            try:
                await asyncio.wait_for(woken.wait(), min(left, _LOOK_SECONDS))
            except TimeoutError:
                continue


def _state(kind: ResourceKind, identifier: UUID) -> str | None:
    model = RESOURCES[kind]
    try:
        with Session(get_engine()) as session:
            return session.scalar(select(model.state).where(model.id == identifier))
    except _DATABASE_DOWN:
        return ResourceState.CHECKING  # it is stored; the answer must not say that nothing was


def _conclude(session: Session, storage: Storage, row: Resource) -> HTTPStatus:
    try:
        session.refresh(row)
    except _DATABASE_DOWN:
        return HTTPStatus.ACCEPTED
    if row.error is not None:
        error, message = row.error, " ".join([row.error["message"], *row.warnings])  # what the upload left out
        _forget(session, storage, row)
        raise ApiError(message, pointer=error["pointer"], hint=error["hint"], code=error["code"])
    return HTTPStatus.CREATED if row.state == ResourceState.READY else HTTPStatus.ACCEPTED


def _forget(session: Session, storage: Storage, row: Resource) -> None:
    """Remove a refused resource; its row stays if a job has named it meanwhile, or the database is away."""
    kind, identifier = kind_of(row), row.id
    try:
        session.delete(row)
        session.commit()
    except (IntegrityError, *_DATABASE_DOWN):
        session.rollback()
    storage.remove(kind, identifier)
