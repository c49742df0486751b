"""The API's description, and that the api keeps to it and to its place."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api import openapi
from api.jobs.schemas import JobCreate
from tests.support.problems import assert_problem

ROOT = Path(__file__).resolve().parents[2]


def test_the_description_the_dashboard_is_built_from_is_current():
    committed = (ROOT / "frontend" / "openapi.json").read_text()
    assert committed == openapi.document(), "run: make openapi"


def test_every_operation_and_field_is_described():
    document = json.loads(openapi.document())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description"), f"{method} {path}"
            for parameter in operation.get("parameters", []):
                if parameter["in"] != "path" and parameter["name"] != "limit":
                    assert parameter.get("description"), f"{method} {path} {parameter['name']}"
            for status, answer in operation["responses"].items():
                if status.startswith("4") and status != "416":
                    assert list(answer["content"]) == ["application/problem+json"], f"{method} {path} {status}"
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description") or name.startswith("Body_"), name


def test_the_api_never_loads_torch():
    program = "import api.app, sys; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_packages_import_each_other_in_one_direction_only():
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.fixture
def ids(client: TestClient, dataset_id: str, teacher_id: str, job_request: dict) -> dict[str, str]:
    """Of things that are there."""
    job = client.post("/jobs", json=job_request).json()["id"]
    return {"job_id": job, "dataset_id": dataset_id, "checkpoint_id": teacher_id}


OPERATIONS = [
    (path, method, mode)
    for path, methods in json.loads(openapi.document())["paths"].items()
    for method, operation in methods.items()
    for mode in GenerationMode
    if not path.endswith(("events", "{name}"))
    # without parameters and body there is nothing to get wrong
    if mode is GenerationMode.POSITIVE or "parameters" in operation or "requestBody" in operation
]


@pytest.mark.bad_input
@pytest.mark.parametrize(("path", "method", "mode"), OPERATIONS)
def test_generated_requests_are_answered_as_described(
    client: TestClient,
    dataset_id: str,
    teacher_id: str,
    ids: dict[str, str],
    path: str,
    method: str,
    mode: GenerationMode,
):
    """Right and wrong requests for every operation: never a 500, never an answer that is not described.

    They name a dataset, a teacher and a job that are there: what names nothing is refused for that alone, before
    any other field is looked at.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    reached: Counter[int] = Counter()

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(schema[path][method.upper()].as_strategy(generation_mode=mode))
    def probe(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and isinstance(case.body.get("config"), dict):
            if "dataset_id" in case.body:
                case.body["dataset_id"] = dataset_id
            case.body |= {"teacher_id": teacher_id, "student_id": None, "teacher_ids": {}}
            case.body["config"].pop("teachers", None)
        for name, identifier in ids.items():
            if mode is GenerationMode.POSITIVE and name in case.path_parameters:
                case.path_parameters[name] = identifier
        if path.endswith("/retry"):  # of what has ended
            client.post(f"/jobs/{ids['job_id']}/cancel")
        # a well-formed request may still ask for what does not fit together
        reached[case.call_and_validate(excluded_checks=[positive_data_acceptance]).status_code] += 1

    probe()
    if mode is GenerationMode.POSITIVE and "{" in path:
        assert reached.keys() & {200, 202}, reached  # some were carried out


NASTY = st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Z", "C"], include_characters="\x00\ud800"))
"""With half characters and zero bytes, which the generator above leaves out."""


@pytest.mark.bad_input
def test_texts_of_any_characters_are_stored_or_refused_by_name(client: TestClient, job_request: dict):
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(NASTY)
    def probe(name: str) -> None:
        body = json.dumps(job_request | {"name": name})
        answer = client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
        if answer.status_code == 202:
            assert answer.json()["name"] == name.strip()
        else:
            assert [error["pointer"] for error in assert_problem(answer, 422)["errors"]] == ["/name"]

    probe()


# ---- bounds


def unbounded(schema: dict[str, Any], where: str) -> Iterator[str]:
    """Places of a request's schema that state no largest value."""
    kind = schema.get("type")
    if kind == "string" and not schema.keys() & {"maxLength", "enum", "const", "format", "pattern"}:
        yield where
    if kind == "array":
        if "maxItems" not in schema:
            yield where
        yield from unbounded(schema.get("items", {}), f"{where}/*")
    if kind == "integer" and not schema.keys() & {"maximum", "exclusiveMaximum", "const", "enum"}:
        yield where
    if kind == "object" and schema.get("additionalProperties") is not False and "maxProperties" not in schema:
        yield where
    for name, part in schema.get("properties", {}).items():
        yield from unbounded(part, f"{where}/{name}")
    for union in ("anyOf", "oneOf"):
        for part in schema.get(union, []):
            yield from unbounded(part, where)


def test_every_field_of_a_job_states_its_bound():
    schema = JobCreate.model_json_schema()
    parts = {"": schema} | schema["$defs"]
    assert [place for name, part in parts.items() for place in unbounded(part, name)] == []


def test_every_query_field_and_form_field_states_its_bound():
    document = json.loads(openapi.document())
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                assert list(unbounded(parameter["schema"], f"{path} {parameter['name']}")) == []
    for name in ("create_dataset", "create_checkpoint"):
        properties = document["components"]["schemas"][f"Body_{name}"]["properties"]
        for field, part in properties.items():
            assert field == "files" or list(unbounded(part, field)) == []
