"""What every refusal looks like."""

from typing import Any

NOBODY = "01900000-0000-7000-8000-000000000000"
"""An id that nothing has."""


def assert_problem(response: Any, status: int, pointer: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:detrdistill:problem:{problem['code']}"
    assert problem["detail"]
    if pointer is not None:
        assert pointer in [error["pointer"] for error in problem["errors"]], problem
    return problem
