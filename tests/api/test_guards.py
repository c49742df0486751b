"""What holds for every request and answer, whatever the route."""

import gzip
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from starlette.testclient import TestClient

from api import openapi
from api.app import create_app
from tests.support.problems import NOBODY, assert_problem
from tests.support.servers import RunningService

ROOT = Path(__file__).resolve().parents[2]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def job_with_files(client: TestClient, dataset_id: str, teacher_id: str, storage_dir: Path) -> str:
    config = {"kind": "distill", "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10}}
    request = {"name": "files", "dataset_id": dataset_id, "teacher_id": teacher_id, "config": config}
    job = client.post("/jobs", json=request | {"config": config | {"data": {"image_size": 64}}}).json()["id"]
    folder = storage_dir / "jobs" / job
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text("a line\n" * 1000)
    return job


# ---- size and origin


@pytest.mark.bad_input
@pytest.mark.usefixtures("nothing_is_stored")
def test_too_large_a_body_is_refused_announced_or_not(client: TestClient):
    announced = client.post("/datasets", data={"name": "big"}, files={"files": ("b.zip", b"0" * 65 * 1024**2)})
    assert assert_problem(announced, 413)["code"] == "too_large"

    def endless(megabytes: int) -> Iterator[bytes]:
        for _ in range(megabytes):
            yield b"0" * 1024**2

    headers = {"Content-Type": "application/json"}
    assert assert_problem(client.post("/jobs", content=endless(2), headers=headers), 413)["code"] == "too_large"
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert_problem(client.post("/datasets", content=endless(66), headers=form), 413)


@pytest.mark.bad_input
@pytest.mark.usefixtures("nothing_is_stored")
def test_a_json_body_has_a_megabyte_at_most(client: TestClient, job_request: dict):
    text = json.dumps(job_request)
    padded = text + " " * (1024**2 - len(text))
    headers = {"Content-Type": "application/json"}
    refused = client.post("/jobs", content=padded + " ", headers=headers)
    assert "1048576 bytes" in assert_problem(refused, 413)["detail"]
    unnamed = client.post("/jobs", content=padded.replace('"rectangles"', '"          "'), headers=headers)
    assert_problem(unnamed, 422, "/name")  # it was read


@pytest.mark.bad_input
def test_a_body_that_nobody_reads_does_not_hide_what_was_done(client: TestClient):
    refused = client.post(f"/jobs/{NOBODY}/cancel", headers={"Content-Length": str(2 * 1024**2)}, content=b"0")
    assert_problem(refused, 413)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_pages_of_other_origins_may_change_nothing(client: TestClient, headers: dict[str, str]):
    assert_problem(client.post(f"/jobs/{NOBODY}/cancel", headers=headers), 403)
    assert client.get("/jobs", headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://testserver"}])
def test_programs_and_its_own_pages_may(client: TestClient, headers: dict[str, str]):
    assert client.post(f"/jobs/{NOBODY}/cancel", headers=headers).status_code == 404


# ---- host names


@pytest.mark.bad_input
def test_other_host_names_are_refused_with_a_problem(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DETRDISTILL_ALLOWED_HOSTS", '["localhost", "127.0.0.1", "[::1]"]')
    from api.settings import Settings

    app = create_app(Settings())  # pyright: ignore[reportCallIssue]
    for host in ("evil.example", "", "localhost.evil.example", "\xff", "127.0.0.1@evil.example"):
        stranger = TestClient(app, raise_server_exceptions=False)
        problem = assert_problem(stranger.get("/jobs", headers={"Host": host.encode("latin-1")}), 400, "/Host")
        assert problem["code"] == "host_not_allowed"
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.1"):
        assert TestClient(app).get("/catalog", headers={"Host": host}).status_code == 200


def test_the_compose_stack_names_its_hosts_and_its_health_check_is_among_them():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    value = compose["services"]["api"]["environment"]["DETRDISTILL_ALLOWED_HOSTS"]
    assert json.loads(value) == ["localhost", "127.0.0.1", "[::1]", "${DETRDISTILL_HOST:-localhost}"]
    assert "urlopen('http://127.0.0.1:8000/health'" in (ROOT / "api" / "Dockerfile").read_text()


# ---- HEAD, OPTIONS, Allow

GETS = [path for path, item in json.loads(openapi.document())["paths"].items() if "get" in item]


@pytest.mark.parametrize(
    "path", [*GETS, "/openapi.json", "/docs", "/docs/start.js", "/docs/assets/swagger-ui.css", "/"]
)
def test_head_has_the_headers_of_get_and_no_body(
    client: TestClient, job_with_files: str, dataset_id: str, teacher_id: str, path: str
):
    for name, value in {
        "job_id": job_with_files,
        "dataset_id": dataset_id,
        "checkpoint_id": teacher_id,
        "name": "log.txt",
    }.items():
        path = path.replace(f"{{{name}}}", value)
    if path.endswith("events"):  # endless, but not for HEAD
        head = client.head(path, params={"job": job_with_files} if path == "/events" else {})
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
        return
    for encoding in ("gzip", "identity"):
        asked = {"Accept-Encoding": encoding}
        get, head = client.get(path, headers=asked), client.head(path, headers=asked)
        own = {"x-request-id", "date"}
        assert head.content == b""
        assert head.status_code == get.status_code
        assert {k: v for k, v in head.headers.items() if k not in own} == {
            k: v for k, v in get.headers.items() if k not in own
        }


def test_head_of_what_is_not_there_has_no_body(client: TestClient):
    for path in ("/nothing", f"/jobs/{NOBODY}", f"/jobs/{NOBODY}/events", "/jobs?limit=0"):
        head = client.head(path)
        assert (head.status_code, head.content) == (client.get(path).status_code, b"")
    head = client.head(f"/jobs/{NOBODY}/cancel")
    assert (head.status_code, head.headers["allow"]) == (405, "POST, OPTIONS")


ALLOWED = {
    "/jobs": "GET, HEAD, POST, OPTIONS",
    "/datasets": "GET, HEAD, POST, OPTIONS",
    "/checkpoints": "GET, HEAD, POST, OPTIONS",
    f"/jobs/{NOBODY}": "GET, HEAD, OPTIONS",
    f"/jobs/{NOBODY}/cancel": "POST, OPTIONS",
    f"/jobs/{NOBODY}/artifacts/a/b.txt": "GET, HEAD, OPTIONS",
    "/health": "GET, HEAD, OPTIONS",
    "/openapi.json": "GET, HEAD, OPTIONS",
    "/docs": "GET, HEAD, OPTIONS",
    "/assets/x.js": "GET, HEAD, OPTIONS",
    "/": "GET, HEAD, OPTIONS",
    "/view/jobs": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_allow_names_every_method_of_the_path(client: TestClient, path: str):
    for method in ("DELETE", "PUT", "PATCH"):
        refused = client.request(method, path)
        assert assert_problem(refused, 405)["code"] == "method_not_allowed"
        assert refused.headers["allow"] == ALLOWED[path]
    options = client.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, ALLOWED[path], b"")
    assert_problem(client.options("/nothing"), 404)


# ---- request ids


def test_every_answer_has_a_request_id(client: TestClient, job_with_files: str):
    paths = ("/jobs", "/nothing", "/", "/docs", "/openapi.json", f"/jobs/{job_with_files}/artifacts/log.txt")
    seen = [client.get(path).headers["x-request-id"] for path in paths]
    assert all(UUID.fullmatch(identifier) for identifier in seen)
    assert len(set(seen)) == len(seen)
    assert client.options("/jobs").headers["x-request-id"]
    assert client.head("/jobs").headers["x-request-id"]
    assert client.post("/jobs", headers={"Origin": "https://evil.example"}).headers["x-request-id"]


def test_a_sane_id_is_echoed_and_another_is_replaced(client: TestClient):
    assert client.get("/jobs", headers={"X-Request-Id": "trace-1.a:b"}).headers["x-request-id"] == "trace-1.a:b"
    for bad in ("x" * 129, "a b", "", "a\x00", "\xff", 'a"b', "a\tb"):
        given = client.get("/jobs", headers={"X-Request-Id": bad.encode("latin-1")}).headers["x-request-id"]
        assert UUID.fullmatch(given)


def test_a_problem_and_the_log_carry_the_id_even_after_an_unexpected_error(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    missing = client.get("/nothing", headers={"X-Request-Id": "lost-1"})
    assert missing.json()["request_id"] == "lost-1"

    def broken(*_: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("api.jobs.routes.repository.page", broken)
    answer = client.get("/jobs", headers={"X-Request-Id": "oops-1"})
    assert assert_problem(answer, 500)["request_id"] == "oops-1"
    assert answer.headers["x-request-id"] == "oops-1"
    handler = logging.getLogger("api").handlers[0]
    record = logging.LogRecord("api", logging.ERROR, __file__, 1, "text", None, None)
    assert handler.format(record).startswith("[-] ERROR")


# ---- gzip


def test_json_and_scripts_travel_as_gzip(client: TestClient):
    plain = client.get("/catalog", headers={"Accept-Encoding": "identity"})
    with client.stream("GET", "/catalog", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(raw) < len(plain.content) / 2
    assert gzip.decompress(raw) == plain.content
    assert answer.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    script = client.get("/docs/assets/swagger-ui-bundle.js", headers={"Accept-Encoding": "gzip"})
    assert script.headers["content-encoding"] == "gzip"
    tag = script.headers["etag"]
    assert tag.startswith('W/"')
    again = client.get("/docs/assets/swagger-ui-bundle.js", headers={"Accept-Encoding": "gzip", "If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("accepts", ["identity", "gzip;q=0", "gzip; q=0.0", "br", ""])
def test_who_takes_no_gzip_gets_none(client: TestClient, accepts: str):
    assert "content-encoding" not in client.get("/catalog", headers={"Accept-Encoding": accepts}).headers


def test_files_of_jobs_and_parts_of_files_are_sent_as_they_are(client: TestClient, job_with_files: str):
    url = f"/jobs/{job_with_files}/artifacts/log.txt"
    whole = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in whole.headers
    assert whole.headers["content-length"] == "7000"
    assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
    part = client.get(url, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, b"a line\na l")
    asset = "/docs/assets/swagger-ui.css"
    assert client.get(asset, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-99"}).status_code == 206


@pytest.mark.bad_input
def test_a_range_that_is_none_is_a_problem(client: TestClient, job_with_files: str):
    url = f"/jobs/{job_with_files}/artifacts/log.txt"
    beyond = client.get(url, headers={"Range": "bytes=9999-"})
    assert assert_problem(beyond, 416, "/Range")["code"] == "range_not_satisfiable"
    assert beyond.headers["content-range"] == "bytes */7000"
    for value in ("bytes=x", "lines=1-2", "bytes=5-1", "bytes=", "\xff"):  # no ranges at all: RFC 9110 14.2
        answer = client.get(url, headers={"Range": value.encode("latin-1")})
        assert (answer.status_code, len(answer.content)) == (200, 7000), value


# ---- documentation


def test_the_documentation_loads_nothing_from_elsewhere(client: TestClient):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert '<a href="/">' in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy  # so that of default-src holds: no inline script, no other host
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 5
    for link in links[:4]:
        assert link.startswith("/")
    for link in [link for link in links if link != "/"]:
        assert client.get(link).status_code == 200, link
    assert "<script>" not in page.text
    assert client.get("/redoc").status_code == 404


def test_every_line_of_the_servers_log_has_the_id_of_its_request(standing_service: RunningService):
    with httpx.Client(base_url=standing_service.url) as http:
        for path in ("/jobs", "/nothing"):
            assert http.get(path, headers={"X-Request-Id": f"line{path}"}).headers["x-request-id"] == f"line{path}"
    lines = (standing_service.folder / "api.log").read_text().splitlines()
    assert [line for line in lines if re.fullmatch(r"\[line/jobs\] INFO: +\S+ - \"GET /jobs HTTP/1.1\" 200 OK", line)]
    assert [line for line in lines if line.startswith("[line/nothing] INFO:")]
    served = [line for line in lines if " HTTP/1.1" in line]
    assert served
    assert all(re.match(r"\[[^]]+\] ", line) for line in served)
