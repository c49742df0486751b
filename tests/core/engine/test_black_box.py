"""Teachers of which only boxes and scores are known: their numbers, and whole runs with them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper

from detrdistill.catalog import size_of
from detrdistill.data.detections import RecordedDetections
from detrdistill.detectors.build import build_detector
from detrdistill.detectors.detector import Detector
from detrdistill.engine.black_box import OnnxTeacher, RecordedTeacher, recorded_output
from detrdistill.engine.run import run
from detrdistill.engine.teacher import Teacher
from detrdistill.errors import CheckpointError, ConfigError, TeacherRejected
from detrdistill.events import Event, RunResult, StepLogged
from detrdistill.files.black_boxes import BlackBox, inspect_black_box
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG
from tests.support.black_boxes import perfect_detections, write_detections, write_onnx
from tests.support.factories import inputs_of, method_of, output_of, shape_like, targets_of

METHOD = {"kind": "matched_logits", "variant": "recommended"}
SIDE = 64


def logit(score: float) -> float:
    return torch.tensor(score).logit().item()


def test_scores_become_logits_by_hand():
    """The class of a row has its clamped score, the others next to none; an image with fewer rows is filled up."""
    left_over = [-1.0] * 6
    rows = torch.tensor([[[0.5, 0.5, 0.2, 0.2, 0.8, 1], [0.3, 0.3, 0.1, 0.1, 1.0, 0], left_over], [left_over] * 3])
    output = recorded_output(rows, classes=3)
    none, most = logit(1e-4), logit(1 - 1e-4)
    expected = torch.tensor([[[none, logit(0.8), none], [most, none, none]], [[none, none, none], [none, none, none]]])
    torch.testing.assert_close(output.logits_LBQC, expected[None])
    assert torch.equal(output.boxes_LBQ4[0, 0], rows[0, :2, :4])
    assert output.valid_BQ is not None
    assert output.valid_BQ.tolist() == [[True, True], [False, False]]
    assert output.hidden_LBQD.shape == (1, 2, 2, 0)


def test_queries_that_hold_nothing_are_not_distilled():
    """Two images; the second has one row less. Its loss is the one of its only row, worked out by hand."""
    rows = torch.tensor(
        [
            [[0.5, 0.5, 0.2, 0.2, 0.5, 0], [0.2, 0.2, 0.2, 0.2, 0.5, 0]],
            [[0.5, 0.5, 0.4, 0.4, 0.5, 0], [-1.0] * 6],
        ]
    )
    teacher = recorded_output(rows, classes=1)
    boxes = [[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]]
    student = output_of(torch.zeros(1, 2, 2, 1), torch.tensor(boxes).expand(1, 2, 2, 4))
    method = method_of("matched_logits", shape_like(teacher), shape_like(student), weight=1.0, pair_weight="none")
    terms = method(inputs_of(student, teacher, [targets_of([], []), targets_of([], [])]))
    assert terms["matched_logits.l1"].item() == pytest.approx((0 + 0 + 0.4) / 3)
    assert terms["matched_logits.giou"].item() == pytest.approx((0 + 0 + 1 - 0.04 / 0.16) / 3)
    assert terms["matched_logits.classification"].item() == pytest.approx(0, abs=1e-6)


def test_recorded_detections_are_detected_as_they_were():
    rows = torch.tensor([[[0.5, 0.5, 0.2, 0.2, 1.0, 1], [-1.0] * 6]])
    scores, labels, boxes = RecordedTeacher(BlackBox("detections"), RecordedDetections({}), 2).detect(rows)
    assert scores.tolist() == [[1, 0]]
    assert labels.tolist() == [[1, 0]]
    assert torch.equal(boxes, rows[..., :4])


@pytest.fixture(scope="module")
def detector() -> Detector:
    """Never trained, its classes in another order than those of the dataset."""
    size = replace(size_of("yolos", "pico"), queries=12)
    return build_detector("yolos", size, ["green", "red"], SIDE, seed=7).eval()


@pytest.fixture(scope="module")
def onnx_folder(detector: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(detector, tmp_path_factory.mktemp("onnx"))


def teacher_of(folder: Path) -> OnnxTeacher:
    return OnnxTeacher(folder, inspect_black_box(folder, "onnx"), SIDE, (1, 0))


@pytest.mark.parametrize("batch", [None, 1])
def test_an_onnx_model_says_what_the_detector_says(
    detector: Detector, onnx_folder: Path, tmp_path: Path, batch: int | None
):
    """With a free batch axis and with one image at a time."""
    taught = teacher_of(onnx_folder if batch is None else write_onnx(detector, tmp_path, batch=batch))
    expected = Teacher(detector, (1, 0))
    pixels = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found, wanted = taught(pixels), expected(pixels)
    torch.testing.assert_close(found.logits_LBQC, wanted.logits_LBQC[-1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.boxes_LBQ4, wanted.boxes_LBQ4[-1:], atol=1e-5, rtol=1e-5)
    assert found.scores == wanted.scores == "softmax"
    for mine, theirs in zip(taught.detect(pixels), expected.detect(pixels), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_what_is_no_such_model_is_refused(onnx_folder: Path, detector: Detector, tmp_path: Path):
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((onnx_folder / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        teacher_of(tmp_path)
    (tmp_path / "model.onnx").write_bytes((onnx_folder / "model.onnx").read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"scores": "sigmoid"}))
    with pytest.raises(CheckpointError, match="3 columns of logits; 2 classes with sigmoid scores have 2"):
        teacher_of(tmp_path)(torch.rand(1, 3, SIDE, SIDE))
    processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    processor["size"] = {"height": 32, "width": 32}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(CheckpointError, match="64 x 64"):
        teacher_of(tmp_path)


def test_a_model_of_other_names_or_numbers_is_refused(onnx_folder: Path, tmp_path: Path):
    """A model that gives its input back, as one would write it by hand."""
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((onnx_folder / name).read_bytes())

    def write(kind: int, *outputs: str) -> None:
        shape = [1, 3, SIDE, SIDE]
        graph = helper.make_graph(
            [helper.make_node("Identity", ["pixel_values"], [name]) for name in outputs],
            "identity",
            [helper.make_tensor_value_info("pixel_values", kind, shape)],
            [helper.make_tensor_value_info(name, kind, shape) for name in outputs],
        )
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    write(TensorProto.FLOAT, "scores")
    with pytest.raises(CheckpointError, match="the inputs pixel_values and the outputs scores"):
        teacher_of(tmp_path)
    write(TensorProto.FLOAT16, "logits", "pred_boxes")
    with pytest.raises(CheckpointError, match="float16"):
        teacher_of(tmp_path)


def distil(dataset: Path, folder: Path, work: Path, **changes: object) -> tuple[RunResult, list[Event]]:
    """Five steps."""
    config = {
        "kind": "distill",
        "student": {"family": "rt-detr-v2", "size": "pico", "queries": 10},
        "methods": [METHOD],
        "data": {"image_size": SIDE},
        "training": {"epochs": 5, "batch_size": 12, "lr": 1e-3},
        "evaluation": {"every_epochs": 5},
    }
    events: list[Event] = []
    paths = RunPaths(dataset=dataset, work=work, teacher=folder)
    return run(RUN_CONFIG.validate_python(config | changes), paths, events.append), events


def assert_distilled(result: RunResult, events: list[Event]) -> None:
    steps = [event for event in events if isinstance(event, StepLogged)]
    assert len(steps) == 5
    terms = {f"matched_logits.{term}" for term in ("classification", "l1", "giou")}
    assert all(terms == {name for name in step.losses if name.startswith("matched")} for step in steps)
    assert (result.teachers["teacher"].parameters, result.teachers["teacher"].milliseconds_per_image) == (None, None)


def test_a_run_with_recorded_detections(rectangles: Path, tmp_path: Path):
    """They are the ground truth here, so that the gate measures 1."""
    folder = write_detections(tmp_path, perfect_detections(rectangles))
    result, events = distil(rectangles, folder, tmp_path / "work", teacher={"min_ap": 0.99})
    assert_distilled(result, events)
    assert result.teachers["teacher"].metrics.ap == pytest.approx(1)
    assert "| teacher | 1.0000 | 1.0000 | 1.0000 | unknown |" in (tmp_path / "work/student/README.md").read_text()


def test_a_run_with_an_onnx_model(rectangles: Path, onnx_folder: Path, tmp_path: Path):
    assert_distilled(*distil(rectangles, onnx_folder, tmp_path, teacher={"min_ap": 0}))


def test_the_gate_refuses_a_weak_black_box(rectangles: Path, onnx_folder: Path, tmp_path: Path):
    with pytest.raises(TeacherRejected, match="below the floor") as caught:
        distil(rectangles, onnx_folder, tmp_path / "onnx", teacher={"min_ap": 0.5})
    assert "class names, scores and preprocessing" in caught.value.hint
    nothing = {"train": perfect_detections(rectangles)["train"], "val": []}
    with pytest.raises(TeacherRejected, match=r"AP 0\.0000"):
        distil(rectangles, write_detections(tmp_path, nothing), tmp_path / "recorded", teacher={"min_ap": 0.5})


def test_the_engine_refuses_methods_that_need_more(rectangles: Path, onnx_folder: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="only boxes and scores") as caught:
        distil(rectangles, onnx_folder, tmp_path, methods=[METHOD, {"kind": "query_prior"}])
    assert caught.value.pointer == "/teachers/teacher/methods/1"
