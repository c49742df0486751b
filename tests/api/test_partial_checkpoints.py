"""What registration found out of a checkpoint, in its answers and in what a job may do with it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.export import export_folder
from tests.api.test_library import members_of
from tests.support.checkpoints import in_shards, renamed, upload, variant, weights_of, without
from tests.support.problems import assert_problem
from tests.support.teachers import several_teachers
from tests.support.uploads import write_teacher, zip_with

COCO = ("person", "motorcycle", "airplane", "couch", "potted plant", "dining table", "tv")
VOC = ("person", "motorbike", "aeroplane", "sofa", "pottedplant", "diningtable", "tvmonitor")
OPEN_IMAGES = (
    *("Person", "Motorcycle", "Airplane", "Studio couch", "Houseplant"),
    *("Kitchen & dining room table", "Television"),
)
LAST_HEAD = "model.decoder.bbox_embed.2."
"""Box head of the last of three layers."""


def added(client: TestClient, folder: Path) -> dict[str, Any]:
    answer = upload(client, folder)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def partial(client: TestClient, teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A teacher without its last box head."""
    folder = tmp_path_factory.mktemp("weights") / "partial"
    return added(client, variant(teacher_folder, folder, weights=without(LAST_HEAD)))


@pytest.fixture(scope="module")
def named(client: TestClient, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Id of a teacher whose classes have these names; each is uploaded once."""
    known: dict[tuple[str, ...], str] = {}
    original = write_teacher(tmp_path_factory.mktemp("names") / "t", classes=COCO)

    def find(*classes: str) -> str:
        if classes not in known:
            folder = original
            if classes != COCO:
                labels = dict(enumerate(classes))
                folder = variant(original, tmp_path_factory.mktemp("names") / "x", config={"id2label": labels})
            known[classes] = added(client, folder)["id"]
        return known[classes]

    return find


def with_names(rectangles: Path, names: tuple[str, ...]) -> bytes:
    """The rectangles with other classes, which take turns."""
    files = members_of(rectangles)
    for split in ("train", "val"):
        document = json.loads(files[f"{split}.json"])
        document["categories"] = [{"id": index, "name": name} for index, name in enumerate(names, 1)]
        for index, row in enumerate(document["annotations"]):
            row["category_id"] = index % len(names) + 1
        files[f"{split}.json"] = json.dumps(document).encode()
    return zip_with(files)


@pytest.fixture(scope="module")
def coco_names(client: TestClient, rectangles: Path) -> str:
    """A dataset of seven classes of COCO, all of which have boxes."""
    content = with_names(rectangles, COCO)
    answer = client.post("/datasets", data={"name": "coco"}, files={"files": ("d.zip", content)})
    assert answer.status_code == 201, answer.text
    counts = answer.json()["splits"]["train"]["boxes_per_class"]
    assert min(counts.values()) > 0
    return answer.json()["id"]


# ---- coverage


def test_coverage_is_part_of_the_answer_and_of_the_list(
    client: TestClient, teacher_folder: Path, teacher_id: str, partial: dict[str, Any]
):
    whole = client.get(f"/checkpoints/{teacher_id}").json()
    total = whole["coverage"]["total"]
    assert whole["coverage"] == {"loaded": total, "total": total, "missing": [], "unexpected": [], "renamed": []}
    assert whole["warnings"] == []
    missing = sorted(name for name in weights_of(teacher_folder) if name.startswith(LAST_HEAD))
    assert len(missing) == 6
    expected = {"loaded": total - 6, "total": total, "missing": missing, "unexpected": [], "renamed": []}
    assert partial["coverage"] == expected
    [warning] = partial["warnings"]
    assert f"{total - 6} of {total} tensors are in the file; missing: {LAST_HEAD}" in warning
    assert "allow_partial" in warning
    assert client.get(f"/checkpoints/{partial['id']}").json() == partial
    listed = client.get("/checkpoints", params={"limit": 100}).json()["data"]
    assert [entry for entry in listed if entry["id"] == partial["id"]] == [partial]


def test_shards_with_a_prefix_are_taken_and_it_is_said(
    client: TestClient, teacher_folder: Path, teacher_id: str, tmp_path: Path
):
    folder = variant(teacher_folder, tmp_path / "x", weights=renamed(lambda name: f"module.{name}"))
    in_shards(folder)
    for name in (".gitattributes", "runs/nov/events.out.tfevents.1", ".cache/huggingface/x.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    sharded, whole = added(client, folder), client.get(f"/checkpoints/{teacher_id}").json()
    said = f"prefix 'module.' stripped from {len(weights_of(teacher_folder))} tensors"
    assert sharded["coverage"] == whole["coverage"] | {"renamed": [said]}
    assert said in sharded["warnings"]
    assert sharded["parameters"] == whole["parameters"]
    assert sharded["sha256"] != whole["sha256"]


def test_the_digest_of_shards_is_that_of_the_shards_alone(client: TestClient, teacher_folder: Path, tmp_path: Path):
    folder = in_shards(variant(teacher_folder, tmp_path / "x"))
    alone = added(client, folder)["sha256"]
    (folder / "optimizer.safetensors").write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    assert added(client, folder)["sha256"] == alone


@pytest.mark.usefixtures("nothing_is_stored")
def test_what_fills_nothing_is_refused(client: TestClient, teacher_folder: Path, tmp_path: Path):
    folder = variant(teacher_folder, tmp_path / "x", weights=renamed(lambda name: name.replace(".", ".my_", 1)))
    problem = assert_problem(upload(client, folder), 422, "/files")
    assert problem["code"] == "checkpoint_invalid"
    assert "Nothing in the weights fits the detector of config.json: 0 of " in problem["detail"]


def whole_job(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return json.loads(json.dumps(request)) | changes


def started_from(request: dict[str, Any], student: str, **config: Any) -> dict[str, Any]:
    """A job whose student starts from a checkpoint, at the size that this was made for."""
    own = request["config"] | {"student": None, "data": {"image_size": 96}} | config
    return whole_job(request, student_id=student, config=own)


def test_a_partial_teacher_is_refused_unless_the_request_allows_it(
    client: TestClient, job_request: dict[str, Any], partial: dict[str, Any]
):
    request = whole_job(job_request, teacher_id=partial["id"])
    problem = assert_problem(client.post("/jobs", json=request), 422, "/teacher_id")
    assert problem["code"] == "checkpoint_partial"
    loaded, total = partial["coverage"]["loaded"], partial["coverage"]["total"]
    assert f"fills {loaded / total:.1%} of its detector, less than 99%" in problem["detail"]
    assert f"{loaded} of {total} tensors" in problem["detail"]
    assert '"allow_partial": true' in problem["errors"][0]["hint"]
    for allowed in (
        request | {"allow_partial": True},
        request | {"config": request["config"] | {"allow_partial": True}},
    ):
        answer = client.post("/jobs", json=allowed)
        assert answer.status_code == 202, answer.text
        assert answer.json()["config"]["allow_partial"] is True


def test_a_partial_student_is_refused_unless_the_request_allows_it(
    client: TestClient, job_request: dict[str, Any], partial: dict[str, Any]
):
    request = started_from(job_request, partial["id"])
    problem = assert_problem(client.post("/jobs", json=request), 422, "/student_id")
    assert problem["code"] == "checkpoint_partial"
    assert client.post("/jobs", json=request | {"allow_partial": True}).status_code == 202
    train = {"kind": "train", "data": {"image_size": 96}}
    alone = {"name": "t", "dataset_id": request["dataset_id"], "student_id": partial["id"], "config": train}
    assert_problem(client.post("/jobs", json=alone), 422, "/student_id")
    assert client.post("/jobs", json=alone | {"config": train | {"allow_partial": True}}).status_code == 202


def test_a_partial_further_teacher_is_refused_where_it_is_named(
    client: TestClient, job_request: dict[str, Any], partial: dict[str, Any]
):
    further = {"second": {"methods": [{"kind": "matched_logits"}]}}
    request = several_teachers(whole_job(job_request), further, {"second": partial["id"]})
    problem = assert_problem(client.post("/jobs", json=request), 422, "/teacher_ids/second")
    assert problem["code"] == "checkpoint_partial"


def test_a_class_head_for_other_classes_does_not_lower_coverage(
    client: TestClient, job_request: dict[str, Any], named: Callable[..., str]
):
    """Seven classes are re-made for the two of the dataset."""
    identifier = named(*COCO)
    coverage = client.get(f"/checkpoints/{identifier}").json()["coverage"]
    assert coverage["loaded"] == coverage["total"]
    answer = client.post("/jobs", json=started_from(job_request, identifier))
    assert answer.status_code == 202, answer.text


def test_a_detector_that_is_squashed_says_so(client: TestClient, teacher_folder: Path, tmp_path: Path):
    old = {"size": 800, "max_size": 1333, "feature_extractor_type": "DetrFeatureExtractor", "image_processor_type": ...}
    found = added(client, variant(teacher_folder, tmp_path / "x", processor=old))
    assert (found["image_height"], found["image_width"]) == (None, None)
    [warning] = found["warnings"]
    assert "trained at shortest edge 800, longest edge 1333 with the aspect ratio kept" in warning
    assert "squashed to 640 x 640" in warning


# ---- class names


def job_of(client: TestClient, dataset: str, checkpoint: str, **config: Any) -> Any:
    student = {"family": "rt-detr-v2", "size": "pico", "queries": 10}
    values = {"kind": "distill", "student": student, "data": {"image_size": 64}} | config
    return client.post("/jobs", json={"name": "j", "dataset_id": dataset, "teacher_id": checkpoint, "config": values})


def suggested_by(problem: dict[str, Any]) -> dict[str, str]:
    """The map in a refusal's hint, as a person would copy it."""
    hint = problem["errors"][0]["hint"]
    assert '"class_map": {' in hint
    return json.JSONDecoder().raw_decode(hint[hint.index('"class_map": ') + len('"class_map": ') :])[0]


@pytest.mark.parametrize(("vocabulary", "unknown"), [(VOC, 4), (OPEN_IMAGES, 4), (COCO, 0)])
def test_known_names_of_the_same_things_are_suggested_and_then_taken(
    client: TestClient, coco_names: str, named: Callable[..., str], vocabulary: tuple[str, ...], unknown: int
):
    teacher = named(*vocabulary)
    answer = job_of(client, coco_names, teacher)
    if not unknown:
        assert answer.status_code == 202
        return
    problem = assert_problem(answer, 422, "/teacher_id")
    assert problem["code"] == "class_names_differ"
    assert f"does not know {unknown} of the 7 classes" in problem["detail"]
    suggested = suggested_by(problem)
    pairs = {theirs: ours for theirs, ours in zip(vocabulary, COCO, strict=True) if theirs.casefold() != ours}
    assert suggested == pairs
    taken = job_of(client, coco_names, teacher, teacher={"class_map": suggested})
    assert taken.status_code == 202, taken.text
    assert taken.json()["config"]["teachers"]["teacher"]["class_map"] == suggested
    assert client.get(f"/jobs/{taken.json()['id']}").json()["config"]["teachers"]["teacher"]["class_map"] == suggested


def test_placeholders_are_never_taken_in_order_in_silence(
    client: TestClient, dataset_id: str, coco_names: str, named: Callable[..., str]
):
    teacher = named(*(f"LABEL_{index}" for index in range(7)))
    problem = assert_problem(job_of(client, coco_names, teacher), 422, "/teacher_id")
    assert "does not know 7 of the 7 classes" in problem["detail"]
    assert "Its names say nothing: LABEL_0, LABEL_1, LABEL_2" in problem["detail"]
    suggested = suggested_by(problem)
    assert suggested == {f"LABEL_{index}": name for index, name in enumerate(COCO)}
    assert job_of(client, coco_names, teacher, teacher={"class_map": suggested}).status_code == 202
    fewer = assert_problem(job_of(client, dataset_id, teacher), 422, "/teacher_id")
    assert "class_map" not in fewer["errors"][0]["hint"]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"sofas": "couch"}, "sofas"),
        ({"sofa": "settee"}, "sofa"),
        ({"sofa": "couch", "tvmonitor": "couch"}, "tvmonitor"),
    ],
)
def test_a_map_that_does_not_fit_is_refused_at_its_entry(
    client: TestClient, coco_names: str, named: Callable[..., str], given: dict[str, str], place: str
):
    answer = job_of(client, coco_names, named(*VOC), teacher={"class_map": given})
    problem = assert_problem(answer, 422, f"/config/teacher/class_map/{place}")
    assert problem["code"] == "config_invalid"


def test_a_map_of_a_further_teacher_is_checked_at_its_place(
    client: TestClient, job_request: dict[str, Any], coco_names: str, named: Callable[..., str]
):
    methods = [{"kind": "matched_logits"}]
    request = whole_job(job_request, dataset_id=coco_names, teacher_id=named(*COCO))
    ids = {"voc": named(*VOC)}
    for class_map, pointer in (
        ({}, "/teacher_ids/voc"),
        ({"sofas": "couch"}, "/config/teachers/voc/class_map/sofas"),
    ):
        further = {"voc": {"class_map": class_map, "methods": methods}}
        assert_problem(client.post("/jobs", json=several_teachers(request, further, ids)), 422, pointer)


def test_recorded_detections_have_no_names_to_map(client: TestClient, dataset_id: str, rectangles: Path):
    image = json.loads((rectangles / "train.json").read_text())["annotations"][0]
    rows = {"train": [{key: image[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}], "val": []}
    answer = client.post(
        "/checkpoints", data={"name": "d"}, files={"files": ("detections.json", json.dumps(rows).encode())}
    )
    assert answer.status_code == 201, answer.text
    methods = [{"kind": "matched_logits", "variant": "recommended"}]
    mapped = job_of(client, dataset_id, answer.json()["id"], methods=methods, teacher={"class_map": {"a": "red"}})
    assert_problem(mapped, 422, "/config/teacher/class_map")


def test_a_class_without_boxes_vetoes_no_teacher(client: TestClient, rectangles: Path, teacher_id: str):
    """Yet one with a single box does."""
    for boxes in (0, 1):
        files = members_of(rectangles)
        for split in ("train", "val"):
            document = json.loads(files[f"{split}.json"])
            document["categories"].append({"id": 99, "name": "blue"})
            for row in document["annotations"][: boxes if split == "val" else 0]:
                row["category_id"] = 99
            files[f"{split}.json"] = json.dumps(document).encode()
        dataset = client.post("/datasets", data={"name": "r"}, files={"files": ("d.zip", zip_with(files))}).json()
        assert dataset["classes"] == ["red", "green", "blue"]
        assert dataset["splits"]["val"]["boxes_per_class"]["blue"] == boxes
        answer = job_of(client, dataset["id"], teacher_id)
        if boxes:
            problem = assert_problem(answer, 422, "/teacher_id")
            assert (problem["code"], "3 classes of the dataset: blue." in problem["detail"]) == (
                "class_names_differ", True
            )  # fmt: skip
        else:
            assert answer.status_code == 202, answer.text


# ---- bounds


def test_a_small_file_stays_small(client: TestClient, teacher_folder: Path):
    """A configuration of 60 bytes asked for 30 million classes, and took the api to gigabytes."""
    content = b'{"model_type": "rt_detr_v2", "num_labels": 30000000}'
    files = members_of(teacher_folder) | {"config.json": content}
    answer = client.post("/checkpoints", data={"name": "x"}, files={"files": ("x.zip", zip_with(files))})
    problem = assert_problem(answer, 422, "/files")
    assert problem["code"] == "checkpoint_invalid"
    assert "num_labels is 30000000; it must be from 1 to 20000" in problem["detail"]
    labels = ",".join(f'"{index}": "x"' for index in range(500_000))
    files["config.json"] = f'{{"model_type": "rt_detr_v2", "id2label": {{{labels}}}}}'.encode()
    answer = client.post("/checkpoints", data={"name": "x"}, files={"files": ("x.zip", zip_with(files))})
    assert "more than 200000 values" in assert_problem(answer, 422, "/files")["detail"]
    assert len(answer.content) < 2000


def test_a_list_names_the_first_hundred_classes(client: TestClient, tmp_path: Path):
    size = replace(size_of("rt-detr-v2", "pico"), queries=10)
    classes = tuple(f"class {index}" for index in range(1203))
    export_folder(build_detector("rt-detr-v2", size, classes, 96, 0), tmp_path, tuple(range(1203)))
    found = added(client, tmp_path)
    assert (found["class_count"], found["classes"]) == (1203, list(classes))
    [listed] = [row for row in client.get("/checkpoints").json()["data"] if row["id"] == found["id"]]
    assert listed == found | {"classes": list(classes[:100])}


def test_what_an_answer_lists_of_tensors_is_cut(client: TestClient, teacher_folder: Path, tmp_path: Path):
    folder = variant(teacher_folder, tmp_path / "x", weights=without("encoder.", "backbone.model.encoder.stages.3"))
    found = added(client, folder)
    coverage = found["coverage"]
    assert coverage["total"] - coverage["loaded"] > 100
    assert len(coverage["missing"]) == 20
    assert len(json.dumps(found)) < 5000
