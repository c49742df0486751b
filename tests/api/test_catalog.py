"""What `/catalog` tells is what the service does."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.catalog import get_catalog
from detrdistill.schema.method_table import METHODS
from detrdistill.schema.run import RUN_CONFIG, DistillConfig

CATALOG = get_catalog().model_dump(mode="json")
SERVED: dict[str, dict[str, Any]] = {method["kind"]: method for method in CATALOG["methods"]}


def methods_of(*methods: dict[str, Any]) -> list[dict[str, Any]]:
    config = RUN_CONFIG.validate_python({"kind": "distill"} | ({"methods": methods} if methods else {}))
    assert isinstance(config, DistillConfig)
    return config.model_dump(mode="json")["teachers"]["teacher"]["methods"]


def test_it_is_served(client: TestClient):
    assert client.get("/catalog").json() == CATALOG


@pytest.mark.parametrize("kind", METHODS)
def test_the_fields_have_the_defaults_that_a_job_is_given(kind: str):
    method = SERVED[kind]
    assert methods_of({"kind": kind}) == [
        {"kind": kind} | {field["name"]: field["default"] for field in method["fields"]}
    ]
    for variant in method["variants"]:
        assert methods_of({"kind": kind, method["variant_field"]: variant}) == [
            {"kind": kind} | {field["name"]: field["by_variant"][variant] for field in method["fields"]}
        ]


def test_the_methods_of_a_job_that_names_none_are_marked():
    assert [kind for kind, method in SERVED.items() if method["is_default"]] == [
        method["kind"] for method in methods_of()
    ]


@pytest.mark.parametrize("part", CATALOG)
def test_every_entry_has_its_words_on_one_line(part: str):
    def texts(value: Any) -> list[str]:
        match value:
            case dict():
                return [text for item in value.values() for text in texts(item)]
            case list():
                return [text for item in value for text in texts(item)]
            case _:
                return [value] if isinstance(value, str) else []

    assert CATALOG[part]
    assert [text for text in texts(CATALOG[part]) if not text.strip() or "\n" in text] == []
