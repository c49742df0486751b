"""Jobs for the worker: short, and as long as needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from api.settings import Settings
from tests.support.client import Client
from tests.support.uploads import write_teacher


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Of a migrated, empty database."""
    opened = create_engine(Settings.with_driver(database_url))
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("weights") / "teacher")


@pytest.fixture
def short_job(client: Client, rectangles: Path, teacher_folder: Path) -> dict[str, Any]:
    """A distillation with control that takes some seconds."""
    return {
        "dataset_id": client.upload("datasets", "rectangles", rectangles),
        "teacher_id": client.upload("checkpoints", "teacher", teacher_folder),
        "config": {
            "kind": "distill",
            "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10},
            "teacher": {"min_ap": 0},
            "control": True,
            "data": {"image_size": 64},
            "training": {"epochs": 2, "batch_size": 4, "lr": 1e-3},
        },
    }


@pytest.fixture
def long_job(short_job: dict[str, Any]) -> dict[str, Any]:
    """A training that lasts until something happens to it, and then some seconds more."""
    config = short_job["config"]
    training = config["training"] | {"epochs": 40}
    student = {"kind": "train", "student": config["student"], "data": config["data"], "training": training}
    evaluation = {"evaluation": {"every_epochs": 2}}
    return {"dataset_id": short_job["dataset_id"], "config": student | evaluation}
