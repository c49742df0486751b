"""Middleware: what holds for every request and answer, before and after any route.

In this order, the first outermost; each relies on those before it:

1. `RequestId`: every answer has an id, refusals of the others included.
2. `HeadAsGet`: HEAD is GET without the body, for all that follow.
3. `ProblemDocuments`: refusals that the framework words in plain text become problem documents.
4. `TrustedHostMiddleware` (Starlette's): other host names are refused.
5. `SameOrigin`: changes on behalf of other origins' pages are refused.
6. `Compress`: text that is worth it travels as gzip.
"""

from http import HTTPStatus
from typing import ClassVar
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import FieldProblem, code_of, problem_response, too_large
from api.request_id import RequestId

_SMALLEST_GZIP = 1000
"""Bytes; below, the saving is not worth the work."""


def install_guards(app: FastAPI, allowed_hosts: list[str]) -> None:
    """Put the middleware around an application, in the order above."""
    app.add_middleware(Compress)
    app.add_middleware(SameOrigin)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts, www_redirect=False)
    app.add_middleware(ProblemDocuments)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestId)


class ProblemDocuments:
    """Turn the framework's refusals in plain text into problem documents, their headers kept."""

    _KNOWN: ClassVar[dict[int, tuple[str, str, str]]] = {
        400: ("range_invalid", "/Range", "The header Range cannot be understood."),
        416: ("range_not_satisfiable", "/Range", "The file has no bytes in this range."),
    }
    """Status to code, pointer and detail."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at the answer."""
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = Headers(raw=message["headers"])
                replaced = headers.get("content-type", "").startswith("text/plain")
                if replaced:
                    refusal = self._problem(scope, message["status"], headers)
                    await refusal(scope, receive, send)
            if not replaced:
                await send(message)

        await self.app(scope, receive, send_problem if scope["type"] == "http" else send)

    def _problem(self, scope: Scope, status: int, headers: Headers) -> ASGIApp:
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and MAX_BODY_SIZE_SCOPE_KEY in scope:
            return problem_response(status, "too_large", too_large(scope[MAX_BODY_SIZE_SCOPE_KEY]))
        code, pointer, detail = self._KNOWN.get(status, (code_of(status), "", HTTPStatus(status).phrase))
        if status == 400 and "range" not in Headers(scope=scope):
            code, pointer, detail = "host_not_allowed", "/Host", "The service does not answer to this host name."
        fields = [FieldProblem(pointer=pointer, detail=detail)] if pointer else []
        kept = {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}
        return problem_response(status, code, detail, fields, kept)


class _HeadersSent(Exception):
    """The answer to HEAD is complete; whoever makes its body may stop."""


class HeadAsGet:
    """Answer HEAD with the status and the headers that GET has."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass HEAD on as GET and end with its headers; an endless stream ends there, too."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                raise _HeadersSent

        try:
            await self.app({**scope, "method": "GET"}, receive, send_headers)
        except* _HeadersSent:
            pass


class SameOrigin:
    """Refuse changes that a browser sends on behalf of a page of another origin.

    Browsers say so in `Sec-Fetch-Site`, old ones in `Origin`; programs send neither and are not concerned.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the headers and pass the request on, or not."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS") or _same(Headers(scope=scope)):
            await self.app(scope, receive, send)
        else:
            refusal = problem_response(403, "cross_origin", "Pages of other origins may not change anything here.")
            await refusal(scope, receive, send)


class Compress:
    """Send JSON, scripts and styles as gzip to clients that take it.

    Not the files of jobs (large, mostly not compressible, and fetched in ranges), no part of a file, no event stream.
    """

    def __init__(self, app: ASGIApp):
        self.app = app
        self.compressing = GZipMiddleware(app, minimum_size=_SMALLEST_GZIP, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compress the answer, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "range" in headers or "/artifacts/" in scope["path"]:
            await self.app(scope, receive, send)
            return
        if not _takes_gzip(headers.get("accept-encoding", "")):
            kept = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            scope = {**scope, "headers": kept}

        async def send_weak(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                tag = headers.get("etag", "")
                if "content-encoding" in headers and tag.startswith('"'):
                    headers["etag"] = f"W/{tag}"  # other bytes than those the strong tag names
            await send(message)

        await self.compressing(scope, receive, send_weak)


def _takes_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().replace(" ", "").split(","):
        coding, _, quality = part.partition(";q=")
        if coding == "gzip":
            return not quality or quality.strip("0.") != ""
    return False


def _same(headers: Headers) -> bool:
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == headers.get("host")
    except ValueError:  # no URL at all
        return False
