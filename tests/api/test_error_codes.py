"""Every error code that the source uses is in the table, with the status it is answered with."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest

from api import routing, uploads  # noqa: F401  classes of errors are declared there
from api.error_codes import ERRORS, as_markdown
from api.errors import _CODES, ApiError, problem_response
from api.guards import ProblemDocuments
from api.idempotency import keys  # noqa: F401
from detrdistill.errors import DetrDistillError
from tests.support.source import calls, trees
from worker.failures import _REASONS

NOUNS = ("dataset", "checkpoint")
"""What a code that is put together begins with."""


def subclasses(of: type[Any]) -> Iterator[type[Any]]:
    yield of
    for one in of.__subclasses__():
        yield from subclasses(one)


def texts(node: ast.expr | None) -> list[str]:
    """The codes that an expression can be: a text, or one that begins with the noun of a resource."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(end))]):
            return [noun + end for noun in NOUNS]
        case _:
            return []


def positions() -> dict[str, int]:
    """Functions of the source that take a code, by the place of that parameter."""
    functions = (node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    names = {function.name: [argument.arg for argument in function.args.args] for function in functions}
    return {name: arguments.index("code") for name, arguments in names.items() if "code" in arguments}


def named_codes() -> Iterator[tuple[str, str]]:
    """Codes that the source names, each with its place."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            found: list[ast.expr | None] = []
            match node:
                case ast.keyword(arg="code", value=value):
                    found = [value]
                case ast.Dict(keys=names, values=values):
                    pairs = zip(names, values, strict=True)
                    found = [value for name, value in pairs if isinstance(name, ast.Constant) and name.value == "code"]
                case ast.Assign(targets=[ast.Name(id="code")], value=value):
                    found = [value]
                case ast.AnnAssign(target=ast.Name(id="code"), value=value):
                    found = [value]
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                    pairs = zip(targets, values, strict=True)
                    found = [value for name, value in pairs if isinstance(name, ast.Name) and name.id == "code"]
                case _:
                    pass
            yield from ((code, f"{path}:{node.lineno}") for value in found for code in texts(value))  # pyright: ignore
    where = positions()
    for path, name, call in calls():
        if name in where and len(call.args) > where[name]:
            yield from ((code, f"{path}:{call.lineno}") for code in texts(call.args[where[name]]))
    yield from ((code, "api.errors") for code in _CODES.values())
    yield from ((code, "api.guards") for code, _, _ in ProblemDocuments._KNOWN.values())
    yield from ((code, "worker.failures") for code in _REASONS)


def answered() -> Iterator[tuple[str, int]]:
    """Codes with the statuses that the source answers them with."""
    classes = {one.__name__: one for one in subclasses(ApiError)}
    yield from ((one.code, int(one.status)) for one in classes.values())
    yield from ((code, status) for status, code in _CODES.items())
    yield from ((code, status) for status, (code, _, _) in ProblemDocuments._KNOWN.items())
    yield "host_not_allowed", 400  # the status is that of the framework's answer
    for _, name, call in calls():
        if name in classes:
            status = int(classes[name].status)
            yield from ((code, status) for item in call.keywords if item.arg == "code" for code in texts(item.value))
        if name == "problem_response" and isinstance(call.args[0], ast.Constant):
            yield from ((code, int(str(call.args[0].value))) for code in texts(call.args[1]))


def test_every_code_that_the_source_names_is_in_the_table():
    assert {code: place for code, place in named_codes() if code not in ERRORS} == {}
    assert {one.code for one in subclasses(DetrDistillError)} <= ERRORS.keys()


def test_every_code_of_the_table_is_used():
    assert ERRORS.keys() - {code for code, _ in named_codes()} == set()


def test_the_scan_sees_each_way_to_name_a_code():
    found = dict.fromkeys(code for code, _ in named_codes())
    for code in ("diverged", "job_active", "worker_lost", "host_not_allowed", "dataset_refused", "worker_shut_down"):
        assert code in found, code


def test_the_statuses_of_the_table_are_those_of_the_answers():
    statuses: dict[str, set[int]] = {}
    for code, status in answered():
        statuses.setdefault(code, set()).add(status)
    refusals = {one.code for one in subclasses(DetrDistillError)} | {
        code for code, error in ERRORS.items() if "check" in error.places
    }
    for code, error in ERRORS.items():
        # what core and checks refuse is answered with 422
        passed_on = {422} if code in refusals and "request" in error.places and code != "internal" else set()
        assert set(error.statuses) == statuses.get(code, set()) | passed_on, code
        assert bool(error.statuses) == ("request" in error.places), code


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_has_its_words(code: str):
    error = ERRORS[code]
    assert error.title[0].isupper()
    assert not error.title.endswith(".")
    assert error.remedy.endswith(".")


def test_a_problem_has_the_title_of_its_code():
    assert b'"title":"The storage is full"' in problem_response(507, "storage_full", "No room.").body
    assert b'"title":"I\'m a Teapot"' in problem_response(418, "teapot", "Short and stout.").body


def test_the_table_of_the_documentation_has_a_row_for_each_code():
    rows = as_markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == sorted(ERRORS)
    assert all(row.count("|") == 6 for row in rows)
