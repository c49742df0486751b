"""JSON schemas in words."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.docs.reference.markdown import code, listed, one_line

Schema = Mapping[str, Any]
Link = Callable[[str], str]
"""What to write for the definition of that name."""


def name_of(reference: str) -> str:
    """The definition that a reference names."""
    return reference.rpartition("/")[2]


def type_of(schema: Schema, link: Link) -> str:
    """The values that a schema allows, without their bounds."""
    if "$ref" in schema:
        return link(name_of(schema["$ref"]))
    if members := _members(schema):
        return " or ".join(dict.fromkeys(type_of(member, link) for member in members))
    if "enum" in schema or "const" in schema:
        return listed(code(value) for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"list of {type_of(schema['items'], link)}"
    for _, child in _named(schema):
        return f"object: name to {type_of(child, link)}"
    kind = schema.get("format") or schema.get("type", "anything")
    return {"boolean": "true or false", "string": "text", "array": "list"}.get(kind, kind)


def bounds_of(schema: Schema) -> str:
    """The bounds of a value, and of what is in it."""
    return ", ".join(dict.fromkeys(_bounds(schema)))


def references(schema: Schema) -> Iterator[tuple[str, str]]:
    """Definitions that a schema refers to: what to append to the path to it, and the name."""
    if "$ref" in schema:
        yield "", name_of(schema["$ref"])
    for member in _members(schema):
        yield from references(member)
    if "items" in schema:
        yield from ((f"[]{below}", name) for below, name in references(schema["items"]))
    for _, child in _named(schema):
        yield from ((f".<name>{below}", name) for below, name in references(child))


def without_defaults(value: Any, schema: Schema, definitions: Mapping[str, Schema]) -> Any:
    """A value without what its fields are by default; `kind` stays, because it chooses among them."""
    if "$ref" in schema:
        return without_defaults(value, definitions[name_of(schema["$ref"])], definitions)
    if mapping := schema.get("discriminator", {}).get("mapping"):
        return without_defaults(value, {"$ref": mapping[value["kind"]]}, definitions)
    if isinstance(value, list):
        return [without_defaults(item, schema.get("items", {}), definitions) for item in value]
    if not isinstance(value, dict):
        return value
    fields: Mapping[str, Schema] = schema.get("properties", {})
    entries = next((child for _, child in _named(schema)), {})
    return {
        name: without_defaults(entry, fields.get(name, entries), definitions)
        for name, entry in value.items()
        if name == "kind" or name not in fields or entry != fields[name].get("default")
    }


def default_of(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """The default of a field."""
    if "default" not in schema:
        return "required"
    short = without_defaults(schema["default"], schema, definitions)
    return f"`{json.dumps(short)}`" if isinstance(short, dict | list) else code(short)


def description_of(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """What is said of a field, or else of the object that it is."""
    if "description" not in schema and "$ref" in schema:
        return one_line(definitions[name_of(schema["$ref"])].get("description"))
    return one_line(schema.get("description"))


def _members(schema: Schema) -> list[Schema]:
    return [member for key in ("anyOf", "oneOf", "allOf") for member in schema.get(key, [])]


def _named(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Schemas of entries with free names."""
    extra = schema.get("additionalProperties")
    if isinstance(extra, Mapping):
        yield "", extra
    yield from schema.get("patternProperties", {}).items()


def _bounds(schema: Schema) -> Iterator[str]:
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    yield from (f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema and schema[key] < 2**31 - 1)
    if "multipleOf" in schema:
        yield f"multiple of {schema['multipleOf']}"
    for kind, unit in (("Length", "characters"), ("Items", "entries"), ("Properties", "entries")):
        lowest, highest = schema.get(f"min{kind}"), schema.get(f"max{kind}")
        if highest is not None:
            yield f"{lowest} to {highest} {unit}" if lowest else f"at most {highest} {unit}"
        elif lowest is not None:
            yield f"at least {lowest} {unit}"
    if "pattern" in schema:
        yield f"matches `{schema['pattern']}`"
    for member in (*_members(schema), *([schema["items"]] if "items" in schema else [])):
        yield from _bounds(member)
    for pattern, child in _named(schema):
        if pattern:
            yield f"names match `{pattern}`"
        yield from _bounds(child)
