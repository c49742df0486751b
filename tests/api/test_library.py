"""Datasets and checkpoints that are right, in every way they may come."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.export import export_folder
from tests.support.problems import assert_problem
from tests.support.uploads import zip_of, zip_with


def members_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def as_layout(rectangles: Path, layout: str) -> dict[str, bytes]:
    files = members_of(rectangles)
    images = {name.removeprefix("images/"): content for name, content in files.items() if name.startswith("images/")}
    match layout:
        case "flat":
            return files
        case "in one folder":
            return {f"rectangles/{name}": content for name, content in files.items()} | {"__MACOSX/x.json": b"{}"}
        case "coco":
            annotations = {
                f"annotations/instances_{split}2017.json": files[f"{split}.json"] for split in ("train", "val")
            }
            return annotations | {f"{name.split('_')[0]}2017/{name}": content for name, content in images.items()}
        case "roboflow":
            moved = {
                f"{name.split('_')[0].replace('val', 'valid')}/{name}": content for name, content in images.items()
            }
            return moved | {
                "train/_annotations.coco.json": files["train.json"],
                "valid/_annotations.coco.json": files["val.json"],
            }
        case _:
            raise AssertionError(layout)


@pytest.mark.parametrize("layout", ["flat", "in one folder", "coco", "roboflow"])
def test_usual_layouts_are_understood(client: TestClient, rectangles: Path, layout: str):
    content = zip_with(as_layout(rectangles, layout))
    answer = client.post("/datasets", data={"name": layout}, files={"files": ("data.zip", content)})
    assert answer.status_code == 201, answer.text
    dataset = answer.json()
    assert answer.headers["location"] == f"/datasets/{dataset['id']}"
    assert dataset["classes"] == ["red", "green"]
    assert (dataset["state"], dataset["error"], dataset["class_count"]) == ("ready", None, 2)
    assert dataset["splits"]["train"]["images"] == 12
    labels = [row["category_id"] for row in json.loads((rectangles / "val.json").read_text())["annotations"]]
    per_class = {"red": labels.count(3), "green": labels.count(8)}
    assert dataset["splits"]["val"] == {"images": 6, "boxes": len(labels), "boxes_per_class": per_class}
    assert client.get(f"/datasets/{dataset['id']}").json() == dataset
    in_list = {
        split: {"images": size["images"], "boxes": size["boxes"], "boxes_per_class": None}
        for split, size in dataset["splits"].items()
    }
    assert client.get("/datasets").json()["data"][0] == dataset | {"splits": in_list}


def test_what_is_repaired_is_said(client: TestClient, rectangles: Path):
    files = members_of(rectangles)
    document = json.loads(files["train.json"])
    document["annotations"][0].update(bbox=[-10, 5, 40, 20], area=800)
    document["annotations"][1]["bbox"] = [5, 5, 0.2, 20]
    document["annotations"][2]["iscrowd"] = 1
    content = zip_with(files | {"train.json": json.dumps(document).encode()})
    dataset = client.post("/datasets", data={"name": "mended"}, files={"files": ("d.zip", content)}).json()
    assert dataset["splits"]["train"]["boxes"] == len(document["annotations"]) - 2
    assert dataset["warnings"] == [
        "train.json: 1 boxes reach outside their image and were clipped, first at /annotations/0 "
        "([-10.0, 5.0, 40.0, 20.0]).",
        "train.json: 1 boxes are thinner than one pixel, or negative, and are left out, first at /annotations/1 "
        "([5.0, 5.0, 0.2, 20.0]).",
    ]


def test_folders_of_the_operator_are_registered_where_they_lie(
    client: TestClient, rectangles: Path, teacher_folder: Path, import_root: Path, storage_dir: Path
):
    shutil.copytree(rectangles, import_root / "rectangles", dirs_exist_ok=True)
    shutil.copytree(teacher_folder, import_root / "models" / "teacher", dirs_exist_ok=True)
    dataset = client.post("/datasets", data={"name": "by path", "path": "rectangles"})
    assert dataset.status_code == 201, dataset.text
    assert not (storage_dir / "datasets" / dataset.json()["id"]).exists()
    checkpoint = client.post("/checkpoints", data={"name": "by path", "path": "models/teacher"})
    assert checkpoint.status_code == 201, checkpoint.text


def test_a_checkpoint_comes_as_a_zip_or_file_by_file(client: TestClient, teacher_folder: Path):
    whole = client.post("/checkpoints", data={"name": "zip"}, files={"files": ("t.zip", zip_of(teacher_folder))})
    single = client.post(
        "/checkpoints",
        data={"name": "files"},
        files=[("files", (path.name, path.read_bytes())) for path in teacher_folder.iterdir()],
    )
    first, second = whole.json(), single.json()
    assert (whole.status_code, single.status_code) == (201, 201)
    assert first["sha256"] == second["sha256"]
    assert first["family"] == "rt-detr-v2"
    assert first["classes"] == ["red", "green"]
    assert (first["queries"], first["two_stage"], first["decoder_layers"], first["width"]) == (12, False, 3, 64)
    assert (first["image_height"], first["image_width"]) == (96, 96)
    assert 800_000 < first["parameters"] < 1_500_000
    assert client.get(f"/checkpoints/{first['id']}").json() == first


def test_a_start_with_more_queries_than_proposals_is_refused(client: TestClient, dataset_id: str, tmp_path: Path):
    """300 queries are picked among the proposals at 192 px, but there are only 85 of these at 64 px."""
    size = replace(size_of("deformable-detr", "nano-two-stage"), queries=300)
    export_folder(build_detector("deformable-detr", size, ("red", "green"), 192, seed=0), tmp_path, (1, 2))
    start = client.post("/checkpoints", data={"name": "start"}, files={"files": ("s.zip", zip_of(tmp_path))}).json()
    assert (start["two_stage"], start["queries"]) == (True, 300)
    job = {"name": "start", "dataset_id": dataset_id, "student_id": start["id"]}
    small = client.post("/jobs", json=job | {"config": {"kind": "train", "data": {"image_size": 64}}})
    assert "among the 85 cells" in assert_problem(small, 422, "/config/data/image_size")["detail"]
    assert client.post("/jobs", json=job | {"config": {"kind": "train"}}).status_code == 202


def test_real_weights_and_data_are_understood(client: TestClient, shared: Path):
    """Two published detectors and three public datasets."""
    weights = client.post(
        "/checkpoints",
        data={"name": "atto"},
        files={"files": ("a.zip", zip_of(shared / "weights" / "deimv2-atto-coco"))},
    )
    assert weights.status_code == 201, weights.text
    assert weights.json()["kind"] == "detector", "the folder also holds an ONNX file; the weights have more to teach"
    files = [
        ("files", (name, (shared / "weights" / "deimv2-atto-coco" / name).read_bytes()))
        for name in ("config.json", "model.safetensors", "preprocessor_config.json")
    ]
    card = client.post("/checkpoints", data={"name": "atto"}, files=files).json()
    assert (card["family"], len(card["classes"]), card["queries"], card["image_width"]) == ("deimv2", 80, 100, 320)
    bccd = client.post("/datasets", data={"name": "bccd"}, files={"files": ("b.zip", zip_of(shared / "data" / "bccd"))})
    assert bccd.status_code == 201, bccd.text
    assert bccd.json()["splits"]["train"] == {
        "images": 205,
        "boxes": 2805,
        "boxes_per_class": {"RBC": 2382, "WBC": 214, "Platelets": 209},
    }
