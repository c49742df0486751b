"""`settings.md`: what the processes of the service read from their environment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from api.settings import Settings
from tests.docs.reference.markdown import code, document, one_line, table
from tests.docs.reference.schema import Schema, bounds_of, type_of

ROOT = Path(__file__).resolve().parents[3]
INTRODUCTION = """
Environment variables of the api, the worker, the checker and the scheduler. Written by `make docs` from
`api/settings.py`. A list is written in JSON. What a run does is in its [configuration](configuration.md).
"""


def page() -> str:
    """The page."""
    return document("Settings", INTRODUCTION, table(("variable", "type", "default", "what it is"), _rows()))


def _rows() -> Iterator[tuple[str, str, str, str]]:
    schemas: dict[str, Schema] = Settings.model_json_schema()["properties"]
    prefix = Settings.model_config.get("env_prefix", "")
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variable = alias if isinstance(alias, str) else (prefix + name).upper()
        schema = schemas[alias if isinstance(alias, str) else name]
        bounds = bounds_of(schema)
        kind = type_of(schema, str) + (f"; {bounds}" if bounds else "")
        yield code(variable), kind, _default(name, field.default), one_line(field.description)


def _default(name: str, value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return "unset"
    if isinstance(value, Path):
        return code(str(value.relative_to(ROOT) if value.is_absolute() else value))
    return code(value) + (_size(value) if name.endswith("_bytes") else "")


def _size(count: int) -> str:
    return f" ({count / 1024**3:g} GiB)"
