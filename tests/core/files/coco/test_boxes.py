"""Boxes: the same in training and evaluation, and asked about where the numbers look like something else."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.errors import DatasetError
from tests.support.coco_files import Change, Document, boxes, each, facts, first, perfect, read, spoilt, warnings

LEFT_OUT: dict[str, tuple[list[float], str]] = {
    "zero width": ([5, 5, 0, 20], "1 boxes are thinner than one pixel, or negative, and are left out"),
    "thin": ([5, 5, 20, 0.4], "1 boxes are thinner than one pixel, or negative, and are left out"),
    "negative": ([30, 5, -20, 20], "1 boxes are thinner than one pixel, or negative, and are left out"),
    "outside": ([500, 500, 20, 20], "1 boxes lie outside their image and are left out"),
    "beside": ([-30, 5, 20, 20], "1 boxes lie outside their image and are left out"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_boxes_that_nothing_could_find_cost_no_ap(rectangles: Path, tmp_path: Path, kind: str):
    box, warning = LEFT_OUT[kind]
    sets = read(spoilt(rectangles, tmp_path / "data", first("annotations", bbox=box, area=300)))
    assert boxes(sets["val"]) == boxes(read(rectangles)["val"]) - 1
    metrics = CocoEvaluator(sets["val"]).score(perfect(sets["val"]))
    assert (metrics.ap, metrics.ar100) == (pytest.approx(1), pytest.approx(1))
    first_of = f"{warning}, first at /annotations/0 ({list(map(float, box))})."
    assert warnings(sets) == [f"train.json: {first_of}", f"val.json: {first_of}"]


@pytest.mark.parametrize("box", [[-10, 5, 40, 20], [50, 50, 30, 30], [-100, -100, 300, 300]])
def test_a_clipped_box_is_clipped_in_training_and_evaluation(rectangles: Path, tmp_path: Path, box: list[float]):
    sets = read(spoilt(rectangles, tmp_path / "data", first("annotations", bbox=box)))
    assert CocoEvaluator(sets["val"]).score(perfect(sets["val"])).ap == pytest.approx(1)
    start = "val.json: 1 boxes reach outside their image and were clipped, first at /annotations/0 ("
    assert any(warning.startswith(start) for warning in warnings(sets))


def test_a_fraction_of_a_pixel_outside_is_left_to_the_annotator(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", first("annotations", bbox=[50, 50, 14.5, 14.5], area=200)))
    assert sets["val"].annotations["annotations"][0]["bbox"] == [50, 50, 14.5, 14.5]
    assert warnings(sets) == []


def normalised(item: Document) -> None:
    item["bbox"] = [side / 64 for side in item["bbox"]]


def corners(item: Document) -> None:
    x, y, w, h = item["bbox"]
    item["bbox"] = [x, y, x + w, y + h]


def centered(item: Document) -> None:
    """Of boxes that touch the right edge, as some do."""
    _, y, w, h = item["bbox"]
    item["bbox"] = [64 - w / 2, y + h / 2, w, h]


FORMS: dict[str, tuple[Change, str]] = {
    "fractions": (each("annotations", normalised), "lie between 0 and 1, first at /annotations/0 ([0."),
    "corners": (each("annotations", corners), "are they x, y, x2, y2?"),
    "centers": (each("annotations", centered), "are they center x, center y, width, height?"),
}


@pytest.mark.parametrize("form", FORMS)
def test_numbers_in_another_form_are_asked_about(rectangles: Path, tmp_path: Path, form: str):
    change, words = FORMS[form]
    with pytest.raises(DatasetError) as caught:
        read(spoilt(rectangles, tmp_path / "data", change))
    assert words in caught.value.message
    assert "[x, y, width, height] in pixels" in caught.value.hint


@pytest.mark.parametrize("crowd", [0, 1])
def test_a_split_without_boxes_is_refused(rectangles: Path, tmp_path: Path, crowd: int):
    change = each("annotations", lambda item: item.update(iscrowd=1)) if crowd else lambda d: d.update(annotations=[])
    with pytest.raises(DatasetError, match=f"has no boxes to learn from{'; all are crowd regions' * crowd}"):
        read(spoilt(rectangles, tmp_path / "data", change))


def test_images_without_boxes_are_background(rectangles: Path, tmp_path: Path):
    def few(document: Document) -> None:
        document["annotations"] = [item for item in document["annotations"] if item["image_id"] < 3]

    sets = read(spoilt(rectangles, tmp_path / "data", few))
    assert [bool(image.labels) for image in sets["train"].images] == [True] * 2 + [False] * 10
    assert warnings(sets) == []


# ---- doubles and leaks


def test_val_that_is_train_is_said(rectangles: Path, tmp_path: Path):
    folder = spoilt(rectangles, tmp_path / "data")
    shutil.copy(folder / "train.json", folder / "val.json")
    unused, warning = warnings(read(folder))
    assert unused.startswith("6 image files are in none of the annotation files that are used: 'images/val_1.png', ")
    assert warning.startswith("val.json: all of 12 validation images are training images, too: 'train_1.png', ")


def test_a_training_image_under_another_name_in_val_is_said(rectangles: Path, tmp_path: Path):
    folder = spoilt(rectangles, tmp_path / "data")
    shutil.copy(folder / "images" / "train_3.png", folder / "images" / "val_2.png")
    [warning] = warnings(read(folder))
    assert warning.startswith("val.json: 1 of 6 validation images are training images, too: 'val_2.png'.")


def test_one_file_under_two_ids_is_said(rectangles: Path, tmp_path: Path):
    def twice(document: Document) -> None:
        document["images"] += [entry | {"id": entry["id"] + 500} for entry in document["images"][:3]]

    sets = read(spoilt(rectangles, tmp_path / "data", twice))
    assert len(sets["train"].images) == 15
    assert warnings(sets)[0].startswith(
        "train.json: 3 image files are listed under several ids: 'train_1.png', 'train_2.png', 'train_3.png'."
    )


def test_two_files_of_one_content_are_said(rectangles: Path, tmp_path: Path):
    folder = spoilt(rectangles, tmp_path / "data")
    shutil.copy(folder / "images" / "train_3.png", folder / "images" / "train_4.png")
    assert warnings(read(folder)) == [
        "train.json: 2 image files have the content of another: 'train_3.png = train_4.png'."
    ]


def test_boxes_that_are_there_twice_are_said(rectangles: Path, tmp_path: Path):
    def twice(document: Document) -> None:
        document["annotations"] += [item | {"id": item["id"] + 900} for item in document["annotations"]]

    sets = read(spoilt(rectangles, tmp_path / "data", twice))
    count = len(json.loads((rectangles / "train.json").read_text())["annotations"])
    assert warnings(sets)[0].startswith(
        f"train.json: {count} boxes are there twice, with the same class and the same corners, in 11 images: "
    )


def test_entries_that_are_there_twice_are_one(rectangles: Path, tmp_path: Path):
    def concatenated(document: Document) -> None:
        for name in ("images", "categories"):
            document[name] += copy.deepcopy(document[name])

    sets = read(spoilt(rectangles, tmp_path / "data", concatenated))
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets)[:2] == [
        "train.json: 2 categories are listed twice with the same id and name.",
        "train.json: 12 images are listed twice with the same id and file_name.",
    ]
