"""Fixtures that every part of the tests may use."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: a second thread costs more than it gives
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client, running_service
from tests.support.rectangles import write_rectangles
from tests.support.servers import RunningService, Servers, fresh_database, start_servers, template_database

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real datasets and weights beside a developer's checkout; absent elsewhere."""


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of coloured rectangles: 12 training and 6 validation images of 64 px, two classes."""
    return write_rectangles(tmp_path_factory.mktemp("data") / "rectangles", images={"train": 12, "val": 6})


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real datasets and weights."""
    if not SHARED.is_dir():
        pytest.skip("needs the real datasets and weights of ../shared")
    return SHARED


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Real PostgreSQL and Redis-compatible servers, for the whole session."""
    with start_servers(tmp_path_factory.mktemp("servers")) as running, template_database(running.postgres_url):
        yield running


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A migrated, empty database for one test."""
    with fresh_database(servers.postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(servers: Servers) -> Iterator[str]:
    """A migrated, empty database for the tests of one file."""
    with fresh_database(servers.postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def standing_service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Api and scheduler for the tests of one file."""
    with running_service(servers, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def service(standing_service: RunningService) -> Iterator[RunningService]:
    """Api and scheduler; what else a test starts ends with it."""
    yield standing_service
    standing_service.stop(keep=("api", "scheduler"))


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    opened = Client(service.url)
    yield opened
    opened.http.close()
