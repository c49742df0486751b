"""The recipe on tiny detectors and real files: what is trained, saved, resumed and exported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForObjectDetection

from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.engine.run import run
from detrdistill.errors import ConfigError, Diverged, Stopped, TeacherRejected
from detrdistill.events import CheckpointSaved, Evaluated, Event, RunFinished, StepLogged
from detrdistill.export import export_folder
from detrdistill.files.checkpoints import inspect_checkpoint
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG, ArchitectureConfig, DistillConfig, TrainConfig

STUDENT = {"family": "rt-detr-v2", "size": "pico", "queries": 10}
DATA = {"image_size": 64, "horizontal_flip": True, "photometric": True, "crop": True}
TRAINING = {"epochs": 2, "batch_size": 4, "lr": 1e-3, "warmup_steps": 2}
FOLLOWED = {"gradient_share": {"target": 0.2, "tolerance": 0, "every": 2}}
METHODS = [
    {"kind": "matched_logits", "variant": "official"} | FOLLOWED,
    {"kind": "target_features", "variant": "official"},
    {"kind": "query_prior", "variant": "official"},
]


def config_of(**changes) -> TrainConfig | DistillConfig:
    base = {"kind": "distill", "student": STUDENT, "data": DATA, "training": TRAINING, "methods": METHODS}
    base |= {"teacher": {"min_ap": 0}, "control": True}
    return RUN_CONFIG.validate_python(base | changes)


def train_config(**changes) -> TrainConfig | DistillConfig:
    return RUN_CONFIG.validate_python(
        {"kind": "train", "student": STUDENT, "data": DATA, "training": TRAINING} | changes
    )


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that was never trained: wider and deeper than the student."""
    folder = tmp_path_factory.mktemp("teacher")
    size = replace(size_of("rt-detr-v2", "nano"), queries=12)
    export_folder(build_detector("rt-detr-v2", size, ["red", "green"], 96, seed=7), folder, (3, 8))
    return folder


class Recorder:
    """Remembers events; asks to stop after a number of steps."""

    def __init__(self, stop_after: int | None = None):
        self.events: list[Event] = []
        self.stop_after = stop_after

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def should_stop(self) -> bool:
        return self.stop_after is not None and len(self.of(StepLogged)) >= self.stop_after

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def finished(rectangles: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recorder]:
    work = tmp_path_factory.mktemp("work")
    recorder = Recorder()
    run(config_of(), RunPaths(dataset=rectangles, work=work, teacher=teacher), recorder)
    return work, recorder


def test_a_run_reports_every_stage_and_ends_with_its_result(finished: tuple[Path, Recorder]):
    work, recorder = finished
    stages = [event.stage for event in recorder.events if event.kind == "stage"]
    assert stages == ["prepare", "teacher_gate", "train_student", "train_control", "export"]
    steps = recorder.of(StepLogged)
    assert [event.step for event in steps if event.role == "student"] == list(range(1, 7))
    assert steps[-1].progress == 1
    assert steps[0].eta_seconds > 0
    result = recorder.of(RunFinished)[-1].result
    assert result.control is not None
    assert result.kd_gain == pytest.approx(result.student.metrics.ap - result.control.metrics.ap)
    assert result.student.parameters == result.control.parameters < result.teachers["teacher"].parameters
    assert json.loads((work / "result.json").read_text())["student"]["parameters"] == result.student.parameters


def test_only_the_student_is_distilled(finished: tuple[Path, Recorder]):
    _, recorder = finished
    student = next(event for event in recorder.of(StepLogged) if event.role == "student")
    control = next(event for event in recorder.of(StepLogged) if event.role == "control")
    assert {name.split(".")[0] for name in student.losses} >= {"matched_logits", "target_features", "query_prior"}
    assert {name.split(".")[0] for name in control.losses} == {"detection", "proposal", "denoising", "total"}
    for term in ("detection.classification", "detection.l1", "proposal.giou"):
        assert student.losses[term] == pytest.approx(control.losses[term], rel=1e-5), "same first batch, same weights"


def test_a_weight_follows_its_share_of_the_gradient_and_events_tell_it(finished: tuple[Path, Recorder]):
    """Measured at the first, third and fifth step. That it survives a resume is part of the tests below."""
    _, recorder = finished
    steps = [event for event in recorder.of(StepLogged) if event.role == "student"]
    followed = [event.weights["matched_logits.l1"] / 5 for event in steps]
    assert followed[0] == 1
    assert followed[1] == followed[2] != 1
    assert followed[3] == followed[4] != followed[1]
    assert {event.weights["target_features.features"] for event in steps} == {1.0}
    for event in steps:
        by_hand = sum(weight * event.losses[term] for term, weight in event.weights.items())
        assert event.losses["total"] == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.export
def test_the_exported_student_is_an_undistilled_model_in_name_and_shape(finished: tuple[Path, Recorder]):
    """The file holds nothing of the teacher and nothing that the methods have trained beside the student."""
    work, _ = finished
    architecture = ArchitectureConfig(**STUDENT)
    plain = build_detector(architecture.family, architecture.resolve(), ["red", "green"], 64, seed=0)
    exported = AutoModelForObjectDetection.from_pretrained(work / "student")
    names = {name: tuple(tensor.shape) for name, tensor in exported.state_dict().items()}
    assert names == {name: tuple(tensor.shape) for name, tensor in plain.model.state_dict().items()}
    stored = weights_of(work / "student")
    assert not [name for name in stored if name.startswith(("teacher.", "methods.", "extra.")) or "project" in name]
    assert exported.config.id2label == {0: "red", 1: "green"}
    card = inspect_checkpoint(work / "student")
    assert card.family == "rt-detr-v2"
    assert card.image_size == (64, 64)
    labels = json.loads((work / "student" / "label_map.json").read_text())
    assert [label["category_id"] for label in labels] == [3, 8]
    assert "from_pretrained" in (work / "student" / "README.md").read_text()


@pytest.mark.export
def test_the_published_number_is_that_of_the_exported_file(finished: tuple[Path, Recorder]):
    """The engine's evaluation of the best weights equals the one through transformers alone."""
    _, recorder = finished
    result = recorder.of(RunFinished)[-1].result
    best = max(event.metrics.ap for event in recorder.of(Evaluated) if event.role == "student")
    assert result.student.metrics.ap == pytest.approx(best, abs=1e-3)


def run_in_two_parts(
    make: Callable[[], TrainConfig | DistillConfig], paths: Callable[[Path], RunPaths], work: Path, stop_after: int
) -> Recorder:
    first = Recorder(stop_after)
    with pytest.raises(Stopped):
        run(make(), paths(work), first, first.should_stop)
    assert first.of(CheckpointSaved)
    second = Recorder()
    run(make(), paths(work), second)
    return second


@pytest.mark.parametrize("stop_after", [2, 8])
def test_an_interrupted_run_resumes_to_the_same_bits(
    finished: tuple[Path, Recorder], rectangles: Path, teacher: Path, tmp_path: Path, stop_after: int
):
    """Stopped in the middle of an epoch, in the student's or the control's training."""
    work, _ = finished
    recorder = run_in_two_parts(
        config_of, lambda folder: RunPaths(dataset=rectangles, work=folder, teacher=teacher), tmp_path, stop_after
    )
    for role in ("student", "control"):
        assert_equal_weights(weights_of(work / role), weights_of(tmp_path / role))
    seen = {(event.role, event.step) for event in recorder.of(StepLogged)}
    assert ("student", 1) not in seen, "steps already done are not repeated"


def test_a_scheduled_run_resumes_to_the_same_bits(rectangles: Path, teacher: Path, tmp_path: Path):
    """Stopped between the end of one method and the start of another, before the teacher's last step."""
    methods = [
        {"kind": "matched_logits", "schedule": {"end": 0.4, "warmup": 0.2}},
        {"kind": "target_features", "schedule": {"start": 0.7, "decay": "cosine"}},
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    recorder = Recorder()
    run(config_of(methods=methods, control=False), RunPaths(dataset=rectangles, work=whole, teacher=teacher), recorder)
    taught = [any("matched" in name or "target" in name for name in event.losses) for event in recorder.of(StepLogged)]
    assert taught == [True, True, False, False, True, True]
    run_in_two_parts(
        lambda: config_of(methods=methods, control=False),
        lambda folder: RunPaths(dataset=rectangles, work=folder, teacher=teacher),
        parts,
        3,
    )
    assert_equal_weights(weights_of(whole / "student"), weights_of(parts / "student"))


SELF_TAUGHT = {"teacher": {"source": "ema"}, "methods": [{"kind": "matched_logits"}, {"kind": "query_prior"}]}


def test_the_moving_average_teaches_without_checkpoint_or_gate(rectangles: Path, tmp_path: Path):
    """Resumed in the student's training, the run ends in the same bits: the teacher is part of what is saved."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    recorder = Recorder()
    result = run(config_of(**SELF_TAUGHT), RunPaths(dataset=rectangles, work=whole), recorder)
    assert [event.stage for event in recorder.events if event.kind == "stage"] == [
        "prepare",
        "train_student",
        "train_control",
        "export",
    ]
    assert result.teachers == {}
    assert result.kd_gain is not None
    own = [event for event in recorder.of(StepLogged) if event.role == "student"]
    assert {name.split(".")[0] for name in own[0].losses} >= {"matched_logits", "query_prior"}
    run_in_two_parts(
        lambda: config_of(**SELF_TAUGHT), lambda folder: RunPaths(dataset=rectangles, work=folder), parts, 2
    )
    assert_equal_weights(weights_of(whole / "student"), weights_of(parts / "student"))


def test_the_moving_average_must_exist_and_is_given_no_checkpoint(rectangles: Path, teacher: Path, tmp_path: Path):
    with pytest.raises(ValidationError, match=r"training\.ema_decay"):
        config_of(**SELF_TAUGHT, training=TRAINING | {"ema_decay": None})
    with pytest.raises(ConfigError, match="no place for a checkpoint") as caught:
        run(config_of(**SELF_TAUGHT), RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher), Recorder())
    assert caught.value.path_pointer == "/teachers/teacher"


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
    finished: tuple[Path, Recorder], rectangles: Path, teacher: Path, tmp_path: Path
):
    work, _ = finished
    recorder = Recorder(stop_after=5)
    paths = RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher)
    with pytest.raises(Stopped):
        run(config_of(), paths, recorder, recorder.should_stop)
    newest = tmp_path / recorder.of(CheckpointSaved)[-1].file
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    run(config_of(), paths, recorder)
    assert_equal_weights(weights_of(work / "student"), weights_of(tmp_path / "student"))


def test_another_configuration_may_not_resume(rectangles: Path, tmp_path: Path):
    recorder = Recorder(stop_after=1)
    with pytest.raises(Stopped):
        run(train_config(), RunPaths(dataset=rectangles, work=tmp_path), recorder, recorder.should_stop)
    changed = train_config(training=TRAINING | {"lr": 5e-4})
    with pytest.raises(ConfigError, match="another configuration"):
        run(changed, RunPaths(dataset=rectangles, work=tmp_path), Recorder())


def test_a_weak_teacher_is_rejected_before_any_step(rectangles: Path, teacher: Path, tmp_path: Path):
    recorder = Recorder()
    with pytest.raises(TeacherRejected, match="below the floor") as caught:
        run(config_of(teacher={"min_ap": 0.5}), RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher), recorder)
    assert caught.value.pointer == "/teachers/teacher/min_ap"
    assert recorder.of(StepLogged) == []


def test_a_loss_that_explodes_stops_the_run(rectangles: Path, tmp_path: Path):
    with pytest.raises(Diverged, match="not finite"):
        run(
            train_config(criterion={"l1_weight": 1e38}),
            RunPaths(dataset=rectangles, work=tmp_path),
            Recorder(),
        )


def test_a_frozen_backbone_stays(rectangles: Path, teacher: Path, tmp_path: Path):
    frozen = {"epochs": 1, "backbone_lr_factor": 0, "freeze_batch_norm": True}
    config = train_config(student=None, training=TRAINING | frozen)
    run(config, RunPaths(dataset=rectangles, work=tmp_path, student=teacher), Recorder())
    before = load_file(teacher / "model.safetensors")
    after = load_file(tmp_path / "student" / "model.safetensors")
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed
    assert not any("backbone" in name for name in changed)


@pytest.mark.parametrize(
    ("family", "size", "cells"),
    [("rt-detr-v2", "pico", 16 + 4 + 1), ("deformable-detr", "nano-two-stage", 16 + 4 + 1 + 1)],
)
def test_a_checkpoint_with_more_queries_than_cells_is_refused(
    family: str, size: str, cells: int, rectangles: Path, tmp_path: Path
):
    """The cells of strides 8, 16, 32 and 64 at 32 px."""
    (tmp_path / "start").mkdir()
    thirty = build_detector(family, replace(size_of(family, size), queries=30), ["a"], 64, seed=0)
    export_folder(thirty, tmp_path / "start", (1,))
    config = train_config(student=None, data=DATA | {"image_size": 32})
    with pytest.raises(ConfigError, match=f"among the {cells} cells"):
        run(config, RunPaths(dataset=rectangles, work=tmp_path / "work", student=tmp_path / "start"), Recorder())


def test_fine_tuning_keeps_the_rows_of_known_classes(rectangles: Path, teacher: Path, tmp_path: Path):
    recorder = Recorder()
    config = train_config(student=None, data=DATA | {"image_size": None}, training=TRAINING | {"epochs": 1})
    result = run(config, RunPaths(dataset=rectangles, work=tmp_path, student=teacher), recorder)
    assert result.teachers == {}
    assert result.kd_gain is None
    assert inspect_checkpoint(tmp_path / "student").image_size == (96, 96)
    loaded = next(event for event in recorder.events if event.kind == "weights_loaded")
    assert (loaded.missing, loaded.unexpected) == ((), ())


@pytest.mark.parametrize("precision", ["bf16"])
def test_half_precision_trains(rectangles: Path, teacher: Path, tmp_path: Path, precision: str):
    config = config_of(training=TRAINING | {"precision": precision, "epochs": 1}, control=False)
    result = run(config, RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher), Recorder())
    assert result.student.metrics.ap >= 0


@pytest.mark.parametrize("signs", [0, 19, 22, 24])
def test_a_run_stops_before_its_first_step(rectangles: Path, teacher: Path, tmp_path: Path, signs: int):
    """While images are read, threads measured and the teacher evaluated, not only between steps."""
    given: list[None] = []
    events: list[Event] = []
    with pytest.raises(Stopped):
        run(
            config_of(control=False),
            RunPaths(dataset=rectangles, work=tmp_path, teacher=teacher),
            events.append,
            lambda: len(given) > signs,
            lambda: given.append(None),
        )
    assert not [event for event in events if isinstance(event, StepLogged)]
    assert len(given) <= signs + 2
