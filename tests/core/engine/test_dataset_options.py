"""What a dataset's files leave open goes from the run file and the worker's spec to the engine."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detrdistill.__main__ import main
from detrdistill.events import RunStopped
from worker import training_main
from worker.protocol import RunSpec

CONFIG = {
    "kind": "train",
    "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10},
    "data": {"image_size": 64},
    "training": {"epochs": 1},
}
OPTIONS = {"val_fraction": 0.25, "seed": 3}


@pytest.fixture
def one_file(rectangles: Path, tmp_path: Path) -> Path:
    shutil.copytree(rectangles, tmp_path / "data")
    (tmp_path / "data" / "val.json").unlink()
    return tmp_path / "data"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sessions of runs that end as soon as they have read their data."""
    from detrdistill.engine import run as engine
    from detrdistill.errors import Stopped

    sessions: list[Any] = []

    class Read(engine.RunContext):
        def new_student(self) -> Any:
            sessions.append(self)
            raise Stopped("far enough")

    monkeypatch.setattr(engine, "RunContext", Read)
    return sessions


def test_options_of_a_run_file(one_file: Path, tmp_path: Path, opened: list[Any]):
    paths = {"dataset": "data", "work": "work", "dataset_options": OPTIONS}
    (tmp_path / "run.json").write_text(json.dumps({"config": CONFIG, "paths": paths}))
    assert main([str(tmp_path / "run.json")]) == 3
    [context] = opened
    assert [len(found.images) for found in (context.train_set, context.val_set)] == [9, 3]


def test_options_of_a_worker(one_file: Path, tmp_path: Path, opened: list[Any]):
    for seed in (3, 4):
        spec = RunSpec.model_validate(
            {
                "config": CONFIG,
                "paths": {
                    "dataset": one_file,
                    "work": tmp_path,
                    "dataset_options": OPTIONS | {"seed": seed},
                    "registered": {"classes": ["red", "green"], "images": {"train": 9, "val": 3}},
                },
                "digests": {},
                "journal": tmp_path / "journal.jsonl",
                "sequence": 0,
                "silence_seconds": 1,
            }
        )
        reports = SimpleNamespace(report=lambda _: None, alive=lambda: None)
        ended = training_main._run(RunSpec.model_validate_json(spec.model_dump_json()), reports, lambda: False)
        assert isinstance(ended, RunStopped), ended
    first, other = opened
    assert [len(found.images) for found in (first.train_set, first.val_set)] == [9, 3]
    assert {image.id for image in first.val_set.images} != {image.id for image in other.val_set.images}
    assert first.fingerprint != other.fingerprint, "a checkpoint of one split is none of the other"


@pytest.mark.parametrize(
    "options", [{"val_fraction": 0}, {"val_fraction": 1}, {"val_fraction": "NaN"}, {"seed": -1}, {"x": 1}]
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any]):
    from pydantic import ValidationError

    from detrdistill.files.coco import DatasetOptions

    with pytest.raises(ValidationError):
        DatasetOptions.model_validate(options)
