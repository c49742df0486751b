"""`events.md`: every event of a job's log, the stages and the curves."""

from collections.abc import Iterator

from pydantic.json_schema import models_json_schema

from api.jobs.events import EVENTS
from detrdistill.events import CURVES, STAGES
from tests.docs.reference.markdown import anchor, code, document, listed, one_line, table
from tests.docs.reference.schema import Schema, bounds_of, description_of, type_of

INTRODUCTION = """
The events of `GET /jobs/{id}/events`, and the lines of `python -m detrdistill run.json --json`. Written by `make docs`
from `detrdistill/events.py` and `api/jobs/events.py`. Each event of a job also has `at`, the time, and `job_id`; a line
of the command line has `kind`, the name of the event.
"""
_ROOT = models_json_schema([(model, "serialization") for model in EVENTS.values()])[1]
_DEFINITIONS: dict[str, Schema] = _ROOT["$defs"]
_NAME_OF = {model.__name__: name for name, model in EVENTS.items()}


def page() -> str:
    """The page."""
    overview = ((f"[{name}](#{name})", one_line(model.__doc__)) for name, model in EVENTS.items())
    parts = [INTRODUCTION, table(("event", "what it says"), overview)]
    for name, model in EVENTS.items():
        parts += _section(f"## {name}", model.__name__)
    parts.append("## Objects in events")
    for name, schema in _DEFINITIONS.items():
        if name not in _NAME_OF and "properties" in schema:
            parts += _section(f"### {name}", name)
    stages = ((code(name), stage.title, stage.activity) for name, stage in STAGES.items())
    curves = ((code(name), curve.title, listed(map(code, curve.terms))) for name, curve in CURVES.items())
    parts += ["## Stages", "In the order of a run; one without a teacher or a control leaves theirs out."]
    parts.append(table(("stage", "title", "what the run does"), stages))
    parts += ["## Curves", "Those of the methods are their [loss terms](methods.md)."]
    parts.append(table(("curve", "title", "terms, after its name and a dot"), curves))
    return document("Events", *parts)


def _section(heading: str, name: str) -> list[str]:
    schema = _DEFINITIONS[name]
    return [heading, one_line(schema.get("description")), table(("field", "type", "what it is"), _fields(schema))]


def _fields(definition: Schema) -> Iterator[tuple[str, str, str]]:
    for name, schema in definition.get("properties", {}).items():
        if name == "kind":
            continue
        bounds = bounds_of(schema)
        kind = type_of(schema, _link) + (f"; {bounds}" if bounds else "")
        yield code(name), kind, description_of(schema, _DEFINITIONS)


def _link(name: str) -> str:
    schema = _DEFINITIONS[name]
    return f"[{name}](#{anchor(name)})" if "properties" in schema else type_of(schema, _link)
