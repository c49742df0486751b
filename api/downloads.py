"""Send a file that is open, whole or in ranges (RFC 9110).

Starlette's `FileResponse` opens a path when it sends; by then a training may have put another file there.
Several ranges in one request are answered with the whole file, as the RFC allows.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from api.errors import FieldProblem, problem_response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)
Read = Callable[[int, int], Iterator[bytes]]
"""The bytes from the first number to before the second."""


def download(
    request: Request, read: Read, size: int, headers: Mapping[str, str], close: Callable[[], None]
) -> Response:
    """The answer to a request for a file.

    Args:
        request: its `Range` and `If-Range` are honoured.
        read: gives the content.
        size: of the content in bytes.
        headers: of the answer, `ETag` and `Content-Type` among them.
        close: called when all is sent, or the client is gone.
    """
    status, start, end = 200, 0, size
    wanted = request.headers.get("range")
    if wanted is not None and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        found = _parse(wanted, size)
        if found == (0, 0):
            close()
            detail = f"The file has {size} bytes, none of them in this range."
            fields = [FieldProblem(pointer="/Range", detail=detail)]
            return problem_response(416, "range_not_satisfiable", detail, fields, {"Content-Range": f"bytes */{size}"})
        if found is not None:
            status, (start, end) = 206, found
    fields = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)} | dict(headers)
    if status == 206:
        fields["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    content = iter(()) if request.method == "HEAD" else read(start, end)
    return StreamingResponse(content, status, fields, background=BackgroundTask(close))


def _parse(wanted: str, size: int) -> tuple[int, int] | None:
    """First byte, and the one after the last; (0, 0) if nothing of it is in the file, None if it is not one range."""
    parsed = _RANGE.fullmatch(wanted.replace(" ", ""))
    if parsed is None or parsed.groups() == ("", ""):
        return None
    first, last = parsed.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    return (start, end) if start < end else (0, 0)
