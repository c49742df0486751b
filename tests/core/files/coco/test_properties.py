"""Whatever the fields hold: a dataset is refused with a reason that can be stored, or can be evaluated."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.errors import DatasetError
from detrdistill.files.coco import CocoSet, read_splits
from tests.support.coco_files import perfect

ANY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**70),
    st.sampled_from([0, 1, 10**18, 10**18 + 1, 10**400, -1, 1e300, 1.0, 2.0, 0.5]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["0", "1", "1.0", "NaN", "inf", "1e3", "red", "\ud800", "\x00", "a\nb", "images\\a.png", "../a.png"]
    ),
    st.lists(st.one_of(st.integers(-5, 90), st.floats(), st.none(), st.text(max_size=2)), max_size=8),
    st.dictionaries(st.sampled_from(["size", "counts"]), st.one_of(st.text(max_size=4), st.lists(st.integers()))),
)
FIELDS = {
    "images": ["id", "file_name", "width", "height"],
    "annotations": ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"],
    "categories": ["id", "name", "supercategory"],
}
PLACES = [(name, index, key) for name, keys in FIELDS.items() for index in (0, 1) for key in keys]
CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), ANY), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("any")
    (root / "images").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.effect_noise((40, 30), 50).save(root / "images" / name)
    return root


BASE: dict[str, list[dict[str, Any]]] = {
    "images": [{"id": i, "file_name": f"{'abc'[i]}.png", "width": 40, "height": 30} for i in range(3)],
    "annotations": [
        {"id": i, "image_id": i, "category_id": i % 2, "bbox": [2 + i, 3, 10, 12], "area": 120, "iscrowd": 0}
        for i in range(3)
    ],
    "categories": [{"id": 0, "name": "red"}, {"id": 1, "name": "green"}],
}


def read_or_refuse(folder: Path) -> dict[Any, CocoSet] | DatasetError:
    try:
        return read_splits(folder, check_files=True)
    except DatasetError as error:
        return error


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=CHANGES, alike=st.booleans())
def test_whatever_the_fields_hold(folder: Path, changes: list[tuple[tuple[str, int, str], Any]], alike: bool):
    document = copy.deepcopy(BASE)
    for (name, index, key), value in changes:
        document[name][index][key] = value
    (folder / "train.json").write_text(json.dumps(document if alike else BASE))
    (folder / "val.json").write_text(json.dumps(document))
    sets = read_or_refuse(folder)
    if isinstance(sets, DatasetError):
        assert sets.hint
        assert len(str(sets).encode()) < 5000, "can be encoded, and is short"
        return
    for warning in (warning for found in sets.values() for warning in found.warnings):
        assert len(warning.encode()) < 2000
    metrics = CocoEvaluator(sets["val"]).score(perfect(sets["val"]))
    crowds = any(row["iscrowd"] for row in sets["val"].annotations["annotations"])
    twice = any("there twice" in warning for warning in sets["val"].warnings)
    assert metrics.ap == pytest.approx(1) or crowds or twice
    assert read_splits(folder)["train"].images == sets["train"].images, "the engine reads what was registered"
