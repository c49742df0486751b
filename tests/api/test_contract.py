"""The API's description, and that the api keeps to it and to its place."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api import openapi

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
def test_generated_requests_are_answered_as_described(client: TestClient, path: str, method: str, mode: GenerationMode):
    """Right and wrong requests for every operation: never a 500, never an answer that is not described."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(schema[path][method.upper()].as_strategy(generation_mode=mode))
    def probe(case: schemathesis.Case) -> None:
        # a well-formed request may still name a data set that does not exist
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    probe()
