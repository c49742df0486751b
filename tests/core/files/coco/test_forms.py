"""Boxes and areas that cannot be what they should be: asked about, said, or refused, with the first of them."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detrdistill.errors import DatasetError
from tests.support.coco_files import Change, Document, each, facts, first, read, spoilt, warnings


def resized(folder: Path, factor: float) -> Path:
    for path in (folder / "images").iterdir():
        side = round(64 * factor)
        Image.open(path).resize((side, side)).save(path)
    return folder


def no_sizes(document: Document) -> None:
    for item in document["images"]:
        del item["width"], item["height"]


def corners(item: Document) -> None:
    x, y, w, h = item["bbox"]
    item["bbox"] = [x, y, x + w, y + h]


def small_corners(item: Document) -> None:
    """Of objects so far to the upper left that nothing reaches outside."""
    x, y, w, h = (side / 4 for side in item["bbox"])
    item.update(bbox=[x, y, x + w, y + h], area=w * h)


def centered(item: Document) -> None:
    x, y, w, h = item["bbox"]
    item["bbox"] = [x + w / 2, y + h / 2, w, h]


REFUSED: dict[str, tuple[Change, str]] = {
    "corners": (each("annotations", corners), "have the area that [x, y, x2, y2] would have, first at /annotations/0"),
    "corners that fit": (each("annotations", small_corners), "are they x, y, x2, y2?"),
    "thousandths": (
        each("annotations", lambda item: item.update(bbox=[side / 64 * 1000 for side in item["bbox"]])),
        "in an image of 64x64; do they belong to images of another size?",
    ),
    "negative sides": (
        each("annotations", lambda item: item["bbox"].__setitem__(2, -item["bbox"][2])),
        "no boxes to learn from; all are thinner than one pixel, or negative (first /annotations/0 ([",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_boxes_in_another_form_are_refused_with_the_first(rectangles: Path, tmp_path: Path, kind: str):
    change, words = REFUSED[kind]
    with pytest.raises(DatasetError) as caught:
        read(spoilt(rectangles, tmp_path / "data", change))
    assert words in caught.value.message
    assert "in pixels" in caught.value.hint or "scale the boxes" in caught.value.hint


def test_files_that_were_made_smaller_are_refused(rectangles: Path, tmp_path: Path):
    folder = resized(spoilt(rectangles, tmp_path / "data", no_sizes), 0.5)
    with pytest.raises(
        DatasetError, match=r"reach outside their image, first at .* do they belong to images of another"
    ):
        read(folder)


def test_files_that_were_made_larger_are_asked_about(rectangles: Path, tmp_path: Path):
    sets = read(resized(spoilt(rectangles, tmp_path / "data", no_sizes), 2))
    assert "boxes lie within the upper left quarter of their images, first at /annotations/0" in warnings(sets)[0]


def test_centers_that_hardly_reach_outside_are_asked_about(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", each("annotations", centered)))
    assert "and all fit as [center x, center y, width, height]; are they that? first at" in warnings(sets)[0]


@pytest.mark.parametrize("area", [0.02, 1e6, 5000])
def test_an_area_that_no_object_can_have_is_that_of_the_box(rectangles: Path, tmp_path: Path, area: float):
    """A part of the image instead of pixels; or pixels of an image of another size."""
    sets = read(spoilt(rectangles, tmp_path / "data", each("annotations", lambda item: item.update(area=area))))
    rows = sets["val"].annotations["annotations"]
    assert [row["area"] for row in rows] == [row["bbox"][2] * row["bbox"][3] for row in rows]
    assert f"val.json: {len(rows)} annotations have an area that no object in their box can have" in warnings(sets)[1]
    assert f"first at /annotations/0 ({{'area': {float(area)}" in warnings(sets)[1]


def test_the_area_of_an_outline_stays(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", each("annotations", lambda item: item.update(area=30))))
    assert {row["area"] for row in sets["val"].annotations["annotations"]} == {30}
    assert warnings(sets) == []


SIZES: dict[str, tuple[Change, str]] = {
    "resized": (each("images", lambda item: item.update(width=128, height=128)), "were resized after they were"),
    "cropped": (
        each("images", lambda item: item.update(width=99)),
        "only if the boxes belong to the files as they are",
    ),
}


@pytest.mark.parametrize("kind", SIZES)
def test_the_remedy_for_a_wrong_size_does_not_spoil_the_boxes(rectangles: Path, tmp_path: Path, kind: str):
    change, remedy = SIZES[kind]
    with pytest.raises(DatasetError) as caught:
        read(spoilt(rectangles, tmp_path / "data", change))
    assert remedy in caught.value.hint


@pytest.mark.parametrize("fits", [True, False])
def test_swapped_sizes_are_told_from_turned_files(rectangles: Path, tmp_path: Path, fits: bool):
    folder = spoilt(rectangles, tmp_path / "data", each("images", lambda item: item.update(width=64, height=90)))
    for path in (folder / "images").iterdir():
        Image.open(path).resize((90, 64)).save(path)
    if not fits:
        change_boxes(folder, [2, 70, 20, 15])
    with pytest.raises(DatasetError) as caught:
        read(folder)
    assert ("Swap width and height" if fits else "turned after they were annotated") in caught.value.hint


def change_boxes(folder: Path, box: list[int]) -> None:
    import json

    for split in ("train", "val"):
        document: dict[str, Any] = json.loads((folder / f"{split}.json").read_text())
        each("annotations", lambda item: item.update(bbox=box))(document)
        (folder / f"{split}.json").write_text(json.dumps(document))


def test_unknown_ids_are_refused_with_those_that_there_are(rectangles: Path, tmp_path: Path):
    for name, known in (
        ("image_id", "Ids of images begin with 1, 2, 3"),
        ("category_id", "categories begin with 3, 8"),
    ):
        with pytest.raises(DatasetError) as caught:
            read(spoilt(rectangles, tmp_path / name, each("annotations", lambda item, n=name: item.update({n: "007"}))))
        assert known in caught.value.hint


def test_names_of_files_in_place_of_image_ids_are_taken(rectangles: Path, tmp_path: Path):
    def named(document: Document) -> None:
        names = {item["id"]: item["file_name"] for item in document["images"]}
        for item in document["annotations"]:
            item["image_id"] = names[item["image_id"]]

    sets = read(spoilt(rectangles, tmp_path / "data", named))
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets) == []


def test_images_under_another_key_are_refused_with_the_keys(rectangles: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match="12 of images have no file_name") as caught:
        read(spoilt(rectangles, tmp_path / "data", each("images", lambda i: i.update(path=i.pop("file_name")))))
    assert "Keys of the first image are 'id', 'width', 'height', 'path'." in caught.value.hint


def test_boxes_to_ignore_are_taken_and_counted(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", first("annotations", ignore=1)))
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets)[0] == (
        "train.json: 1 annotations are marked `ignore`, and are taken like any; mark them iscrowd if not, first at "
        "/annotations/0 (1)."
    )
