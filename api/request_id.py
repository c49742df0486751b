"""One id for each request: in its answer, in every problem document and in every line that it writes to the log."""

import logging
import re
from contextvars import ContextVar
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_LOGGERS = ("uvicorn", "uvicorn.access", "api")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """Id of the request that is answered here; None outside of any."""
    return _current.get()


class RequestId:
    """Take the id that a client or proxy sent, if it is a sane one, else make one; and give it back."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the id. It stays set afterwards: the handler of unexpected errors lies outside of this."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        identifier = given if _SANE.fullmatch(given) else str(uuid4())
        _current.set(identifier)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = identifier
            await send(message)

        await self.app(scope, receive, send_with_id)


class _WithRequestId(logging.Formatter):
    """What another formatter makes of a record, with the id of the request before it."""

    def __init__(self, inner: logging.Formatter):
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        return f"[{current_request_id() or '-'}] {self._inner.format(record)}"


def put_ids_into_logs() -> None:
    """Mark the lines of the server and of the api; safe to call again."""
    own = logging.getLogger("api")
    if not own.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s:     %(name)s: %(message)s"))
        own.addHandler(handler)
    for name in _LOGGERS:
        for handler in logging.getLogger(name).handlers:
            if not isinstance(handler.formatter, _WithRequestId):
                handler.setFormatter(_WithRequestId(handler.formatter or logging.Formatter()))
