"""The arithmetic of the gain study, its schema, and a really tiny study."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from detrdistill.detectors.build import build_detector
from detrdistill.engine.run import run
from detrdistill.events import CocoMetrics, ModelReport, RunResult
from detrdistill.export import export_folder
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG, ArchitectureConfig, DistillConfig, MatchedLogitsConfig
from tests.benchmarks.gain import main
from tests.benchmarks.gain_report import RECORD, Record, Spread, markdown, spread_of, summarise
from tests.benchmarks.gain_study import CONTROL, Study

STUDIES = Path(__file__).parent / "studies"
STUDENT = {"family": "rt-detr-v2", "size": "pico", "queries": 10}
TRAIN = {
    "kind": "train",
    "student": STUDENT,
    "data": {"image_size": 64},
    "training": {"epochs": 1, "batch_size": 4, "lr": 1e-3},
}


def study_of(**changes: Any) -> dict[str, Any]:
    base = {
        "datasets": {"rectangles": "rectangles"},
        "teachers": {"same-size": {"dataset": "rectangles", "train": TRAIN}},
        "pairs": {
            "pico": {"teacher": "same-size", "dataset": "rectangles", "control": TRAIN, "gate": {"min_ap": 0}},
        },
        "arms": {"logits": [{"kind": "matched_logits", "variant": "paper"}]},
        "seeds": [0, 3],
    }
    return base | changes


def record_of(ap: float | None, teacher_ap: float | None = None, seconds: float = 60.0) -> Record:
    def report(value: float) -> ModelReport:
        rest = dict.fromkeys(("ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100"), 0.0)
        metrics = CocoMetrics(ap=value, ap50=value + 0.2, per_class={}, **rest)
        return ModelReport(metrics=metrics, parameters=1_500_000, milliseconds_per_image=1.0, best_epoch=1)

    result = None
    if ap is not None:
        teachers = {} if teacher_ap is None else {"teacher": report(teacher_ap)}
        result = RunResult(student=report(ap), teachers=teachers, device="cpu", versions={})
    error = "many lines\nconfig_invalid: it broke" if ap is None else None
    return Record(fingerprint="", commit="", finished_at="", seconds=seconds, error=error, result=result)


def test_the_deviation_is_that_of_a_sample():
    assert spread_of([2.0, 4.0, 9.0]) == Spread(5.0, pytest.approx(13**0.5))  # (9 + 1 + 16) / 2
    assert spread_of([2.0]) == Spread(2.0, None)
    assert spread_of([]) is None


def test_a_gain_is_paired_by_seed_and_failures_stay_in_the_table():
    study = Study.model_validate(study_of(seeds=[0, 3, 5]))
    records = {
        (CONTROL, 0): record_of(0.10),
        (CONTROL, 3): record_of(0.30),
        (CONTROL, 5): record_of(None),
        ("logits", 0): record_of(0.14, 0.13, seconds=90),
        ("logits", 3): record_of(0.32, 0.13, seconds=150),
        ("logits", 5): record_of(0.12, 0.13),
    }
    summary = summarise(study, "pico", records)
    control, logits = summary.arms
    assert control.gain == {}
    assert control.ap_spread == Spread(pytest.approx(20), pytest.approx(200**0.5))
    assert logits.gain == {0: pytest.approx(4), 3: pytest.approx(2)}
    assert logits.gain_spread == Spread(pytest.approx(3), pytest.approx(2**0.5))
    assert logits.beats_teacher == 2
    assert logits.minutes == pytest.approx((1.5 + 2.5 + 1) / 3)

    lines = markdown(study, summary).splitlines()
    assert "Teacher `same-size`: AP 13.00, 1.50 M parameters. Student: 1.50 M parameters." in lines[2]
    assert lines[6] == "| control | 10.00 | 30.00 | failed | 20.00 ± 14.14 (2 of 3) | - | - | 40.00 | 1.0 | - |"
    assert lines[7].startswith(
        "| logits | 14.00 | 32.00 | 12.00 | 19.33 ± 11.02 | +4.00, +2.00 | +3.00 ± 1.41 (2 of 3) |"
    )
    assert lines[7].endswith("| 39.33 | 1.7 | 2 of 3 |")
    assert lines[9] == "- failed: control, seed 5: config_invalid: it broke"


def test_a_run_that_has_not_ended_is_a_dash():
    study = Study.model_validate(study_of())
    rows = markdown(study, summarise(study, "pico", {(CONTROL, 3): record_of(0.5)})).splitlines()[6:8]
    assert rows == [
        "| control | - | 50.00 | 50.00 (1 of 2) | - | - | 70.00 | 1.0 | - |",
        "| logits | - | - | - | - | - | - | - | - |",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1, 1]}, "each seed may be listed once"),
        ({"arms": {CONTROL: [{"kind": "target_features"}]}}, "give yours another name"),
        ({"arms": {"twice": [{"kind": "target_features"}] * 2}}, "each method may be listed once"),
        ({"arms": {"none": []}}, "at least 1 item"),
        ({"datasets": {"rectangles": "/somewhere"}}, "a path is relative"),
        ({"datasets": {"rectangles": "../somewhere"}}, "a path is relative"),
        ({"datasets": {"other": "other"}}, "no dataset is named 'rectangles'"),
        ({"teachers": {"../up": {"dataset": "rectangles", "train": TRAIN}}}, "should match pattern"),
        ({"teachers": {"other": {"dataset": "rectangles", "train": TRAIN}}}, "no teacher is named 'same-size'"),
        ({"repeats": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_study_says_what_is_wrong(changes: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Study.model_validate(study_of(**changes))


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.json")), ids=lambda file: file.stem)
def test_the_studies_at_hand_are_valid_and_choose_no_epoch_on_the_validation_set(file: Path):
    study = Study.model_validate_json(file.read_bytes())
    for pair in study.pairs.values():
        assert pair.control.evaluation.every_epochs == pair.control.training.epochs


def test_a_pair_does_not_choose_its_seed():
    study = study_of()
    study["pairs"]["pico"]["control"] = TRAIN | {"training": {"seed": 1}}
    with pytest.raises(ValidationError, match="the study's `seeds` give the seed"):
        Study.model_validate(study)


def test_an_arm_differs_from_its_control_by_teacher_and_methods_alone():
    study = Study.model_validate(study_of())
    control, arm = study.run_of("pico", CONTROL, 3), study.run_of("pico", "logits", 3)
    assert control.teacher is None
    assert arm.teacher == study.teacher_of("pico")
    assert isinstance(arm.config, DistillConfig)
    assert arm.config.teachers["teacher"].methods == (
        MatchedLogitsConfig(
            variant="paper", weight=1, pair_weight="none", split=True, clamp_teacher_boxes=False, contrastive_weight=0
        ),
    )
    assert arm.config.training.seed == control.config.training.seed == 3
    shared = ("student", "data", "training", "criterion", "evaluation")
    assert all(getattr(arm.config, name) == getattr(control.config, name) for name in shared)


def test_the_control_arm_is_the_control_of_a_distillation_to_the_bit(rectangles: Path, tmp_path: Path):
    """A train run may stand for the control role, which saves a training for every further arm."""
    study = Study.model_validate(study_of())
    teacher = tmp_path / "teacher"
    architecture = ArchitectureConfig(**STUDENT)
    detector = build_detector(architecture.family, architecture.resolve(), ["red", "green"], 96, seed=7)
    export_folder(detector, teacher, (3, 8))
    both = study.run_of("pico", "logits", 3).config.model_dump() | {"control": True}
    distilled = run(
        RUN_CONFIG.validate_python(both),
        RunPaths(dataset=rectangles, work=tmp_path / "both", teacher=teacher),
        lambda _: None,
    )
    plain = run(
        study.run_of("pico", CONTROL, 3).config, RunPaths(dataset=rectangles, work=tmp_path / "plain"), lambda _: None
    )
    assert distilled.control is not None
    assert distilled.control.metrics == plain.student.metrics
    first, second, student = (
        load_file(tmp_path / folder / "model.safetensors")
        for folder in ("both/control", "plain/student", "both/student")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], student[name]) for name in first), "the teacher had no say"


@pytest.mark.slow
def test_a_failed_run_is_shown_and_only_it_is_repeated(rectangles: Path, tmp_path: Path):
    out, file = tmp_path / "out", tmp_path / "study.json"

    def study_with(min_ap: float) -> int:
        content = study_of(seeds=[0])
        content["pairs"]["pico"]["gate"] = {"min_ap": min_ap}
        file.write_text(json.dumps(content))
        return main([str(file), "--data", str(rectangles.parent), "--out", str(out), "--jobs", "2"])

    assert study_with(min_ap=1) == 1
    report = (out / "report.md").read_text()
    assert "| logits | failed |" in report
    assert "- failed: logits, seed 0: teacher_below_floor: The teacher scores AP" in report
    kept = [out / "teachers" / "same-size" / RECORD, out / "runs" / "pico" / CONTROL / "seed-0" / RECORD]
    before = [path.stat().st_mtime_ns for path in kept]

    assert study_with(min_ap=0) == 0
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert "failed" not in (out / "report.md").read_text()
    runs = {run["arm"]: run for run in json.loads((out / "report.json").read_text())["runs"]}
    gain = runs["logits"]["result"]["student"]["metrics"]["ap"] - runs[CONTROL]["result"]["student"]["metrics"]["ap"]
    summary = json.loads((out / "report.json").read_text())["summary"][0]
    assert summary["arms"][1]["gain"]["0"] == pytest.approx(100 * gain)
    folder = out / "runs" / "pico" / "logits" / "seed-0"
    assert {path.name for path in folder.iterdir()} == {
        "errors.log", "events.jsonl", "record.json", "result.json", "run.json", "student",
    }  # fmt: skip
