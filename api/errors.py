"""Problem details (RFC 9457): every error of the API has one shape, with JSON pointers to what is wrong."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from detrdistill.errors import DetrDistillError

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_REFERENCE = "#/components/schemas/{model}"


class FieldProblem(BaseModel):
    """One thing that is wrong with the request."""

    pointer: str = Field(description="JSON pointer (RFC 6901) to the field; for a form, `/field`", examples=["/config"])
    detail: str = Field(description="what is wrong")
    hint: str = Field(default="", description="what to do")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(description="identifies the kind of problem", examples=["urn:detrdistill:problem:not_found"])
    title: str
    status: int
    detail: str = Field(description="what happened, in words for people")
    code: str = Field(description="the kind of problem, for programs", examples=["dataset_invalid"])
    errors: list[FieldProblem] = Field(default=[], description="the fields at fault")


class ApiError(Exception):
    """An error with a status, to be raised anywhere below a route."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "invalid"
    headers: dict[str, str] = {}  # noqa: RUF012  constants of the class

    def __init__(self, detail: str, *, pointer: str = "", hint: str = "", code: str | None = None):
        super().__init__(detail)
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


class TooLarge(ApiError):
    """The request is larger than the operator allows."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "too_large"


def from_core(error: DetrDistillError, pointer: str) -> ApiError:
    """A user error of the core, seen as a fault of one field of the request."""
    return ApiError(error.message, pointer=pointer, hint=error.hint, code=error.code)


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
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The response of an error."""
    problem = Problem(
        type=f"urn:detrdistill:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors),
    )
    return JSONResponse(problem.model_dump(), status, headers, media_type=MEDIA_TYPE)


def install_handlers(app: FastAPI) -> None:
    """Give every error the one shape."""

    @app.exception_handler(ApiError)
    def _(_: Request, error: ApiError) -> JSONResponse:
        fields = [FieldProblem(pointer=error.pointer, detail=error.detail, hint=error.hint)] if error.pointer else []
        return problem_response(error.status, error.code, error.detail, fields, error.headers)

    @app.exception_handler(RequestValidationError)
    def _(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = [
            FieldProblem(pointer=pointer_of(item["loc"], error.body), detail=item["msg"]) for item in error.errors()
        ]
        what = "A field of the request is wrong." if len(fields) == 1 else f"{len(fields)} fields are wrong."
        return problem_response(422, "request_invalid", what, fields)

    @app.exception_handler(HTTPException)
    def _(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        headers = dict(error.headers or {})
        return problem_response(status, status.name.lower(), str(error.detail), headers=headers)

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(PoolTimeoutError)
    def _(_: Request, error: Exception) -> JSONResponse:
        _log.warning("database: %s", error)
        detail = "The database does not answer. Nothing was changed; try again."
        return problem_response(503, "database_unavailable", detail, headers={"Retry-After": "5"})

    @app.exception_handler(Exception)
    def _(_: Request, error: Exception) -> JSONResponse:
        _log.exception("unexpected error", exc_info=error)
        return problem_response(500, "internal", "An unexpected error; the log of the api has the details.")


def pointer_of(location: Sequence[str | int], body: Any) -> str:
    """The JSON pointer of a pydantic location.

    Pydantic names the chosen member of a union in the location; such a name is not part of the document and is
    left out. It is told from a missing field by the `kind` of the object it stands at.
    """
    parts: list[str] = []
    node: Any = body
    for part in location[1:] if location and location[0] in ("body", "query", "path", "header") else location:
        if isinstance(node, dict) and part not in node and cast("dict[str, Any]", node).get("kind") == part:
            continue
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
        try:
            node = cast("Any", node)[part]
        except (KeyError, IndexError, TypeError):
            node = None
    return "".join(f"/{part}" for part in parts)
