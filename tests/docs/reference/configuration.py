"""`configuration.md`: every field of a run's configuration."""

from collections.abc import Iterator

from detrdistill.schema.method_table import METHODS
from detrdistill.schema.run import RUN_CONFIG
from tests.docs.reference.markdown import anchor, code, document, one_line, table
from tests.docs.reference.schema import (
    Schema,
    bounds_of,
    default_of,
    description_of,
    name_of,
    references,
    type_of,
)

INTRODUCTION = """
The `config` of `POST /jobs`, and of a run file for `python -m detrdistill`. Written by `make docs` from
`detrdistill/schema`. A field that is left out has its default; a default of `{}` is an object of defaults. Unknown
fields are refused.
"""
_ROOT = RUN_CONFIG.json_schema()
_DEFINITIONS: dict[str, Schema] = _ROOT["$defs"]
_METHOD_OF = {info.config.__name__: kind for kind, info in METHODS.items()}


def _kinds() -> dict[str, str]:
    """The kinds of runs: definition by kind, in the order of the schema."""
    kinds = {name_of(reference): kind for kind, reference in _ROOT["discriminator"]["mapping"].items()}
    return {kinds[name_of(member["$ref"])]: name_of(member["$ref"]) for member in _ROOT["oneOf"]}


def _walk(name: str, path: str) -> Iterator[tuple[str, str]]:
    """Definitions below one, with the path to each, in document order."""
    for field, schema in _DEFINITIONS[name].get("properties", {}).items():
        for below, found in references(schema):
            here = f"{path}.{field}{below}".lstrip(".")
            yield found, here
            yield from _walk(found, here)


def _headings() -> dict[str, str]:
    """Heading of each definition: the kind of run, or the first path that leads to it."""
    headings = {name: f"A {kind} run" for kind, name in _kinds().items()}
    for root in _kinds().values():
        for name, path in _walk(root, ""):
            headings.setdefault(name, path)
    return {name: heading for name, heading in headings.items() if name not in _METHOD_OF}


_HEADINGS = _headings()


def link(name: str, page: str = "") -> str:
    """A link to what is said of a definition: here, or with the methods."""
    if name in _METHOD_OF:
        return f"[{_METHOD_OF[name]}](methods.md#{_METHOD_OF[name]})"
    return f"[{_HEADINGS[name]}]({page}#{anchor(_HEADINGS[name])})"


def fields_of(definition: Schema, link_to: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Name, type with bounds, default and description of each field."""
    for name, schema in definition.get("properties", {}).items():
        bounds = bounds_of(schema)
        kind = type_of(schema, lambda target: link(target, link_to)) + (f"; {bounds}" if bounds else "")
        yield code(name), kind, default_of(schema, _DEFINITIONS), description_of(schema, _DEFINITIONS)


def definition_of(name: str) -> Schema:
    """The schema of a class of the configuration."""
    return _DEFINITIONS[name]


def page() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for name, heading in _HEADINGS.items():
        parts += [f"## {heading}", one_line(_DEFINITIONS[name].get("description"))]
        parts.append(table(("field", "type", "default", "what it is"), fields_of(_DEFINITIONS[name])))
    return document("Configuration", *parts)
