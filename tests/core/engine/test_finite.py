"""NaN and infinity are no detections, wherever they come from, and the run says whose they are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.detectors.detector import Detector
from detrdistill.engine import context
from detrdistill.engine.context import RunContext
from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.engine.finite import NonFinite, non_finite_tensors
from detrdistill.engine.optimizer import StudentWithEma, moving_average
from detrdistill.engine.run import run
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import ScheduledMethod, TeacherSupervision
from detrdistill.engine.teacher import Teacher
from detrdistill.engine.train import Trainer
from detrdistill.engine.verify import evaluate_folder
from detrdistill.errors import Diverged
from detrdistill.events import Evaluated, StepLogged
from detrdistill.export import export_folder
from detrdistill.files.coco import CocoSet, read_split
from detrdistill.outputs import best_detections
from detrdistill.schema.paths import RunPaths
from tests.core.engine.test_evaluate import truth_of
from tests.core.engine.test_run import METHODS, STUDENT, TRAINING, Recorder, config_of, train_config
from tests.core.engine.test_step import BATCH, HALFWAY, methods_config, step_of
from tests.support.factories import TINY, output_of, tiny_detector

NAN, INFINITY = float("nan"), float("inf")
QUICK = TRAINING | {"batch_size": 12}
LOGITS = [{"kind": "matched_logits"}]


@pytest.fixture
def split(rectangles: Path) -> CocoSet:
    return read_split(rectangles, "val")


def spoil(tensor: Tensor, value: float) -> None:
    with torch.no_grad():
        tensor.fill_(value)


# ---- one evaluation


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("part", ["scores", "boxes"])
@pytest.mark.parametrize("how_many", ["one", "all"])
def test_a_perfect_detector_with_numbers_that_are_none_scores_zero(
    split: CocoSet, part: str, value: float, how_many: str
):
    evaluator, found = CocoEvaluator(split), truth_of(split)
    assert evaluator.score(found).ap == pytest.approx(1)
    spoiled = [image for image, (scores, _, _) in found.items() if len(scores)][: 1 if how_many == "one" else None]
    for image in spoiled:
        scores, _, boxes = found[image]
        if how_many == "one":
            spoil(scores[0] if part == "scores" else boxes[0, 2], value)
        else:
            spoil(scores if part == "scores" else boxes, value)
    metrics, counted = evaluator.evaluate(found)
    assert evaluator.score(found) == metrics
    assert (metrics.ap, metrics.ap50, metrics.ar100) == (0, 0, 0)
    assert metrics.per_class == dict.fromkeys(split.classes, 0.0)
    rows = 1 if how_many == "one" else sum(len(scores) for scores, _, _ in found.values())
    assert counted == NonFinite(detections=rows, images=len(spoiled), of_images=len(found))


def test_finite_detections_are_not_touched(split: CocoSet):
    metrics, counted = CocoEvaluator(split).evaluate(truth_of(split))
    assert counted is None
    assert metrics.ap == pytest.approx(1)


def test_an_infinite_logit_has_a_finite_probability_and_is_noticed_all_the_same():
    """Queries 1 (logit) and 2 (coordinate) are broken, and come first although others score higher."""
    boxes = [[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1], [0.7, 0.7, INFINITY, 0.1], [0.3, 0.3, 0.1, 0.1]]
    output = output_of([[4.0, -4.0], [-2.0, INFINITY], [-3.0, -3.0], [0.0, -5.0]], boxes)
    scores, _, _ = best_detections(output, most=6)
    assert scores[0, :4].isnan().all()
    assert scores[0, 4:].tolist() == pytest.approx([torch.tensor(4.0).sigmoid().item(), 0.5])
    softmax = output_of([[1.0, 0.0], [0.0, -INFINITY]], boxes[:2], scores="softmax")
    scores, _, _ = best_detections(softmax, most=2)
    assert scores[0].isnan().tolist() == [False, True]


def test_new_detectors_of_every_family_are_finite():
    assert {family: non_finite_tensors(tiny_detector(family)) for family in TINY} == {family: [] for family in TINY}


# ---- training


def diverged(config: object, paths: RunPaths) -> tuple[Diverged, Recorder]:
    recorder = Recorder()
    with pytest.raises(Diverged) as caught:
        run(config, paths, recorder)  # pyright: ignore[reportArgumentType]
    assert caught.value.code == "diverged"
    assert caught.value.hint
    return caught.value, recorder


def last_ap(recorder: Recorder, role: str) -> float:
    return [event.metrics.ap for event in recorder.of(Evaluated) if event.role == role][-1]


def test_a_training_that_explodes_is_no_success(rectangles: Path, tmp_path: Path):
    """It did end with an AP above 0.2, because the last step is behind the last look at the loss."""
    wild = {"lr": 1.0, "batch_size": 12, "epochs": 1, "warmup_steps": 0, "clip_norm": 1e30, "schedule": "constant"}
    config = train_config(training=wild | {"ema_decay": None})
    error, recorder = diverged(config, RunPaths(dataset=rectangles, work=tmp_path))
    assert len(recorder.of(StepLogged)) == 1, "the loss was finite"
    assert "The student diverged" in error.message
    assert last_ap(recorder, "student") == 0
    assert not (tmp_path / "student").exists()


def after_the_last_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[Trainer], None]) -> None:
    optimise = Trainer._optimise

    def then(trainer: Trainer, batch: object) -> object:
        losses = optimise(trainer, batch)  # pyright: ignore[reportArgumentType]
        if trainer.step == trainer.total_steps - 1:
            act(trainer)
        return losses

    monkeypatch.setattr(Trainer, "_optimise", then)


@pytest.mark.parametrize("value", [NAN, INFINITY])
def test_weights_that_break_in_the_last_step_leave_the_best_epoch_on_disk(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
):
    after_the_last_step(monkeypatch, lambda trainer: spoil(next(trainer.detector.parameters()), value))
    config = train_config(training=QUICK | {"ema_decay": None})
    error, recorder = diverged(config, RunPaths(dataset=rectangles, work=tmp_path))
    assert error.message.startswith("The student diverged: 1 of its tensors hold NaN or infinity (model.")
    first, last = (event.metrics.ap for event in recorder.of(Evaluated))
    assert f"The weights of epoch 1 (AP {first:.4f}) stay in the folder student" in error.hint
    assert last == 0
    assert non_finite_tensors(nn.ModuleDict({"kept": context.load_detector(tmp_path / "student", 64)[0]})) == []


def test_the_moving_average_is_named_where_the_plain_weights_are_finite(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    after_the_last_step(monkeypatch, lambda trainer: spoil(next(trainer.ema.parameters()), NAN))  # pyright: ignore
    error, recorder = diverged(train_config(training=QUICK), RunPaths(dataset=rectangles, work=tmp_path))
    assert error.message.startswith("The moving average of the student's weights diverged")
    assert "training.ema_decay" in error.hint
    assert last_ap(recorder, "student") == 0


def spoil_new_student(monkeypatch: pytest.MonkeyPatch, act: Callable[[Detector], None], *, number: int = 0) -> None:
    """Change the detector as it starts: the first is the student, the second the control."""
    new_student, made = RunContext.new_student, iter(range(9))

    def spoiled(run_context: RunContext) -> StudentWithEma:
        learner = new_student(run_context)
        if next(made) == number:
            act(learner.detector)
            decay = run_context.config.training.ema_decay
            return StudentWithEma(learner.detector, None if decay is None else moving_average(learner.detector, decay))
        return learner

    monkeypatch.setattr(RunContext, "new_student", spoiled)


def test_statistics_that_only_evaluation_reads_are_noticed(
    rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Training normalises by the batch, so that no loss depends on them."""

    def spoil_statistics(detector: Detector) -> None:
        norm = next(module for module in detector.modules() if isinstance(module, nn.BatchNorm2d))
        assert norm.running_mean is not None
        spoil(norm.running_mean, NAN)

    spoil_new_student(monkeypatch, spoil_statistics)
    error, recorder = diverged(train_config(training=QUICK), RunPaths(dataset=rectangles, work=tmp_path))
    assert "running_mean" in error.message
    assert "on 6 of 6 validation images" in error.message
    assert last_ap(recorder, "student") == 0


def test_a_weight_that_nothing_reads_is_noticed(rectangles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def add_weight(detector: Detector) -> None:
        detector.register_parameter("unread", nn.Parameter(torch.full((2,), NAN)))

    spoil_new_student(monkeypatch, add_weight, number=1)
    config = config_of(teacher={"source": "ema"}, methods=LOGITS, training=QUICK | {"epochs": 1})
    error, recorder = diverged(config, RunPaths(dataset=rectangles, work=tmp_path))
    assert error.message == "The control diverged: 1 of its tensors hold NaN or infinity (unread). Its AP is 0."
    assert last_ap(recorder, "control") == 0
    assert (tmp_path / "student").is_dir(), "the student, trained before, stays"


def test_a_loss_that_is_not_finite_names_the_student(rectangles: Path, tmp_path: Path):
    error, _ = diverged(
        train_config(criterion={"l1_weight": 1e38}, training=QUICK), RunPaths(dataset=rectangles, work=tmp_path)
    )
    assert error.message.startswith("The student diverged")


# ---- teachers


def write_checkpoint(folder: Path, part: str | None = None, value: float = NAN) -> Path:
    """A YOLOS of 12 queries; the last bias of its `boxes` or of its `logits` is no number."""
    detector = build_detector("yolos", replace(size_of("yolos", "pico"), queries=12), ["red", "green"], 64, seed=7)
    folder.mkdir(exist_ok=True)
    export_folder(detector, folder, (3, 8))
    if part is not None:
        head = detector.model.bbox_predictor if part == "boxes" else detector.model.class_labels_classifier
        spoil(head.layers[-1].bias, value)
        detector.model.save_pretrained(folder)
    return folder


def write_constant_onnx(folder: Path, **values: float) -> Path:
    """An ONNX model that gives the same for every image: 12 queries whose `logits` or `boxes` are no numbers."""
    write_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    outputs = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.full(shape, value, np.float32)))
        for name, shape, value in (
            ("logits", (1, 12, 3), values.get("logits", 0.5)),
            ("pred_boxes", (1, 12, 4), values.get("boxes", 0.5)),
        )
    ]
    graph = helper.make_graph(
        outputs,
        "constant",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("logits", "pred_boxes")],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


@pytest.fixture(scope="module")
def broken_teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    return {
        "checkpoint": write_checkpoint(folder / "checkpoint", "boxes"),
        "onnx with boxes of NaN": write_constant_onnx(folder / "nan", boxes=NAN),
        "onnx with infinite logits": write_constant_onnx(folder / "infinite", logits=INFINITY),
    }


@pytest.mark.parametrize("kind", ["checkpoint", "onnx with boxes of NaN", "onnx with infinite logits"])
def test_the_gate_refuses_a_teacher_of_nan_at_any_floor(
    broken_teachers: dict[str, Path], rectangles: Path, tmp_path: Path, kind: str
):
    config = config_of(student=STUDENT, methods=LOGITS, control=False)
    error, recorder = diverged(config, RunPaths(dataset=rectangles, work=tmp_path, teacher=broken_teachers[kind]))
    assert error.message.startswith("The teacher diverged: ")
    assert "72 detections on 6 of 6 validation images are NaN or infinite" in error.message
    assert ("bbox_predictor" in error.message) == (kind == "checkpoint")
    assert error.path_pointer == "/teachers/teacher"
    assert last_ap(recorder, "teacher") == 0
    assert recorder.of(StepLogged) == []
    assert not (tmp_path / "state" / "teacher-teacher.json").exists()


def test_a_further_teacher_is_named(broken_teachers: dict[str, Path], rectangles: Path, tmp_path: Path):
    teachers = {"own": {"source": "ema", "methods": METHODS[2:]}, "big": {"min_ap": 0, "methods": LOGITS}}
    config = config_of(teachers=teachers, teacher=None, methods=None)
    paths = RunPaths(dataset=rectangles, work=tmp_path, teachers={"big": broken_teachers["checkpoint"]})
    error, _ = diverged(config, paths)
    assert error.message.startswith("The teacher big diverged: ")
    assert error.path_pointer == "/teachers/big"


def guided(teacher: Teacher, student: Detector, name: str = "", role: str = "student") -> LossStep:
    step = step_of(student, tiny_detector("rt-detr", queries=12, seed=1), methods_config("recommended"))
    supervision = TeacherSupervision(
        teacher, [ScheduledMethod(scheduled.method) for scheduled in step.supervisions[0].methods], name
    )
    return LossStep(student, step.criterion, [supervision], step.transforms, None, step.device, role)  # pyright: ignore


def test_a_teacher_that_breaks_on_training_images_is_to_blame():
    student, teacher = tiny_detector("rt-detr", queries=8), tiny_detector("rt-detr", queries=12, seed=1)
    spoil(teacher.model.model.decoder.class_embed[-1].bias, NAN)
    with pytest.raises(Diverged, match=r"^The teacher big gives NaN or infinity on training images") as caught:
        guided(Teacher(teacher, (0, 1, 2)), student, "big")(BATCH, HALFWAY)
    assert "Give another teacher" in caught.value.hint


def test_a_student_that_breaks_is_to_blame_and_its_average_only_where_it_is_not():
    student = tiny_detector("rt-detr", queries=8)
    average = moving_average(student, 0.5)
    own = Teacher(StudentWithEma(student, average).eval_model, (0, 1, 2), is_average=True)
    spoil(own.detector.model.model.decoder.class_embed[-1].bias, NAN)
    with pytest.raises(Diverged, match=r"^The moving average of the student, its teacher, gives NaN"):
        guided(own, student)(BATCH, HALFWAY)
    spoil(student.model.model.decoder.class_embed[-1].bias, NAN)
    with pytest.raises(Diverged, match=r"^The student diverged\. "):
        guided(own, student)(BATCH, HALFWAY)
    with pytest.raises(Diverged, match=r"^The control diverged\. "):
        guided(own, student, role="control")(BATCH, HALFWAY)


# ---- what is exported


@pytest.mark.export
@pytest.mark.parametrize(
    ("part", "value"), [("boxes", NAN), ("boxes", INFINITY), ("logits", NAN), ("logits", INFINITY)]
)
def test_an_exported_folder_of_nan_is_refused(split: CocoSet, tmp_path: Path, part: str, value: float):
    folder = write_checkpoint(tmp_path / "student", part, value)
    with pytest.raises(Diverged, match=r"^The exported folder student diverged: 1 of its tensors hold NaN") as caught:
        evaluate_folder(folder, CocoEvaluator(split), torch.device("cpu"), batch_size=4)
    assert ("of 6 validation images are NaN" in caught.value.message) != (part == "boxes" and value == INFINITY)


def test_a_student_does_not_start_from_a_checkpoint_of_nan(
    broken_teachers: dict[str, Path], rectangles: Path, tmp_path: Path
):
    config = train_config(student=None, data={"image_size": 64})
    error, recorder = diverged(
        config, RunPaths(dataset=rectangles, work=tmp_path, student=broken_teachers["checkpoint"])
    )
    assert error.message.startswith("The checkpoint that the student starts from diverged: 1 of its tensors")
    assert error.path_pointer == "/student"
    assert recorder.of(StepLogged) == []
