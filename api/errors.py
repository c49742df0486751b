"""Problem details (RFC 9457): every error of the API has one shape, with JSON pointers to what is wrong."""

import errno
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field, TypeAdapter
from pydantic.json_schema import models_json_schema
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount

from api.error_codes import ERRORS
from api.request_id import HEADER as REQUEST_ID
from api.request_id import current_request_id
from detrdistill.schema.validation import Finding, findings, pointer_to

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_REFERENCE = "#/components/schemas/{model}"
MAX_ERRORS = 50
MAX_TEXT = 2000
"""Characters of one text of a problem."""
_CODES = {413: "too_large", 416: "range_not_satisfiable", 422: "request_invalid"}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class FieldProblem(BaseModel):
    """One thing that is wrong with the request."""

    pointer: str = Field(description="JSON pointer (RFC 6901) to the field; for a form, `/field`", examples=["/config"])
    detail: str = Field(description="what is wrong")
    hint: str = Field(default="", description="what to do")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(description="identifies the kind of problem", examples=["urn:detrdistill:problem:not_found"])
    title: str = Field(description="the kind of problem, for people")
    status: int
    detail: str = Field(description="what happened, in words for people")
    code: str = Field(description="the kind of problem, for programs", examples=["dataset_invalid"])
    request_id: str = Field(
        default="", description="id of the request, also in the header X-Request-Id and in the log of the api"
    )
    errors: list[FieldProblem] = Field(default=[], max_length=MAX_ERRORS, description="the fields at fault")


class ApiError(Exception):
    """An error with a status, to be raised anywhere below a route."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid"
    headers: dict[str, str] = {}  # noqa: RUF012  constants of the class

    def __init__(
        self,
        detail: str,
        *,
        pointer: str = "",
        hint: str = "",
        code: str | None = None,
        errors: Sequence[FieldProblem] = (),
    ):
        super().__init__(detail)
        self.errors = errors
        self.detail = detail
        self.pointer = pointer
        self.hint = hint
        self.code = code or self.code


class NotFound(ApiError):
    """The resource does not exist."""

    status = HTTPStatus.NOT_FOUND
    code = "not_found"


class Conflict(ApiError):
    """The resource is in a state that does not allow it."""

    status = HTTPStatus.CONFLICT
    code = "conflict"


class Gone(ApiError):
    """The resource is known, but its files are no longer there."""

    status = HTTPStatus.GONE
    code = "file_gone"


class Forbidden(ApiError):
    """The operator has not allowed it."""

    status = HTTPStatus.FORBIDDEN
    code = "forbidden"


class Malformed(ApiError):
    """The body cannot be read."""

    status = HTTPStatus.BAD_REQUEST
    code = "body_unreadable"


class UnsupportedMediaType(ApiError):
    """The body is of a kind that the route does not take."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    code = "unsupported_media_type"


class TooLarge(ApiError):
    """The request is larger than the operator allows."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def describe_problems(openapi: dict[str, Any]) -> dict[str, Any]:
    """Add the schemas that `problems` refers to; they are no response models, so the framework does not know them."""
    _, definitions = models_json_schema([(Problem, "serialization")], ref_template=_REFERENCE)
    openapi["components"]["schemas"] |= definitions["$defs"]
    return openapi


def problem_response(
    status: int,
    code: str,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The response of an error. Words that quote the request are cut and made encodable."""
    problem = Problem(
        type=f"urn:detrdistill:problem:{code}",
        title=ERRORS[code].title if code in ERRORS else HTTPStatus(status).phrase,
        status=status,
        detail=_plain(detail),
        code=code,
        request_id=current_request_id() or "",
        errors=[
            FieldProblem(pointer=_plain(error.pointer), detail=_plain(error.detail), hint=_plain(error.hint))
            for error in errors[:MAX_ERRORS]
        ],
    )
    return JSONResponse(problem.model_dump(), status, headers, media_type=MEDIA_TYPE)


def _plain(text: str) -> str:
    """A text as it can be sent: half characters and zero bytes as escapes, and not too long."""
    encodable = text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
    return encodable if len(text) <= MAX_TEXT else f"{encodable}..."


def too_large(limit: int) -> str:
    """The detail of a 413."""
    return f"The request is larger than {limit} bytes."


def code_of(status: int) -> str:
    """Code of a problem of which nothing but the status is known; the names in `HTTPStatus` change with Python."""
    return _CODES.get(status, HTTPStatus(status).name.lower())


def install_handlers(app: FastAPI) -> None:
    """Give every error the one shape."""

    @app.exception_handler(ApiError)
    def _(_: Request, error: ApiError) -> JSONResponse:
        fields = error.errors
        if error.pointer and not fields:
            fields = [FieldProblem(pointer=error.pointer, detail=error.detail, hint=error.hint)]
        return problem_response(error.status, error.code, error.detail, fields, error.headers)

    @app.exception_handler(RequestValidationError)
    def _(request: Request, error: RequestValidationError) -> JSONResponse:
        found = _findings(request, error)
        return problem_response(422, "request_invalid", summary(found), found)

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(allowed_methods(request))
            if request.method == "OPTIONS":
                return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
            return problem_response(405, "method_not_allowed", f"This takes only {headers['Allow']}.", (), headers)
        return problem_response(error.status_code, code_of(error.status_code), str(error.detail), headers=headers)

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeoutError)
    def _(_: Request, error: Exception) -> JSONResponse:
        _log.warning("database: %s", error)
        detail = "The database does not answer. Nothing was changed; try again."
        return problem_response(503, "database_unavailable", detail, headers={"Retry-After": "5"})

    @app.exception_handler(DataError)
    @app.exception_handler(UnicodeEncodeError)
    def _(_: Request, error: Exception) -> JSONResponse:
        _log.warning("not storable: %s", error)
        detail = "A text or a number of the request cannot be stored; nothing was kept."
        hint = "Look for zero bytes, half characters (lone surrogates) and numbers that are not finite or very large."
        return problem_response(422, "not_storable", detail, [FieldProblem(pointer="", detail=detail, hint=hint)])

    app.exception_handler(OSError)(_of_storage)

    @app.exception_handler(Exception)
    def _(_: Request, error: Exception) -> JSONResponse:
        _log.exception("unexpected error", exc_info=error)
        headers = {REQUEST_ID: identifier} if (identifier := current_request_id()) else {}
        detail = "An unexpected error; the log of the api has the details under this request id."
        return problem_response(500, "internal", detail, headers=headers)


def _of_storage(_: Request, error: OSError) -> JSONResponse:
    """The answer where the system does not read or write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return problem_response(507, "storage_full", "The storage is full; nothing was kept.")
    _log.exception("unexpected error of the system", exc_info=error)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE):
        detail = "The storage does not read or write now. Nothing was changed; the log of the api has the details."
        return problem_response(503, "storage_unavailable", detail, headers={"Retry-After": "30"})
    return problem_response(500, "internal", "An unexpected error; the log of the api has the details.")


def summary(found: Sequence[FieldProblem]) -> str:
    """One sentence for several faults."""
    return "A field of the request is wrong." if len(found) == 1 else f"{len(found)} fields are wrong."


def allowed_methods(request: Request) -> list[str]:
    """Methods that the path of a request takes."""
    app: FastAPI = request.app
    scope = {key: request.scope[key] for key in ("type", "path", "headers")}
    scope["root_path"] = request.scope.get("app_root_path", request.scope["root_path"])  # as it was before any mount

    def takes(route: BaseRoute, method: str) -> bool:
        if isinstance(route, Mount) and method != "GET":  # a mount matches any; ours hold files
            return False
        return route.matches({**scope, "method": method})[0] is Match.FULL

    found = [method for method in _METHODS if any(takes(route, method) for route in app.routes)]
    return [*(["GET", "HEAD"] if "GET" in found else []), *(name for name in found if name != "GET"), "OPTIONS"]


def _findings(request: Request, error: RequestValidationError) -> list[FieldProblem]:
    """The faults of a request, worded."""
    errors = cast("list[ErrorDetails]", error.errors())
    is_json = isinstance(error.body, dict | list)
    in_json = [
        cast("ErrorDetails", {**item, "loc": item["loc"][1:]})
        for item in errors
        if is_json and item["loc"][0] == "body"
    ]
    found = [_of_field(item) for item in errors if not is_json or item["loc"][0] != "body"]
    if in_json:
        found += findings(in_json, error.body, body_schema(request.scope["route"]))
    return [FieldProblem(pointer=item.pointer, detail=item.message, hint=item.hint) for item in found]


def _of_field(error: ErrorDetails) -> Finding:
    """An error of a form, of the query, the path, a header, or of a body as a whole."""
    name = error["loc"][1] if len(error["loc"]) > 1 else None
    pointer = "" if name is None else pointer_to([name])
    match error["type"]:
        case "missing":
            return Finding(pointer, "The body is missing." if name is None else f"`{name}` is missing")
        case "value_error":
            cause = str(error.get("ctx", {}).get("error"))
            return Finding(pointer, "must be a file" if "UploadFile" in cause else cause)
        case _:
            return Finding(pointer, error["msg"])


def body_schema(route: APIRoute) -> dict[str, Any]:
    """JSON schema of the body that a route takes; empty where it takes none."""
    field = route.body_field
    return {} if field is None else _schema_of(cast("type[Any]", field.field_info.annotation))


@lru_cache
def _schema_of(model: type[Any]) -> dict[str, Any]:
    return TypeAdapter(model).json_schema()
