"""The route class of every resource: strict about requests, and at most once for each Idempotency-Key."""

from collections import Counter
from collections.abc import Callable, Container, Coroutine, Iterator, Sequence
from email.message import Message
from functools import cached_property
from typing import Annotated, Any, cast

from fastapi import Depends, Header, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import APIRoute
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY

from api.errors import (
    ApiError,
    FieldProblem,
    Malformed,
    TooLarge,
    UnsupportedMediaType,
    body_schema,
    problems,
    summary,
    too_large,
)
from api.idempotency import keys
from detrdistill.schema.validation import Finding, did_you_mean, pointer_to, text_fault, unusable

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


class ApiRoute(APIRoute):
    """A route that refuses what it does not know, and repeats its stored answer to a request that is sent again."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any):
        posts = "POST" in (options.get("methods") or ())
        options["dependencies"] = [*(options.get("dependencies") or ()), Depends(_check_fields)]
        if posts:
            options["dependencies"].append(Depends(_take_key))
            options["responses"] = problems(409, 415) | (options.get("responses") or {})
        super().__init__(path, endpoint, **options)

    @cached_property
    def known_fields(self) -> tuple[list[str], list[str], frozenset[str]]:
        """Names of its query fields and of its body fields, and which of them may be given several times."""
        every = list(_all_of(self.dependant))
        query = [item for part in every for item in part.query_params]
        body = [item for part in every for item in part.body_params]
        several = frozenset(item.alias for item in (*query, *body) if "list[" in str(item.field_info.annotation))
        return [item.alias for item in query], [item.alias for item in body], several

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the framework, and what is around it."""
        handler = super().get_route_handler()
        form = self.body_field is not None and isinstance(self.body_field.field_info, Form)
        has_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            _check_length(request)
            if has_body:
                _check_media_type(request, form=form)
            try:
                response = await handler(request)
            except keys.Replayed as replayed:
                return replayed.response
            except Exception as error:
                await keys.give_up(request)
                if (unreadable := _unreadable(error, form=form)) is not None:
                    raise unreadable from error
                raise
            return await keys.keep(request, response)

        return handle


async def _check_fields(request: Request) -> None:
    """Refuse query and form fields that nothing reads or that are given twice, and JSON that cannot be kept."""
    route: ApiRoute = request.scope["route"]
    query, body, lists = route.known_fields
    found = _strangers([name for name, _ in request.query_params.multi_items()], query, lists)
    found += [
        Finding(pointer_to([name]), fault)
        for name, value in request.query_params.multi_items()
        if name in query and (fault := text_fault(value))
    ]
    if route.body_field is not None and isinstance(route.body_field.field_info, Form):
        form = await request.form()
        entries = form.multi_items()
        found += _strangers([name for name, _ in entries], body, lists)
        for name, value in entries:
            text = (value.filename or "") if isinstance(value, UploadFile) else value
            if fault := text_fault(text):
                found.append(Finding(pointer_to([name]), fault))
    elif route.body_field is not None and await request.body():
        found += unusable(await request.json(), body_schema(route))
    if found:
        fields = [FieldProblem(pointer=item.pointer, detail=item.message, hint=item.hint) for item in found]
        raise ApiError(summary(fields), code="request_invalid", errors=fields)


def _all_of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for part in dependant.dependencies:
        yield from _all_of(part)


def _strangers(given: Sequence[str], known: Sequence[str], lists: Container[str]) -> list[Finding]:
    found: list[Finding] = []
    for name, count in Counter(given).items():
        if name not in known:
            hint = f"Known here: {', '.join(known)}." if known else "Nothing is read here."
            found.append(Finding(pointer_to([name]), f"unknown field `{name}`{did_you_mean(name, known)}", hint))
        elif count > 1 and name not in lists:
            found.append(Finding(pointer_to([name]), f"`{name}` is given {count} times", "Give it once."))
    return found


async def _take_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=keys.HEADER,
            min_length=1,
            max_length=keys.MAX_LENGTH,
            pattern=keys.PATTERN,
            description=f"the same key gives the same answer for {keys.KEPT_HOURS} hours, however often it is sent; "
            "another request under it is refused",
        ),
    ] = None,
) -> None:
    if idempotency_key is not None:
        await keys.take(request, idempotency_key)


def _check_length(request: Request) -> None:
    """Refuse an announced body at once; the framework would do so only after the work."""
    announced, limit = request.headers.get("content-length", "0"), request.scope.get(MAX_BODY_SIZE_SCOPE_KEY)
    if limit is None:
        return
    if not (announced.isascii() and announced.isdigit() and len(announced) < 20 and int(announced) <= limit):
        raise TooLarge(too_large(limit))


def _check_media_type(request: Request, *, form: bool) -> None:
    """Refuse a body of another kind; without a body the missing fields are named instead."""
    given = request.headers.get("content-type")
    if given is None and request.headers.get("content-length", "0") == "0":
        return
    message = Message()
    message["content-type"] = given or ""
    kind = message.get_content_type() if given else ""
    fits = (
        kind in _FORMS
        if form
        else kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    )
    if not fits:
        takes = " or ".join(_FORMS) if form else "application/json"
        raise UnsupportedMediaType(
            f"This takes {takes}, not {kind or 'a body of unknown kind'}.",
            pointer="/Content-Type",
            hint="Set the header Content-Type.",
        )


def _unreadable(error: Exception, *, form: bool) -> Exception | None:
    """The framework's complaint of a body that cannot be parsed, in our words."""
    if isinstance(error, HTTPException) and error.status_code == 400:
        if form:
            return Malformed(f"The form cannot be read: {error.detail}", code="form_invalid")
        cause = error.__cause__
        if isinstance(cause, RecursionError):
            return Malformed("The JSON is nested too deep.", code="json_invalid")
        return Malformed("The body is no valid JSON in UTF-8.", code="json_invalid")
    if isinstance(error, RequestValidationError):
        first = cast("dict[str, Any]", error.errors()[0])
        if first["type"] == "json_invalid":
            return Malformed(
                f"The body is no valid JSON: {first['ctx']['error']} at character {first['loc'][1]}.",
                code="json_invalid",
            )
    return None
