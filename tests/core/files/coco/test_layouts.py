"""Where tools put annotations and images, how they name files, and which categories are classes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.errors import DatasetError
from detrdistill.files.coco import find_annotations
from tests.support.coco_files import Change, Document, each, facts, perfect, read, spoilt, warnings

LAYOUTS: dict[str, tuple[str, str, str, str]] = {
    "flat": ("train.json", "val.json", "images", "images"),
    "COCO": ("annotations/instances_train2017.json", "annotations/instances_val2017.json", "train2017", "val2017"),
    "Roboflow": ("train/_annotations.coco.json", "valid/_annotations.coco.json", "train", "valid"),
    "Roboflow with images": ("train/_annotations.coco.json", "valid/_annotations.coco.json", "train/images", "valid"),
    "FiftyOne": ("train/labels.json", "val/labels.json", "train/data", "val/data"),
    "FiftyOne, one folder": ("train.json", "val.json", "data", "data"),
    "CVAT": ("annotations/instances_Train.json", "annotations/instances_Valid.json", "images/Train", "images/Valid"),
    "CVAT, each split": (
        "train/annotations/instances_default.json",
        "val/annotations/instances_default.json",
        "train/images/default",
        "val/images/default",
    ),
    "Label Studio, each split": ("train/result.json", "val/result.json", "train/images", "val/images"),
    "mmdetection": ("annotations/train.json", "annotations/val.json", "train", "val"),
    "annotations_train": ("annotations/annotations_train.json", "annotations/annotations_val.json", "images", "images"),
    "train_annotations": ("train_annotations.json", "val_annotations.json", "images", "images"),
    "one folder each": ("train/annotations.json", "validation/annotations.json", "train/images", "validation/images"),
    "labels apart": ("labels/train_coco.json", "labels/val_coco.json", "images/train", "images/val"),
    "deep": ("data/set/annotations/train.json", "data/set/annotations/val.json", "data/set/images", "data/set/images"),
    "any name in a folder": ("training/boxes of ours.json", "dev/boxes of ours.json", "training", "dev"),
    "without val": ("train/_annotations.coco.json", "test/_annotations.coco.json", "train", "test"),
}  # fmt: skip


def moved(rectangles: Path, folder: Path, layout: str) -> Path:
    train, val, train_images, val_images = LAYOUTS[layout]
    for split, annotations, images in (("train", train, train_images), ("val", val, val_images)):
        (folder / annotations).parent.mkdir(parents=True, exist_ok=True)
        (folder / images).mkdir(parents=True, exist_ok=True)
        shutil.copy(rectangles / f"{split}.json", folder / annotations)
        for path in (rectangles / "images").glob(f"{split}_*"):
            shutil.copy(path, folder / images)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_tools_are_one_data_set(rectangles: Path, tmp_path: Path, layout: str):
    folder = moved(rectangles, tmp_path, layout)
    sets = read(folder)
    assert facts(sets) == facts(read(rectangles))
    assert find_annotations(folder, "val") == folder / LAYOUTS[layout][1]
    assert warnings(sets) == (
        ["There is no val split; test/_annotations.coco.json (test) takes its place."]
        if layout == "without val"
        else []
    )


def test_files_of_other_tasks_and_other_tools_are_passed_over(rectangles: Path, tmp_path: Path):
    folder = moved(rectangles, tmp_path, "COCO")
    for name in (
        "person_keypoints_train2017",
        "captions_train2017",
        "instances_train2017_stats",
        "image_info_test2017",
    ):
        (folder / "annotations" / f"{name}.json").write_text("{}")
    (folder / "train2017" / "train_1.json").write_text('{"shapes": []}')
    (folder / "package.json").write_text("{}")
    assert facts(read(folder)) == facts(read(rectangles))


def test_each_split_has_its_own_files_where_names_repeat(rectangles: Path, tmp_path: Path):
    """0001.png in both folders: each split finds its own."""
    for split, folder in (("train", "images/Train"), ("val", "images/Validation")):
        (tmp_path / folder).mkdir(parents=True)
        document = json.loads((rectangles / f"{split}.json").read_text())
        for entry in document["images"]:
            source = rectangles / "images" / entry["file_name"]
            entry["file_name"] = f"{entry['id']:04d}.png"
            shutil.copy(source, tmp_path / folder / entry["file_name"])
        (tmp_path / f"{split}.json").write_text(json.dumps(document))
    sets = read(tmp_path)
    assert {image.path.parent.name for image in sets["train"].images} == {"Train"}
    assert {image.path.parent.name for image in sets["val"].images} == {"Validation"}
    assert warnings(sets) == []


ONE_FILE = {"CVAT": "annotations/instances_default.json", "Label Studio": "result.json", "train alone": "train.json"}


@pytest.mark.parametrize("tool", ONE_FILE)
def test_one_file_is_split_by_fraction_and_seed(rectangles: Path, tmp_path: Path, tool: str):
    from detrdistill.files.coco import DatasetOptions

    (tmp_path / ONE_FILE[tool]).parent.mkdir(exist_ok=True)
    shutil.copy(rectangles / "train.json", tmp_path / ONE_FILE[tool])
    shutil.copytree(rectangles / "images", tmp_path / "images")
    with pytest.raises(DatasetError, match="is the only annotation file") as caught:
        read(tmp_path)
    assert "Send val_fraction" in caught.value.hint

    def ids(seed: int, fraction: float = 0.25, **options: bool) -> tuple[list[object], list[object]]:
        sets = read(tmp_path, options=DatasetOptions(val_fraction=fraction, seed=seed), **options)
        rows = {row["image_id"] for row in sets["val"].annotations["annotations"]}
        assert rows <= {image.id for image in sets["val"].images}
        assert CocoEvaluator(sets["val"]).score(perfect(sets["val"])).ap == pytest.approx(1)
        return [image.id for image in sets["train"].images], [image.id for image in sets["val"].images]

    train, val = ids(seed=0)
    assert (len(train), len(val)) == (9, 3)
    assert sorted([*train, *val]) == list(range(1, 13))
    assert ids(seed=0) == (train, val)
    assert ids(seed=1) != (train, val)
    assert len(ids(seed=0, fraction=0.5)[1]) == 6


def test_an_image_under_two_ids_lies_in_one_split(rectangles: Path, tmp_path: Path):
    from detrdistill.files.coco import DatasetOptions

    def doubled(document: Document) -> None:
        document["images"] += [entry | {"id": entry["id"] + 100} for entry in document["images"]]

    folder = spoilt(rectangles, tmp_path / "data", doubled)
    (folder / "val.json").unlink()
    sets = read(folder, options=DatasetOptions(val_fraction=0.4))
    assert not {i.path for i in sets["train"].images} & {i.path for i in sets["val"].images}


def test_data_of_other_formats_is_called_by_its_name(tmp_path: Path):
    (tmp_path / "data.yaml").write_text("nc: 2")
    with pytest.raises(DatasetError, match=r"YOLO \(data.yaml"):
        read(tmp_path)
    (tmp_path / "train.json").write_text('{"_via_img_metadata": {}}')
    (tmp_path / "val.json").write_text("{}")
    with pytest.raises(DatasetError, match="looks like VGG Image Annotator"):
        read(tmp_path)


# ---- names of files

NAMES: dict[str, Callable[[str], str]] = {
    "backslashes": lambda name: f"images\\{name}",
    "a dot first": lambda name: f"./images/{name}",
    "a slash first": lambda name: f"/images/{name}",
    "a folder twice": lambda name: f"images//{name}",
    "URL-encoded": quote,
    "URL-encoded backslashes": lambda name: f"images%5C{name}",
    "another case": str.upper,
}
BY_END: dict[str, Callable[[str], str]] = {
    "a drive": lambda name: f"C:\\Users\\me\\data\\{name}",
    "an absolute path of another machine": lambda name: f"/home/me/project/{name}",
    "a folder above": lambda name: f"..\\label\\{name}",
    "both kinds of slashes": lambda name: f"images\\1/{name}",
    "a local file of Label Studio": lambda name: f"/data/local-files/?d=project%5C{name}",
    "an address": lambda name: f"https://host.example/bucket/{name}?token=a/b",
    "a bucket": lambda name: f"s3://bucket/folder/{name}",
    "another ending": lambda name: name.replace(".png", ".jpg"),
    "no ending": lambda name: name.removesuffix(".png"),
}


@pytest.mark.parametrize("kind", [*NAMES, *BY_END])
def test_names_of_files_as_systems_write_them(rectangles: Path, tmp_path: Path, kind: str):
    write = NAMES.get(kind) or BY_END[kind]
    folder = spoilt(
        rectangles, tmp_path / "data", each("images", lambda item: item.update(file_name=write(item["file_name"])))
    )
    sets = read(folder)
    assert facts(sets) == facts(read(rectangles))
    found = warnings(sets)
    assert len(found) == 2 * (kind in BY_END), found
    assert all("were found by a part of their file_name only" in warning for warning in found)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_letters_may_be_composed_or_not(rectangles: Path, tmp_path: Path, forms: tuple[str, str]):
    import unicodedata

    folder = spoilt(
        rectangles,
        tmp_path / "data",
        each(
            "images", lambda item: item.update(file_name=unicodedata.normalize(forms[0], f"\u00fc{item['file_name']}"))
        ),
    )
    for path in (folder / "images").iterdir():
        path.rename(path.with_name(unicodedata.normalize(forms[1], f"\u00fc{path.name}")))
    assert facts(read(folder)) == facts(read(rectangles))


def test_a_file_that_is_not_there_is_named_as_it_was_looked_for(rectangles: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"not there, first at /images/0 \('images\\gone.png'\)"):
        read(spoilt(rectangles, tmp_path / "data", lambda coco: coco["images"][0].update(file_name="images\\gone.png")))


def test_images_of_two_folders_do_not_become_one(rectangles: Path, tmp_path: Path):
    def renamed(document: Document) -> None:
        document["images"][0]["file_name"] = "a/train_1.png"
        document["images"][1]["file_name"] = "b/train_1.png"

    with pytest.raises(DatasetError, match="share one file although their names differ"):
        read(spoilt(rectangles, tmp_path / "data", renamed))


def test_a_name_that_may_be_several_files_is_refused(rectangles: Path, tmp_path: Path):
    folder = spoilt(rectangles, tmp_path / "data")
    for name in ("a", "b"):
        (folder / name).mkdir()
        shutil.copy(folder / "images" / "train_1.png", folder / name)
    (folder / "images" / "train_1.png").unlink()
    with pytest.raises(DatasetError, match=r"is there several times, in different folders, first at /images/0"):
        read(folder)


# ---- categories


def root_category(document: Document) -> None:
    document["categories"] = [
        {"id": 0, "name": "shapes", "supercategory": "none"},
        *(category | {"supercategory": "shapes"} for category in document["categories"]),
    ]


def test_a_supercategory_without_annotations_is_no_class(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", root_category))
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets) == [
        "train.json: supercategories and backgrounds without annotations are no classes: 'shapes'."
    ]


def test_a_supercategory_with_annotations_is_a_class(rectangles: Path, tmp_path: Path):
    def used(document: Document) -> None:
        root_category(document)
        document["annotations"][0]["category_id"] = 0

    assert read(spoilt(rectangles, tmp_path / "data", used))["train"].classes == ("shapes", "red", "green")


def test_a_class_that_is_its_own_supercategory_is_one_class(rectangles: Path, tmp_path: Path):
    def own(document: Document) -> None:
        document["categories"] = [
            {"id": 0, "name": "red", "supercategory": "none"},
            {"id": 1, "name": "red", "supercategory": "red"},
        ]
        for item in document["annotations"]:
            item["category_id"] = 1

    sets = read(spoilt(rectangles, tmp_path / "data", own))
    assert (sets["train"].classes, sets["train"].category_ids) == (("red",), (1,))
    assert "'red' is listed 2 times" in warnings(sets)[0]


def test_a_class_without_boxes_is_kept_and_counted(rectangles: Path, tmp_path: Path):
    sets = read(
        spoilt(rectangles, tmp_path / "data", lambda coco: coco["categories"].append({"id": 4, "name": "blue"}))
    )
    assert sets["train"].classes == ("red", "blue", "green")
    assert sets["train"].boxes_per_class[1] == 0
    assert all(count > 0 for count in sets["train"].boxes_per_class[::2])
    assert warnings(sets) == ["train.json: no box to train on is of these classes: 'blue'."]
    assert CocoEvaluator(sets["val"]).score(perfect(sets["val"])).per_class == {"red": 1.0, "blue": -1.0, "green": 1.0}


def other_ids(document: Document) -> None:
    new = {3: 8, 8: 3}
    for category in document["categories"]:
        category["id"] = new[category["id"]]
    for item in document["annotations"]:
        item["category_id"] = new[item["category_id"]]


OTHER_LISTS: dict[str, Change] = {
    "another order": lambda document: document["categories"].reverse(),
    "other ids": other_ids,
    "another spelling": each("categories", lambda item: item.update(name=f"{item['name'].title()} ")),
    "more, unused": lambda document: document["categories"].append({"id": 99, "name": "blue"}),
}


@pytest.mark.parametrize("kind", OTHER_LISTS)
def test_categories_of_val_are_matched_by_name(rectangles: Path, tmp_path: Path, kind: str):
    sets = read(spoilt(rectangles, tmp_path / "data", val=OTHER_LISTS[kind]))
    assert facts(sets) == facts(read(rectangles))
    assert sets["val"].category_ids == ((8, 3) if kind == "other ids" else (3, 8))
    assert CocoEvaluator(sets["val"]).score(perfect(sets["val"])).ap == pytest.approx(1)
    assert len(warnings(sets)) == (kind in ("another spelling", "more, unused"))


@pytest.mark.parametrize("taken", [False, True])
def test_val_may_list_only_the_classes_it_has(rectangles: Path, tmp_path: Path, taken: bool):
    """Where val gives the id of a class it lacks to another one, it has no id for it."""

    def fewer(document: Document) -> None:
        document["annotations"] = [item for item in document["annotations"] if item["category_id"] == 3]
        document["categories"] = document["categories"][:1]
        for item in [*document["annotations"], *document["categories"]] if taken else ():
            item["id" if "name" in item else "category_id"] = 8

    sets = read(spoilt(rectangles, tmp_path / "data", val=fewer))
    assert sets["val"].category_ids == ((8, None) if taken else (3, 8))
    assert sets["val"].boxes_per_class[1] == 0
    assert CocoEvaluator(sets["val"]).score(perfect(sets["val"])).per_class == {"red": 1.0, "green": -1.0}


def test_categories_that_train_lacks_are_refused_by_name(rectangles: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"val.json uses 'crimson', but train.json lists only 'red', 'green'"):
        read(spoilt(rectangles, tmp_path / "data", val=lambda coco: coco["categories"][0].update(name="crimson")))
