"""Which file, which image, which class: what was chosen among several is said, and what cannot be told is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detrdistill.errors import DatasetError
from tests.support.coco_files import Document, each, facts, read, spoilt, warnings

# ---- annotation files

WORDS = {
    "minival": ("instances_train.json", "instances_minival.json"),
    "development": ("training.json", "development.json"),
    "abbreviated": ("trn.json", "holdout.json"),
    "folders in camel case": ("TrainSet/Annotations.json", "ValSet/Annotations.json"),
    "capitals": ("TRAIN.JSON", "VAL.JSON"),
}


@pytest.mark.parametrize("kind", WORDS)
def test_other_words_for_the_splits_are_understood(rectangles: Path, tmp_path: Path, kind: str):
    shutil.copytree(rectangles / "images", tmp_path / "images")
    for split, name in zip(("train", "val"), WORDS[kind], strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(rectangles / f"{split}.json", tmp_path / name)
    sets = read(tmp_path)
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets) == []


def test_a_file_that_was_passed_over_is_named(rectangles: Path, tmp_path: Path):
    folder = spoilt(rectangles, tmp_path / "data")
    (folder / "train_v2.json").write_text((folder / "train.json").read_text() + "\n")
    assert warnings(read(folder)) == [
        "train.json is taken, and not 'train_v2.json'; keep one file if that is wrong.",
    ]


def test_names_that_tell_no_split_are_refused_with_a_remedy(rectangles: Path, tmp_path: Path):
    shutil.copytree(rectangles / "images", tmp_path / "images")
    for split, name in (("train", "a"), ("val", "b")):
        shutil.copy(rectangles / f"{split}.json", tmp_path / f"{name}.json")
    with pytest.raises(DatasetError, match=r"nothing in their names tells the split: 'a.json', 'b.json'") as caught:
        read(tmp_path)
    assert "Name them train.json and val.json" in caught.value.hint


def test_a_json_file_beside_every_image_is_passed_over(rectangles: Path, tmp_path: Path):
    """As LabelMe leaves them, with names that speak of a split."""
    folder = spoilt(rectangles, tmp_path / "data")
    for path in list((folder / "images").iterdir()):
        path.with_suffix(".json").write_text('{"shapes": [], "imageData": null}')
    sets = read(folder)
    assert facts(sets) == facts(read(rectangles))
    for path in (folder / "images").glob("train_*.png"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"12 of images name a file that is not there, first at /images/0"):
        read(folder)


CONTENTS: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "train.json is not JSON, but empty (0 bytes).", "again"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "is not JSON, but a pointer of Git LFS", "again"),
    "gzip": (b"\x1f\x8b\x08\0abc", "is not JSON, but a gzip archive", "again"),
    "Latin-1": ('{"images": "é"}'.encode("latin-1"), "is not valid JSON: 'utf-8' codec", "Save it as UTF-8"),
    "null": (b'{"images": [], "annotations": null, "categories": []}', "no list 'annotations', but null", "COCO"),
    "an object": (b'{"images": {}, "annotations": [], "categories": []}', "no list 'images', but an object", "COCO"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_is_no_coco_file_is_called_by_its_name(rectangles: Path, tmp_path: Path, kind: str):
    content, words, hint = CONTENTS[kind]
    folder = spoilt(rectangles, tmp_path / "data")
    (folder / "train.json").write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read(folder)
    assert words in caught.value.message
    assert hint in caught.value.hint


OTHER_FORMATS = {
    "VGG Image Annotator": (
        "via_export.json",
        {"_via_img_metadata": {}},
        "looks like VGG Image Annotator; export as COCO",
    ),
    "Labelbox": ("export.json", [{"ID": 1}], "the top level is not an object"),
    "both splits in one": ("annotations.json", {"train": {}, "val": {}}, "it has no list 'images'"),
}


@pytest.mark.parametrize("tool", OTHER_FORMATS)
def test_a_single_file_is_understood_before_it_is_to_be_split(tmp_path: Path, tool: str):
    name, content, words = OTHER_FORMATS[tool]
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        read(tmp_path)
    assert words in caught.value.message
    assert "val_fraction" not in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_any_unicode_encoding_is_read(rectangles: Path, tmp_path: Path, encoding: str):
    folder = spoilt(rectangles, tmp_path / "data")
    for name in ("train.json", "val.json"):
        (folder / name).write_bytes((folder / name).read_text().encode(encoding))
    assert facts(read(folder)) == facts(read(rectangles))


# ---- images


def test_images_that_no_split_uses_are_counted(rectangles: Path, tmp_path: Path):
    folder = spoilt(rectangles, tmp_path / "data")
    shutil.copytree(folder / "images", folder / "test")
    [warning] = warnings(read(folder))
    assert warning.startswith("18 image files are in none of the annotation files that are used: 'test/train_1.png', ")


@pytest.mark.parametrize("page", ["cp936", "cp932", "cp949"])
def test_names_of_an_archive_without_a_code_page_are_found(rectangles: Path, tmp_path: Path, page: str):
    """Chinese, Japanese and Korean systems pack names in their code pages; an archive shows them as code page 437."""
    found_under(rectangles, tmp_path, page, "cp437")


def test_names_of_a_code_page_that_are_utf_8_by_chance_are_found(rectangles: Path, tmp_path: Path):
    found_under(rectangles, tmp_path, "cp936", "utf-8")


def found_under(rectangles: Path, tmp_path: Path, page: str, taken_for: str) -> None:
    word = {"cp936": "图片", "cp932": "写真", "cp949": "사진"}[page]
    rename = each("images", lambda item: item.update(file_name=f"{word}/{word}{item['file_name']}"))
    folder = spoilt(rectangles, tmp_path / "data", rename)
    garbled = word.encode(page).decode(taken_for)
    (folder / "images").rename(folder / garbled)
    for path in list((folder / garbled).iterdir()):
        path.rename(path.with_name(f"{garbled}{path.name}"))
    sets = read(folder)
    assert facts(sets) == facts(read(rectangles))
    assert f"found by a part of their file_name only: '{word}/{word}train_1.png' as" in warnings(sets)[0]


NAMES: dict[str, tuple[Callable[[str, int], str], str]] = {
    "in folders of the splits": (
        lambda split, number: f"{split}2017/{number}.png",
        r"val.json: 6 of images share one file although their names differ \('train2017/1.png', 'val2017/1.png'\)",
    ),
    "alone": (
        lambda split, number: f"{number}.png",
        r"All 6 files of val are files of train, but \d have no box in common with it: '1.png', .*; are the images of",
    ),
}


@pytest.mark.parametrize("kind", NAMES)
def test_images_of_train_do_not_stand_in_for_those_of_val(rectangles: Path, tmp_path: Path, kind: str):
    """Both splits count from 1, and the images of val were not packed."""
    name, words = NAMES[kind]
    (tmp_path / "train2017").mkdir()
    for split in ("train", "val"):
        document = json.loads((rectangles / f"{split}.json").read_text())
        for item in document["images"]:
            if split == "train":
                shutil.copy(rectangles / "images" / item["file_name"], tmp_path / "train2017" / f"{item['id']}.png")
            item["file_name"] = name(split, item["id"])
        (tmp_path / f"{split}.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=words):
        read(tmp_path)


# ---- classes


def over_red(document: Document) -> None:
    document["categories"] = [
        {"id": 0, "name": "Red", "supercategory": "none"},
        {"id": 3, "name": "red", "supercategory": "Red"},
        {"id": 8, "name": "green", "supercategory": "Red"},
    ]


def test_a_root_category_that_differs_in_case_is_no_class(rectangles: Path, tmp_path: Path):
    sets = read(spoilt(rectangles, tmp_path / "data", over_red))
    assert facts(sets) == facts(read(rectangles))
    assert warnings(sets)[0] == "train.json: 'Red' stands over 'red' and has no annotations; it is no class."


def test_letters_of_both_cases_are_classes_and_that_is_said(rectangles: Path, tmp_path: Path):
    names = {3: "a", 8: "A"}
    change = each("categories", lambda item: item.update(name=names[item["id"]]))
    sets = read(spoilt(rectangles, tmp_path / "data", change))
    assert sets["train"].classes == ("a", "A")
    assert warnings(sets)[0] == "train.json: the names 'a', 'A' differ only in case; they stay 2 classes."


def test_letters_of_both_cases_stay_where_one_is_not_used(rectangles: Path, tmp_path: Path):
    names = {3: "a", 8: "A"}

    def letters(document: Document) -> None:
        each("categories", lambda item: item.update(name=names[item["id"]]))(document)

    def one(document: Document) -> None:
        document["annotations"] = [item for item in document["annotations"] if item["category_id"] == 3]

    folder = spoilt(rectangles, tmp_path / "data", letters, val=one)
    assert read(folder)["val"].classes == ("a", "A")
