"""What is wrong with a document, in plain words and with exact JSON pointers (RFC 6901). Torch-free.

`findings` words what pydantic complains of; `unusable` finds what pydantic would let through: text that no database
keeps, numbers that are not finite, and values that it would convert in silence.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from pydantic_core import ErrorDetails

MAX_DEPTH = 32
"""Deepest nesting of a document; the schema of a run has 6 levels."""
MAX_CLASSES = 5_000
MAX_NAME = 200
"""Characters of the name of one class."""
MAX_NAMES = 60_000
"""Characters of the names of all classes together."""
_MAX_FINDINGS = 50
_MESSAGES = {
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
}
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a document."""

    pointer: str
    message: str
    hint: str = ""


def pointer_to(parts: Sequence[str | int]) -> str:
    """The JSON pointer of a path through a document; half characters are written as escapes."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return "".join(f"/{part}" for part in escaped).encode("utf-8", "backslashreplace").decode()


def text_fault(text: str) -> str | None:
    """Why a text cannot be kept; None where it can."""
    if "\x00" in text:
        return "the text holds a zero byte"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "the text holds half a character (a lone surrogate)"
    return None


def names_fault(names: Sequence[Any]) -> str | None:
    """Why a list of class names cannot be kept; None where it can."""
    if len(names) > MAX_CLASSES:
        return f"there are {len(names)} classes, more than {MAX_CLASSES}"
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            return f"the name of class {index} is no text, or empty"
        if len(name) > MAX_NAME:
            return f"the name of class {index} has {len(name)} characters, more than {MAX_NAME}"
        if (fault := text_fault(name)) is not None:
            return f"the name of class {index}: {fault}"
    if sum(map(len, names)) > MAX_NAMES:
        return f"the names of the classes have more than {MAX_NAMES} characters together"
    return None


def did_you_mean(name: object, known: Sequence[str]) -> str:
    """`; did you mean ...?`, or nothing where no known name is near."""
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def unusable(document: Any, schema: Schema) -> list[Finding]:
    """What may not be in a document whatever the schema's own rules say, in document order.

    Args:
        document: parsed JSON.
        schema: JSON schema of a valid document.
    """
    found: list[Finding] = []
    for finding in _unusable(document, _members(schema, schema), schema, ()):
        found.append(finding)
        if len(found) == _MAX_FINDINGS:
            break
    return found


def findings(errors: Sequence[ErrorDetails], document: Any, schema: Schema) -> list[Finding]:
    """Word the errors of a validation.

    Args:
        errors: as pydantic gives them, without the prefix that a framework puts before a location.
        document: what was validated, as the user sent it.
        schema: JSON schema of a valid document.
    """
    located = [(error, _locate(error["loc"], document, schema)) for error in errors[:_MAX_FINDINGS]]
    return [_worded(error, place) for error, place in located if not _follows_from_another(error, place)]


@dataclass(frozen=True)
class _Place:
    path: tuple[str | int, ...]
    value: Any
    members: tuple[Schema, ...]
    """Schemas that the value may follow."""
    parent: tuple[Schema, ...]


def _locate(location: Sequence[str | int], document: Any, root: Schema) -> _Place:
    """Follow a location of pydantic, which also names the chosen members of unions, through document and schema."""
    path: tuple[str | int, ...] = ()
    value, members = document, _members(root, root)
    parent: tuple[Schema, ...] = ()
    for position, part in enumerate(location):
        tagged = [schema["discriminator"]["mapping"][part] for schema in members if part in _mapping(schema)]
        if tagged:
            members = _members({"$ref": tagged[0]}, root)
        elif _has(value, part) or position == len(location) - 1:
            if part == "[key]":
                break
            path, parent = (*path, part), members
            members = tuple(child for schema in members for child in _children(schema, part, root))
            value = _entry(value, part)
    return _Place(path, value, members, parent)


def _entry(value: Any, part: str | int) -> Any:
    return value[part] if _has(value, part) else None


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(cast("list[Any]", value))


def _mapping(schema: Schema) -> Mapping[str, str]:
    return schema.get("discriminator", {}).get("mapping", {})


def _members(schema: Schema, root: Schema) -> tuple[Schema, ...]:
    """The schemas behind a reference or a union; a union with a discriminator stays whole."""
    if "$ref" in schema:
        return _members(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "discriminator" in schema:
        return (schema,)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return tuple(member for part in schema[key] for member in _members(part, root))
    return (schema,)


def _children(schema: Schema, part: str | int, root: Schema) -> tuple[Schema, ...]:
    """Schemas of one entry of an object or a list."""
    if isinstance(part, str) and part in schema.get("properties", {}):
        return _members(schema["properties"][part], root)
    below = [schema.get("items")] if isinstance(part, int) else [schema.get("additionalProperties")]
    below += [] if isinstance(part, int) else schema.get("patternProperties", {}).values()
    return tuple(
        member for child in below if isinstance(child, Mapping) for member in _members(cast("Schema", child), root)
    )


def _fields(members: Sequence[Schema]) -> list[str]:
    return [name for schema in members for name in schema.get("properties", {})]


def _follows_from_another(error: ErrorDetails, place: _Place) -> bool:
    """A list that is too short only because its faulty items were not counted."""
    value: Any = place.value
    return (
        error["type"] == "too_short"
        and isinstance(value, list)
        and len(cast("list[Any]", value)) >= error.get("ctx", {}).get("min_length", 0)
    )


def _worded(error: ErrorDetails, place: _Place) -> Finding:
    context = error.get("ctx", {})
    pointer = pointer_to(place.path)
    match error["type"]:
        case "value_error" | "assertion_error":
            return _worded_check(context.get("error"), pointer)
        case "union_tag_invalid" | "union_tag_not_found":
            return _worded_tag(error, place)
        case "literal_error" if isinstance(error["input"], str):
            return _worded_choice(error["input"], place)
        case "extra_forbidden":
            known = _fields(place.parent)
            name = place.path[-1]
            hint = f"Known here: {', '.join(known)}." if known else ""
            return Finding(pointer, f"unknown field `{name}`{did_you_mean(name, known)}", hint)
        case "missing":
            message = f"`{place.path[-1]}` is missing"
        case "too_short":
            message = f"must have at least {context.get('min_length')} entries"
        case "too_long":
            message = f"must have at most {context.get('max_length')} entries"
        case kind:
            message = _MESSAGES.get(kind, error["msg"])
    return Finding(pointer, message)


def _worded_check(cause: Any, pointer: str) -> Finding:
    """What a check of the schema raised; a `FieldError` says where and what to do."""
    return Finding(pointer + getattr(cause, "pointer", ""), str(cause), getattr(cause, "hint", ""))


def _worded_choice(given: str, place: _Place) -> Finding:
    known = [value for schema in place.members for value in _choices(schema)]
    return Finding(pointer_to(place.path), f"unknown value `{given[:100]}`{did_you_mean(given, known)}", _of(known))


def _choices(schema: Schema) -> list[str]:
    return [str(value) for value in schema.get("enum", [schema["const"]] if "const" in schema else [])]


def _of(known: Sequence[str]) -> str:
    return f"Choose one of: {', '.join(known)}." if known else ""


def _worded_tag(error: ErrorDetails, place: _Place) -> Finding:
    """A missing or unknown discriminator is the fault of that field, not of the object."""
    name = str(error.get("ctx", {}).get("discriminator", "kind")).strip("'")
    known = [tag for schema in place.members for tag in _mapping(schema)]
    pointer = pointer_to((*place.path, name))
    if error["type"] == "union_tag_not_found":
        return Finding(pointer, f"`{name}` is missing", _of(known))
    tag = str(error.get("ctx", {}).get("tag", ""))[:100]
    return Finding(pointer, f"unknown {name} `{tag}`{did_you_mean(tag, known)}", _of(known))


def _unusable(value: Any, members: tuple[Schema, ...], root: Schema, path: tuple[str | int, ...]) -> Iterator[Finding]:
    if len(path) > MAX_DEPTH:
        yield Finding(pointer_to(path), f"nested more than {MAX_DEPTH} deep")
    elif isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        chosen = tuple(member for schema in members for member in _chosen(schema, entries, root))
        for key, entry in entries.items():
            if fault := text_fault(key):
                yield Finding(pointer_to((*path, key)), f"the name of a field: {fault}")
            else:
                below = tuple(child for schema in chosen for child in _children(schema, key, root))
                yield from _unusable(entry, below, root, (*path, key))
    elif isinstance(value, list):
        for index, entry in enumerate(cast("list[Any]", value)):
            below = tuple(child for schema in members for child in _children(schema, index, root))
            yield from _unusable(entry, below, root, (*path, index))
    elif (fault := _scalar_fault(value, {schema.get("type") for schema in members})) is not None:
        yield Finding(pointer_to(path), fault)


def _chosen(schema: Schema, entries: Mapping[str, Any], root: Schema) -> tuple[Schema, ...]:
    """The member of a union with a discriminator that an object says it is."""
    mapping = _mapping(schema)
    if not mapping:
        return (schema,)
    tag = entries.get(schema["discriminator"]["propertyName"])
    return _members({"$ref": mapping[tag]}, root) if isinstance(tag, str) and tag in mapping else ()


def _scalar_fault(value: Any, types: set[Any]) -> str | None:
    """What is wrong with a value that is neither object nor list; `types` are those of the schema, if it is known."""
    takes_numbers, takes_flags = bool(types & {"number", "integer"}), "boolean" in types
    if isinstance(value, str):
        converted = (takes_numbers or takes_flags) and "string" not in types
        return text_fault(value) or (
            f"must be {'a number' if takes_numbers else 'true or false'}, not text" if converted else None
        )
    if isinstance(value, bool):
        return "must be a number, not true or false" if takes_numbers and not takes_flags else None
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    converted = isinstance(value, int | float) and takes_flags and not takes_numbers
    return "must be true or false, not a number" if converted else None
