"""Fields as tools write them: taken where they are clear, named where they are not."""

import uuid
from pathlib import Path

import pytest

from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.errors import DatasetError
from tests.support.coco_files import Change, Document, boxes, each, facts, first, perfect, read, spoilt, warnings


def renamed_ids(name: str, rename) -> Change:
    def change(document: Document) -> None:
        own, foreign = ("images", "image_id") if name == "image" else ("categories", "category_id")
        for item in document[own]:
            item["id"] = rename(item["id"])
        for item in document["annotations"]:
            item[foreign] = rename(item[foreign])

    return change


def mixed_ids(document: Document) -> None:
    """The image says 1, its annotations say "1.0"."""
    for item in document["annotations"]:
        item["image_id"] = f"{item['image_id']}.0"
        item["category_id"] = float(item["category_id"])


SAME: dict[str, Change] = {
    "UUIDs of annotations": each("annotations", lambda item: item.update(id=str(uuid.uuid4()))),
    "annotation ids that start anew in every image": each("annotations", lambda item: item.update(id=1)),
    "no annotation ids": each("annotations", lambda item: item.pop("id")),
    "annotation ids that are objects": each("annotations", lambda item: item.update(id={})),
    "image ids as text": renamed_ids("image", str),
    "image ids as floats": renamed_ids("image", float),
    "image ids that are names": renamed_ids("image", lambda i: f"image {i} \u00e9"),
    "image ids beyond 64 bits": renamed_ids("image", lambda i: 2**70 + i),
    "image ids that float64 cannot tell apart": renamed_ids("image", lambda i: 10**18 + i),
    "negative image ids": renamed_ids("image", lambda i: -i),
    "an image id of zero": renamed_ids("image", lambda i: i - 1),
    "ids that a table has changed": mixed_ids,
    "category ids as text": renamed_ids("category", str),
    "category ids beyond 64 bits": renamed_ids("category", lambda i: 2**64 + i),
    "category ids that float64 cannot tell apart": renamed_ids("category", lambda i: 10**17 + i),
    "category names in place of ids": each(
        "annotations", lambda item: item.update(category_id={3: "red", 8: "green"}[item["category_id"]])
    ),
    "sizes as floats": each("images", lambda item: item.update(width=64.0, height=64.0)),
    "sizes as text": each("images", lambda item: item.update(width="64", height="64.0")),
    "no sizes": each("images", lambda item: (item.pop("width"), item.pop("height"))),
    "null for sizes": each("images", lambda item: item.update(width=None, height=None)),
    "NaN for sizes": each("images", lambda item: item.update(width=float("nan"))),
    "boxes as text": each("annotations", lambda item: item.update(bbox=[str(side) for side in item["bbox"]])),
    "areas as text": each("annotations", lambda item: item.update(area=str(item["area"]))),
    "no areas": each("annotations", lambda item: item.pop("area")),
    "crowd as text": each("annotations", lambda item: item.update(iscrowd="0")),
    "crowd as a word": each("annotations", lambda item: item.update(iscrowd="False")),
    "crowd as null": each("annotations", lambda item: item.update(iscrowd=None)),
    "crowd as a float": each("annotations", lambda item: item.update(iscrowd=0.0)),
    "crowd as a truth value": each("annotations", lambda item: item.update(iscrowd=False)),
    "no crowd": each("annotations", lambda item: item.pop("iscrowd")),
    "segmentation as an object": each("annotations", lambda item: item.update(segmentation={})),
    "segmentation that is flat": each("annotations", lambda item: item.update(segmentation=[1, 2, 3, 4, 5, 6])),
    "segmentation that is null": each("annotations", lambda item: item.update(segmentation=None)),
    "packed run lengths": each(
        "annotations", lambda item: item.update(segmentation={"size": [64, 64], "counts": "abc"})
    ),
    "names with spaces": each("categories", lambda item: item.update(name=f" {item['name']}\n")),
    "licenses that are no list": lambda document: document.update(licenses={}, info=None),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_tools_write_in_other_ways_is_the_same_data_set(rectangles: Path, tmp_path: Path, kind: str):
    sets = read(spoilt(rectangles, tmp_path / "data", SAME[kind]))
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets) == []
    metrics = CocoEvaluator(sets["val"]).score(perfect(sets["val"]))
    assert metrics.ap == pytest.approx(1)
    assert metrics.per_class == pytest.approx({"red": 1.0, "green": 1.0})


def test_ids_come_back_as_they_were_written(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", renamed_ids("image", lambda i: f"00{i}")))
    assert [image.id for image in sets["val"].images] == ["001", "002", "003", "004", "005", "006"]
    assert {row["image_id"] for row in sets["val"].annotations["annotations"]} <= {f"00{i}" for i in range(1, 7)}


@pytest.mark.parametrize("area", [None, "", 0, -3, float("nan"), float("inf"), 1e300, "large", [], True, 10**400])
def test_an_area_of_no_use_is_that_of_the_box(rectangles: Path, tmp_path: Path, area: object):
    sets = read(spoilt(rectangles, tmp_path / "data", each("annotations", lambda item: item.update(area=area))))
    rows = sets["val"].annotations["annotations"]
    assert [row["area"] for row in rows] == [row["bbox"][2] * row["bbox"][3] for row in rows]
    [_, val] = warnings(sets)
    assert val.startswith(
        f"val.json: {len(rows)} annotations have an area that is no positive number; that of their box is taken, first "
        "at /annotations/0 ("
    )
    assert CocoEvaluator(sets["val"]).score(perfect(sets["val"])).ap == pytest.approx(1)


@pytest.mark.parametrize("flag", [1, "1", True, "true", "TRUE", 1.0, "1.0"])
def test_crowd_regions_are_not_trained_on(rectangles: Path, tmp_path: Path, flag: object):
    sets = read(spoilt(rectangles, tmp_path / "data", first("annotations", iscrowd=flag)))
    whole = read(rectangles)
    assert boxes(sets["val"]) == boxes(whole["val"]) - 1
    assert [row["iscrowd"] for row in sets["val"].annotations["annotations"]].count(1) == 1


def test_the_box_around_an_outline_is_taken_where_there_is_none(rectangles: Path, tmp_path: Path):
    def outline(item: Document) -> None:
        x, y, w, h = item["bbox"]
        item["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        item["bbox"] = [[], None, [0, 0, 0, 0]][item["id"] % 3]

    sets = read(spoilt(rectangles, tmp_path / "data", each("annotations", outline)))
    assert facts(sets) == facts(read(rectangles))
    assert "annotations have no bbox; the box around their segmentation is taken" in warnings(sets)[0]


WRONG: dict[str, tuple[Change, str, str]] = {
    "crowd as a list": (first("annotations", iscrowd=[0]), "neither 0 nor 1", "/annotations/0 ([0])"),
    "crowd as a number": (first("annotations", iscrowd=2), "neither 0 nor 1", "/annotations/0 (2)"),
    "crowd as a word": (first("annotations", iscrowd="maybe"), "neither 0 nor 1", "/annotations/0 ('maybe')"),
    "no image id": (lambda document: document["images"][0].pop("id"), "images have no id", "/images/0 (None)"),
    "an image id that is a list": (first("images", id=[1]), "images have no id", "/images/0 ([1])"),
    "an image id that is NaN": (first("images", id=float("nan")), "images have no id", "/images/0 (nan)"),
    "a truth value for an id": (first("images", id=True), "images have no id", "/images/0 (True)"),
    "no category id": (first("categories", id=None), "categories have no id", "/categories/0 (None)"),
    "no file name": (first("images", file_name=7), "images have no file_name", "/images/0 (7)"),
    "half a pixel": (first("images", width=64.5), "a width that is no positive whole number", "/images/0 (64.5)"),
    "a size in words": (first("images", height="tall"), "a height that is no", "/images/0 ('tall')"),
    "a size of infinity": (first("images", height=float("inf")), "a height that is no", "/images/0 (inf)"),
    "a category name that is a list": (first("categories", name=[]), "no usable name", "/categories/0 ([])"),
    "a category name without end": (first("categories", name="a" * 300), "no usable name", "/categories/0 ('aaa"),
    "a box of infinity": (first("annotations", bbox=[1, 2, float("inf"), 4]), "no bbox of four", "/annotations/0 "),
    "neither box nor outline": (first("annotations", bbox=[]), "no bbox of four", "/annotations/0 ([])"),
    "two ids that are one": (first("images", id="2.0"), "share the id 2 ", "/images/0 and /images/1"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_clear_is_refused_with_field_entry_and_value(rectangles: Path, tmp_path: Path, kind: str):
    change, complaint, entry = WRONG[kind]
    with pytest.raises(DatasetError) as caught:
        read(spoilt(rectangles, tmp_path / "data", change))
    assert complaint in caught.value.message
    assert entry in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("depth", [10_000, 200_000])
def test_deep_json_is_refused(rectangles: Path, tmp_path: Path, depth: int):
    folder = spoilt(rectangles, tmp_path / "data")
    (folder / "val.json").write_text('{"images": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(DatasetError, match=r"not valid JSON|not objects|no list"):
        read(folder)


def test_more_classes_than_anybody_has_are_refused(rectangles: Path, tmp_path: Path):
    def many(document: Document) -> None:
        document["categories"] += [{"id": 100 + i, "name": f"c{i}"} for i in range(20_000)]

    with pytest.raises(DatasetError, match="lists 20002 categories, more than 20000"):
        read(spoilt(rectangles, tmp_path / "data", many))
