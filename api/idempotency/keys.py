"""Carry out a request with an Idempotency-Key at most once, and repeat its answer.

An attempt claims the key with a lease, as a worker claims a job. The transaction that carries out the request marks the
key as executed (see `_mark`), so that a crash between never makes a second resource; the answer is stored after it. An
attempt that finds a key executed but without an answer gives the resource as it is now. Requests that were refused
leave the key free.

A key is no resource that anybody lists, so that there is no `repository.py`: its few statements are part of the
protocol and stand here.
"""

import asyncio
import hashlib
import json
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast
from uuid import UUID, uuid4

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile
from starlette.types import Message

from api.db import HasId, get_engine
from api.errors import ApiError
from api.request_id import HEADER as REQUEST_ID
from api.request_id import current_request_id

HEADER = "Idempotency-Key"
PATTERN = r"^[\x21-\x7e]+$"
MAX_LENGTH = 200
KEPT_HOURS = 24
_LEASE_SECONDS = 60.0
_RENEW_SECONDS = 15.0
_WAIT_SECONDS = 10.0
"""So long a request waits for another with the same key."""
_LOOK_SECONDS = 0.1
_RESOURCES = ("datasets", "checkpoints", "jobs")
_log = logging.getLogger(__name__)


class Mismatch(ApiError):
    """The key belongs to another request."""

    code = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__(
            f"This {HEADER} was used for another request.",
            pointer=f"/{HEADER}",
            hint="Use a new key for a new request.",
        )


class InProgress(ApiError):
    """A request with the same key is being carried out."""

    status = HTTPStatus.CONFLICT
    code = "idempotency_in_progress"
    headers = {"Retry-After": "2"}  # noqa: RUF012  a constant

    def __init__(self) -> None:
        super().__init__(
            f"Another request with this {HEADER} is being carried out.",
            pointer=f"/{HEADER}",
            hint="Send it again in a while; it gets the same answer.",
        )


class Replayed(Exception):
    """The request was carried out before; here is its answer."""

    def __init__(self, response: Response):
        super().__init__()
        self.response = response


@dataclass
class _Claim:
    """An attempt to carry out a request."""

    route: str
    key: str
    request_hash: str
    target: str | None
    owner: UUID = field(default_factory=uuid4)
    renewal: "asyncio.Task[None] | None" = None

    @property
    def values(self) -> dict[str, Any]:
        return {
            "route": self.route,
            "key": self.key,
            "hash": self.request_hash,
            "target": self.target,
            "owner": self.owner,
            "lease": _LEASE_SECONDS,
            "hours": KEPT_HOURS,
        }


async def take(request: Request, key: str) -> None:
    """Claim a key before the request is carried out.

    Raises:
        Replayed: it was carried out before.
        Mismatch: the key belongs to another request.
        InProgress: a request with the same key is at work, and stays so.
    """
    path, route = request.url.path, request.scope["route"]
    target = path.rpartition("/")[0] if request.path_params else None
    claim = _Claim(f"{request.method} {route.path}", key, await _fingerprint(request), target)
    deadline = time.monotonic() + _WAIT_SECONDS
    while (earlier := await run_in_threadpool(_claim, claim)) is not None:
        if earlier.request_hash != claim.request_hash:
            raise Mismatch
        if earlier.status is not None:
            raise Replayed(_response(earlier.status, earlier.location, bytes(earlier.body)))
        if earlier.executed and earlier.free:
            await _complete(request, claim, earlier.target)
        if time.monotonic() > deadline:
            raise InProgress
        await asyncio.sleep(_LOOK_SECONDS)
    claim.renewal = asyncio.create_task(_renew(claim))
    request.state.idempotency_claim = claim
    request.state.on_session = partial(_mark, claim)


async def keep(request: Request, response: Response) -> Response:
    """Store the answer of a request that was carried out, and pass it on."""
    claim: _Claim | None = getattr(request.state, "idempotency_claim", None)
    if claim is not None and response.status_code < HTTPStatus.BAD_REQUEST:
        await _stop_renewal(claim)
        await run_in_threadpool(_store, claim, response)
    elif claim is not None:
        await give_up(request)
    return response


async def give_up(request: Request) -> None:
    """Free the key of a request that was refused or failed; it stays if the request was carried out before that."""
    claim: _Claim | None = getattr(request.state, "idempotency_claim", None)
    if claim is not None:
        await _stop_renewal(claim)
        try:
            await run_in_threadpool(_free, claim)
        except SQLAlchemyError:
            _log.warning("a key stays locked for up to %d s", _LEASE_SECONDS, exc_info=True)


def _claim(claim: _Claim) -> Any:
    """None if the key is now ours, else its row."""
    with Session(get_engine()) as session, session.begin():
        session.execute(
            text("delete from idempotency_keys where created_at < clock_timestamp() - make_interval(hours => :hours)"),
            claim.values,
        )
        ours = session.execute(
            text(
                """
                insert into idempotency_keys (route, key, request_hash, owner, locked_until, executed, target)
                values (:route, :key, :hash, :owner, clock_timestamp() + make_interval(secs => :lease), false, :target)
                on conflict (route, key) do update set owner = excluded.owner, locked_until = excluded.locked_until
                where idempotency_keys.request_hash = excluded.request_hash and not idempotency_keys.executed
                    and idempotency_keys.locked_until < clock_timestamp()
                returning key
                """
            ),
            claim.values,
        ).one_or_none()
        if ours is not None:
            return None
        found = text(
            "select request_hash, executed, target, status, location, body, locked_until < clock_timestamp() as free "
            "from idempotency_keys where route = :route and key = :key"
        )
        return session.execute(found, claim.values).one_or_none() or _Vanished(claim.request_hash)


@dataclass(frozen=True)
class _Vanished:
    """A row that was freed between two looks: look again."""

    request_hash: str
    status: int | None = None
    executed: bool = False


def _mark(claim: _Claim, session: Session) -> None:
    """Have every commit of a session also say that the request was carried out, and what it made."""
    made: dict[str, str | None] = {"target": claim.target}

    @event.listens_for(session, "after_flush")
    def _(session: Session, _: object) -> None:
        for row in session.new:
            if isinstance(row, HasId) and row.__tablename__ in _RESOURCES:  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
                made["target"] = f"/{row.__tablename__}/{row.id}"  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    @event.listens_for(session, "before_commit")
    def _(session: Session) -> None:
        session.flush()
        marked = session.execute(
            text(
                "update idempotency_keys set executed = true, target = :target "
                "where route = :route and key = :key and owner = :owner returning key"
            ),
            claim.values | made,
        ).one_or_none()
        if marked is None:
            raise InProgress


async def _complete(request: Request, claim: _Claim, target: str | None) -> None:
    """Answer for an attempt that carried out the request and then was cut off.

    Raises:
        Replayed: with the resource as it is now. Without it, nothing was kept, and the key is free.
    """
    status, body = (404, b"") if target is None else await _get(request, target)
    if status == HTTPStatus.OK:
        raise Replayed(_response(request.scope["route"].status_code or HTTPStatus.OK, target, body))
    if status == HTTPStatus.NOT_FOUND:
        await run_in_threadpool(_forget, claim)


async def _get(request: Request, path: str) -> tuple[int, bytes]:
    """Status and body of a GET within this application."""
    own = ("type", "asgi", "http_version", "scheme", "server", "client")
    scope: dict[str, Any] = {key: request.scope[key] for key in own if key in request.scope}
    headers = [(name, value) for name, value in request.scope["headers"] if name == b"host"]
    headers.append((REQUEST_ID.lower().encode(), (current_request_id() or "").encode()))
    scope |= {"method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers}
    status, body = 0, b""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    await request.app(scope, receive, send)
    return status, body


def _response(status: int, location: str | None, body: bytes) -> Response:
    headers = {"Idempotency-Replayed": "true"} | ({} if location is None else {"Location": location})
    return Response(body, status, headers, media_type="application/json")


def _store(claim: _Claim, response: Response) -> None:
    with Session(get_engine()) as session, session.begin():
        session.execute(
            text(
                "update idempotency_keys set status = :status, location = :location, body = :body "
                "where route = :route and key = :key and owner = :owner"
            ),
            claim.values
            | {
                "status": response.status_code,
                "location": response.headers.get("location"),
                "body": bytes(response.body),
            },
        )


def _free(claim: _Claim) -> None:
    with Session(get_engine()) as session, session.begin():
        owned = "where route = :route and key = :key and owner = :owner"
        session.execute(text(f"delete from idempotency_keys {owned} and not executed"), claim.values)  # noqa: S608
        session.execute(
            text(f"update idempotency_keys set locked_until = '-infinity' {owned}"),  # noqa: S608
            claim.values,
        )


def _forget(claim: _Claim) -> None:
    with Session(get_engine()) as session, session.begin():
        session.execute(
            text(
                "delete from idempotency_keys where route = :route and key = :key and status is null "
                "and locked_until < clock_timestamp()"
            ),
            claim.values,
        )


async def _renew(claim: _Claim) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        with suppress(SQLAlchemyError):  # the next one may succeed; without the lease the commit is refused
            await run_in_threadpool(_extend, claim)


def _extend(claim: _Claim) -> None:
    with Session(get_engine()) as session, session.begin():
        session.execute(
            text(
                "update idempotency_keys set locked_until = clock_timestamp() + make_interval(secs => :lease) "
                "where route = :route and key = :key and owner = :owner"
            ),
            claim.values,
        )


async def _stop_renewal(claim: _Claim) -> None:
    if claim.renewal is not None:
        claim.renewal.cancel()
        with suppress(asyncio.CancelledError):
            await claim.renewal


async def _fingerprint(request: Request) -> str:
    """SHA-256 of what a request asks for: path, query, and the JSON or the fields and files of a form."""
    content: Any = None
    kind = request.headers.get("content-type", "")
    if "json" in kind and await request.body():
        content = await request.json()
    elif "form" in kind:
        form = await request.form()
        content = sorted([await run_in_threadpool(_entry, name, value) for name, value in form.multi_items()])
    asked = [request.url.path, sorted(request.query_params.multi_items()), content]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _entry(name: str, value: UploadFile | str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (name, value)
    value.file.seek(0)
    digest = hashlib.file_digest(cast("Any", value.file), "sha256").hexdigest()
    value.file.seek(0)
    return (name, value.filename or "", digest)
