"""The api and a checker in this process, on a real database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.db import get_engine
from api.settings import Settings, get_settings
from tests.support.checking import checker
from tests.support.uploads import write_teacher, zip_of


@pytest.fixture(scope="module")
def storage_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def import_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("operator")


@contextmanager
def settings_of(database_url: str, storage: Path, imports: Path, **more: str) -> Iterator[Settings]:
    """The settings of this process, from an environment that lasts as long as they do."""
    environment = {
        "DATABASE_URL": database_url,
        "DETRDISTILL_STORAGE_DIR": str(storage),
        "DETRDISTILL_IMPORT_ROOT": str(imports),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment | more).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        get_engine.cache_clear()
        yield get_settings()
        get_settings.cache_clear()
        get_engine.cache_clear()


@pytest.fixture(scope="module")
def client(module_database_url: str, storage_dir: Path, import_root: Path) -> Iterator[TestClient]:
    more = {"DETRDISTILL_MAX_UPLOAD_BYTES": str(64 * 1024**2), "DETRDISTILL_CHECK_WAIT_SECONDS": "120"}
    with (
        settings_of(module_database_url, storage_dir, import_root, **more) as settings,
        checker(settings),
        TestClient(create_app(), raise_server_exceptions=False) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("weights") / "teacher")


@pytest.fixture(scope="module")
def dataset_id(client: TestClient, rectangles: Path) -> str:
    answer = client.post("/datasets", data={"name": "rectangles"}, files={"files": ("r.zip", zip_of(rectangles))})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.fixture(scope="module")
def teacher_id(client: TestClient, teacher_folder: Path) -> str:
    answer = client.post("/checkpoints", data={"name": "teacher"}, files={"files": ("t.zip", zip_of(teacher_folder))})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.fixture
def job_request(dataset_id: str, teacher_id: str) -> dict:
    """A request that is right; tests make it wrong in one place."""
    return {
        "name": "rectangles",
        "dataset_id": dataset_id,
        "teacher_id": teacher_id,
        "config": {
            "kind": "distill",
            "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10},
            "data": {"image_size": 64},
        },
    }


@pytest.fixture
def nothing_is_stored(client: TestClient, storage_dir: Path) -> Iterator[None]:
    """No row and no file more than before the test."""

    def stored() -> tuple[Any, ...]:
        files = sorted(path.parent.name + "/" + path.name for path in storage_dir.glob("*/*"))
        rows = [client.get(f"/{kind}", params={"limit": 100}).json() for kind in ("jobs", "datasets", "checkpoints")]
        return files, rows

    before = stored()
    yield
    assert stored() == before
