"""What is refused before a route sees it."""

import pytest
from starlette.testclient import TestClient

from tests.support.problems import NOBODY, assert_problem

pytestmark = [pytest.mark.bad_input, pytest.mark.usefixtures("nothing_is_stored")]


def test_too_large_a_body_is_refused_announced_or_not(client: TestClient):
    announced = client.post("/datasets", data={"name": "big"}, files={"files": ("b.zip", b"0" * 65 * 1024**2)})
    assert_problem(announced, 413)

    def endless():
        for _ in range(70):
            yield b"0" * 1024**2

    headers = {"Content-Type": "application/json"}
    assert_problem(client.post("/jobs", content=endless(), headers=headers), 413)


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_pages_of_other_origins_may_change_nothing(client: TestClient, headers: dict[str, str]):
    assert_problem(client.post(f"/jobs/{NOBODY}/cancel", headers=headers), 403)
    assert client.get("/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://testserver"}])
def test_programs_and_its_own_pages_may(client: TestClient, headers: dict[str, str]):
    assert client.post(f"/jobs/{NOBODY}/cancel", headers=headers).status_code == 404
