"""Middleware that refuses requests before they reach a route, with problem details."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import problem_response


class AnnouncedLength:
    """Answer bodies that announce too great a length with problem details.

    The framework's own limit, which also counts what arrives unannounced, would answer these in plain text.
    """

    def __init__(self, app: ASGIApp, max_bytes: int):
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the header and pass the request on, or not."""
        announced = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if announced.isdigit() and int(announced) <= self.max_bytes:
            await self.app(scope, receive, send)
        else:
            refusal = problem_response(413, "too_large", f"The request is larger than {self.max_bytes} bytes.")
            await refusal(scope, receive, send)


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


def _same(headers: Headers) -> bool:
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
