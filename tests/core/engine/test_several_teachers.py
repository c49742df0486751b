"""Two teachers of one student: their losses add up, each passes its own gate, schedules hand over."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from detrdistill.__main__ import main
from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.engine.run import run
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import TeacherSupervision
from detrdistill.errors import ConfigError, TeacherRejected
from detrdistill.events import Evaluated
from detrdistill.export import export_folder
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from tests.core.engine.test_run import (
    DATA,
    STUDENT,
    TRAINING,
    Recorder,
    StepLogged,
    assert_equal_weights,
    run_in_two_parts,
    weights_of,
)
from tests.core.engine.test_step import BATCH, HALFWAY, step_of
from tests.support.black_boxes import perfect_detections, write_detections
from tests.support.factories import tiny_detector

RECOMMENDED = {"kind": "matched_logits", "variant": "recommended"}


def config_of(further: dict, *, teacher: dict | None = None, **changes: object) -> DistillConfig:
    """A teacher called `teacher`, and further ones."""
    base = {"kind": "distill", "student": STUDENT, "data": DATA, "training": TRAINING}
    first = {"min_ap": 0, "methods": [RECOMMENDED]} | (teacher or {})
    base |= {"teachers": {"teacher": first} | further}
    config = RUN_CONFIG.validate_python(base | changes)
    assert isinstance(config, DistillConfig)
    return config


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never trained."""
    folder = tmp_path_factory.mktemp("detector")
    size = replace(size_of("rt-detr-v2", "pico"), queries=12)
    export_folder(build_detector("rt-detr-v2", size, ["red", "green"], 64, seed=7), folder, (3, 8))
    return folder


@pytest.fixture(scope="module")
def recorded(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ground truth as detections."""
    return write_detections(tmp_path_factory.mktemp("recorded"), perfect_detections(rectangles))


def test_the_losses_of_two_teachers_add_up():
    """One step with both against one with each: the detection loss is there once, the rest is the sum."""
    config = config_of({}, teacher={"methods": [RECOMMENDED, {"kind": "query_prior", "group": "second_decoder_pass"}]})

    def steps() -> list[LossStep]:
        student = tiny_detector("rt-detr-v2", queries=8)
        steps = [step_of(student, tiny_detector("rt-detr", queries=12, seed=seed), config) for seed in (1, 2)]
        student.eval()  # no denoising queries, which are drawn at random
        return steps

    first, second = steps()
    both = LossStep(
        first.detector,
        first.criterion,
        [
            first.supervisions[0],
            TeacherSupervision(second.supervisions[0].teacher, second.supervisions[0].methods, "big", several=True),
        ],
        first.transforms,
        None,
        first.device,
    )
    with torch.no_grad():
        one, other, found = first(BATCH, HALFWAY), second(BATCH, HALFWAY), both(BATCH, HALFWAY)
    weights = first.criterion.weights()
    detection = sum(weights[name] * term for name, term in one.terms.items() if name in weights)
    torch.testing.assert_close(found.total, one.total + other.total - detection)
    assert found.terms["matched_logits.l1"] == one.terms["matched_logits.l1"]
    assert found.terms["big.matched_logits.l1"] == other.terms["matched_logits.l1"]
    assert found.terms["big.query_prior.l1"] == other.terms["query_prior.l1"]
    assert one.terms["matched_logits.l1"] != other.terms["matched_logits.l1"]


def test_one_teacher_hands_over_to_the_other(rectangles: Path, detector: Path, recorded: Path, tmp_path: Path):
    """In six steps, the detector teaches two, nobody the next, recorded detections the last three; resumed after three,
    the weights are the same bits."""
    methods = [RECOMMENDED | {"schedule": {"end": 0.3}}]
    late = {"seen": {"min_ap": 0.99, "methods": [RECOMMENDED | {"schedule": {"start": 0.5}}]}}

    def paths(work: Path) -> RunPaths:
        return RunPaths(dataset=rectangles, work=work, teachers={"teacher": detector, "seen": recorded})

    recorder = Recorder()
    result = run(config_of(late, teacher={"methods": methods}), paths(tmp_path / "whole"), recorder)
    taught = [{name.split(".")[0] for name in step.losses} & {"teacher", "seen"} for step in recorder.of(StepLogged)]
    assert taught == [{"teacher"}] * 2 + [set()] + [{"seen"}] * 3
    assert result.teachers["seen"].metrics.ap == pytest.approx(1)
    gates = [(event.teacher, event.metrics.ap) for event in recorder.of(Evaluated) if event.role == "teacher"]
    assert [name for name, _ in gates] == ["teacher", "seen"]
    assert "| teacher seen | 1.0000 " in (tmp_path / "whole/student/README.md").read_text()
    run_in_two_parts(lambda: config_of(late, teacher={"methods": methods}), paths, tmp_path / "parts", 3)
    assert_equal_weights(weights_of(tmp_path / "whole/student"), weights_of(tmp_path / "parts/student"))


def test_the_gate_is_passed_by_each(rectangles: Path, detector: Path, recorded: Path, tmp_path: Path):
    weak = {"weak": {"min_ap": 0.5, "methods": [RECOMMENDED]}}
    paths = RunPaths(dataset=rectangles, work=tmp_path, teachers={"teacher": recorded, "weak": detector})
    with pytest.raises(TeacherRejected) as caught:
        run(config_of(weak, teacher={"min_ap": 0.99}), paths, Recorder())
    assert caught.value.pointer == "/teachers/weak/min_ap"


def test_what_does_not_fit_is_refused_where_it_is_declared(
    rectangles: Path, detector: Path, recorded: Path, tmp_path: Path
):
    prior = {"seen": {"methods": [RECOMMENDED, {"kind": "query_prior"}]}}
    paths = RunPaths(dataset=rectangles, work=tmp_path, teachers={"teacher": detector, "seen": recorded})
    with pytest.raises(ConfigError, match="only boxes and scores") as caught:
        run(config_of(prior), paths, Recorder())
    assert caught.value.pointer == "/teachers/seen/methods/1"
    with pytest.raises(ConfigError, match="no teacher 'seen'") as caught:
        run(config_of({}), paths, Recorder())
    assert caught.value.path_pointer == "/teachers/seen"
    with pytest.raises(ConfigError, match="needs a teacher") as caught:
        run(config_of(prior), RunPaths(dataset=rectangles, work=tmp_path, teacher=detector), Recorder())
    assert caught.value.path_pointer == "/teachers/seen"


@pytest.mark.parametrize(
    ("further", "complaint"),
    [
        ({"Big.one": {"methods": [RECOMMENDED]}}, "pattern"),
        ({"big": {"methods": []}}, "at least 1"),
        ({"big": {"methods": [RECOMMENDED, RECOMMENDED]}}, "may be listed once"),
        ({"detection": {"methods": [RECOMMENDED]}}, "another name"),
        ({"matched_logits": {"methods": [RECOMMENDED]}}, "another name"),
    ],
)
def test_names_and_methods_are_checked(further: dict, complaint: str):
    with pytest.raises(ValidationError, match=complaint):
        config_of(further)


def test_the_average_teaches_beside_a_checkpoint(rectangles: Path, recorded: Path, tmp_path: Path):
    own = {"own": {"source": "ema", "methods": [{"kind": "matched_logits"}]}}
    with pytest.raises(ValidationError, match=r"training\.ema_decay"):
        config_of(own, training=TRAINING | {"ema_decay": None})
    recorder = Recorder()
    result = run(config_of(own), RunPaths(dataset=rectangles, work=tmp_path, teacher=recorded), recorder)
    assert {"teacher.matched_logits.l1", "own.matched_logits.l1"} <= set(recorder.of(StepLogged)[0].losses)
    assert set(result.teachers) == {"teacher"}


def test_a_run_file_names_the_folders(rectangles: Path, recorded: Path, detector: Path, tmp_path: Path):
    further = {"seen": {"methods": [RECOMMENDED]}}
    config = config_of(further, training=TRAINING | {"epochs": 1}).model_dump(mode="json")
    paths = {"dataset": str(rectangles), "work": "work"}
    (tmp_path / "run.json").write_text(
        json.dumps({"config": config, "paths": paths | {"teachers": {"teacher": str(detector), "seen": str(recorded)}}})
    )
    assert main([str(tmp_path / "run.json")]) == 0
    result = json.loads((tmp_path / "work/result.json").read_text())
    assert result["teachers"]["seen"]["metrics"]["ap"] == pytest.approx(1)
