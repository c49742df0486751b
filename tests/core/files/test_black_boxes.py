"""Folders of black-box teachers: what is recognised, and what is refused with its reason."""

import json
from pathlib import Path

import pytest

from detrdistill.errors import CheckpointError
from detrdistill.files.black_boxes import BlackBox, inspect_black_box, kind_of, read_detections
from detrdistill.files.coco import read_splits
from detrdistill.files.preprocessing import Preprocessing
from tests.support.black_boxes import perfect_detections, write_detections
from tests.support.rectangles import write_rectangles

ROW = {"image_id": 1, "category_id": 8, "bbox": [-4, 10, 20, 30], "score": 0.5}
"""Of the dataset `rectangles`: a green box that reaches outside of the image."""


def write_config(folder: Path, **fields: object) -> Path:
    (folder / "model.onnx").write_bytes(b"")
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "red", "1": "green"}} | fields))
    processor = Preprocessing.square(64, normalised=True).to_json("DetrImageProcessor")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["model.onnx"], "onnx"),
        (["detections.json"], "detections"),
        (["model.safetensors", "model.onnx"], None),
        ([], None),
    ],
)
def test_files_say_the_kind(files: list[str], kind: str | None, tmp_path: Path):
    for name in files:
        (tmp_path / name).touch()
    assert kind_of(tmp_path) == kind


@pytest.mark.parametrize(
    ("fields", "scores"), [({"scores": "softmax"}, "softmax"), ({"model_type": "rt_detr"}, "sigmoid")]
)
def test_config_says_what_the_logits_are(fields: dict[str, str], scores: str, tmp_path: Path):
    card = inspect_black_box(write_config(tmp_path, **fields), "onnx")
    assert card == BlackBox("onnx", scores, ("red", "green"), (64, 64))


def test_logits_without_a_meaning_are_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="does not say what the logits are"):
        inspect_black_box(write_config(tmp_path), "onnx")


def test_detections_of_each_split_by_picture_best_first(rectangles: Path, tmp_path: Path):
    train = [ROW, ROW | {"bbox": [1, 2, 3, 4], "category_id": 3, "score": 1}, ROW | {"bbox": [64, 0, 5, 5]}]
    sets = read_splits(rectangles)
    found = read_detections(write_detections(tmp_path, {"train": train, "val": []}), sets)
    assert list(found) == [sets["train"].images[0].path]
    first, second = found[sets["train"].images[0].path]
    assert (first.box_xyxy_px, first.score, first.label) == ((1, 2, 4, 6), 1.0, 0)
    assert (second.box_xyxy_px, second.score, second.label) == ((0, 10, 16, 40), 0.5, 1)


def test_a_list_serves_both_splits_where_ids_tell_them_apart(tmp_path: Path):
    data = write_rectangles(tmp_path / "data", images={"train": 3, "val": 3})
    both = perfect_detections(data)
    document = json.loads((data / "val.json").read_text())
    for row, key in [(row, "id") for row in document["images"]] + [
        (row, "image_id") for row in document["annotations"]
    ]:
        row[key] += 100
    (data / "val.json").write_text(json.dumps(document))
    for row in both["val"]:
        row["image_id"] += 100
    sets = read_splits(data)
    apart = read_detections(write_detections(tmp_path, both), sets)
    assert apart == read_detections(write_detections(tmp_path, both["train"] + both["val"]), sets)
    assert {path.name for path in apart} == {"train_1.png", "train_2.png", "val_1.png", "val_2.png"}


@pytest.mark.parametrize("kind", ["text", "floats", "huge", "other ids in val"])
def test_ids_of_any_kind_name_images_and_categories(tmp_path: Path, kind: str):
    data = write_rectangles(tmp_path / "data", images={"train": 3, "val": 3})
    plain = read_detections(write_detections(tmp_path, perfect_detections(data)), read_splits(data))
    rename = {"text": str, "floats": float, "huge": lambda i: 10**18 + i, "other ids in val": lambda i: 11 - i}[kind]
    for split in ("val",) if kind.startswith("other") else ("train", "val"):
        document = json.loads((data / f"{split}.json").read_text())
        for row in document["annotations"]:
            row |= {"image_id": rename(row["image_id"]), "category_id": rename(row["category_id"])}
        for row in document["images"] + document["categories"]:
            row["id"] = rename(row["id"])
        (data / f"{split}.json").write_text(json.dumps(document))
    own = perfect_detections(data)
    assert read_detections(write_detections(tmp_path, own), read_splits(data)) == plain
    as_a_table = {s: [row | {"image_id": f"{row['image_id']}"} for row in rows] for s, rows in own.items()}
    assert read_detections(write_detections(tmp_path, as_a_table), read_splits(data)) == plain


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("nothing", "neither a list nor"),
        ({"train": []}, "neither a list nor"),
        ([{}], "1 of 1 rows are malformed"),
        ([ROW, ROW | {"score": 2}], "1 of 2 rows are malformed"),
        ([ROW | {"bbox": [1, 2, 3]}], "malformed"),
        ([ROW | {"bbox": [1, 2, 3, float("nan")]}], "malformed"),
        ([ROW | {"image_id": True}], "malformed"),
        ([ROW], "in both splits"),
        ({"train": [ROW | {"image_id": 99}], "val": []}, r"\(train\) name an unknown image_id"),
        ({"train": [ROW], "val": [ROW | {"category_id": 1}]}, r"\(val\) name an unknown category_id"),
        ({"train": [], "val": [ROW]}, "nothing on the training images"),
    ],
)
def test_what_is_wrong_with_detections_is_said(content: object, complaint: str, rectangles: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=complaint):
        read_detections(write_detections(tmp_path, content), read_splits(rectangles))
