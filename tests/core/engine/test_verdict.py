"""A student that learned nothing does not look like a success."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from detrdistill.__main__ import main
from detrdistill.engine.verdict import TrainingFacts, verdict_of
from detrdistill.events import CocoMetrics, RunFinished, RunResult
from detrdistill.files.coco import read_split
from detrdistill.schema.run import TrainConfig, TrainingConfig
from examples.demo import console, summary
from tests.core.engine.test_run import DATA, STUDENT, TRAINING

FACTS = TrainingFacts(steps=6, epochs=2, lr=1e-3, images=12, boxes={"red": 9, "green": 3, "blue": 7, "grey": 0})
ADVICE = (
    "There were 6 steps (2 epochs of 12 images) at lr 0.001. Try more epochs, a higher training.lr, more training "
    "images, or a student that starts from a checkpoint; and look whether classes and boxes are right (classes with "
    "the fewest training boxes: grey 0, green 3, blue 7)."
)
ALONE = "learned nothing: the student scores AP 0.0099 on the validation set, below 0.01. "
BOTH = (
    "learned nothing: the student scores AP 0.0000 on the validation set, below 0.01, and 0.0000 without its teacher, "
    "so that the KD gain says nothing. "
)
HARMED = (
    "learned nothing: the student scores AP 0.0010 on the validation set, below 0.01, but 0.2500 without its teacher: "
    "what it was taught harms it. Try lower weights of the methods, fewer of them, or another teacher. "
)
CONTROL = (
    "control learned nothing: without its teacher the student scores AP 0.0020, below 0.01, so that the KD gain only "
    "says that the distilled one began to learn. "
)


def metrics(ap: float) -> CocoMetrics:
    rest = dict.fromkeys(("ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100"), ap)
    return CocoMetrics(ap=ap, per_class={}, **rest)


@pytest.mark.parametrize(
    ("student", "control", "said"),
    [(0.0099, None, ALONE), (0.0, 0.0, BOTH), (0.001, 0.25, HARMED), (0.25, 0.002, CONTROL)],
)
def test_who_learned_nothing_is_said_with_what_to_try(student: float, control: float | None, said: str):
    assert verdict_of(metrics(student), None if control is None else metrics(control), FACTS) == said + ADVICE


@pytest.mark.parametrize(("student", "control"), [(0.01, None), (0.01, 0.01), (0.9, 0.3)])
def test_nothing_is_said_of_what_has_learned(student: float, control: float | None):
    assert verdict_of(metrics(student), None if control is None else metrics(control), FACTS) is None


def test_a_split_without_boxes_teaches_nothing():
    assert "learned nothing" in (verdict_of(metrics(-1), None, FACTS) or "")


def test_the_facts_are_those_of_the_training_split(rectangles: Path):
    split = read_split(rectangles, "train")
    config = TrainConfig(kind="train", student=None, training=TrainingConfig(epochs=2, lr=1e-3))
    facts = TrainingFacts.of(config, 6, split)
    labels = [label for image in split.images for label in image.labels]
    assert facts == TrainingFacts(6, 2, 1e-3, 12, {"red": labels.count(0), "green": labels.count(1)}, True)


@pytest.fixture(scope="module")
def hopeless(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run file of two steps, which is too few for anything."""
    folder = tmp_path_factory.mktemp("run")
    config = {"kind": "train", "student": STUDENT, "data": DATA, "training": TRAINING | {"batch_size": 12}}
    (folder / "run.json").write_text(
        json.dumps({"config": config, "paths": {"dataset": str(rectangles), "work": "work"}})
    )
    return folder


def test_the_command_line_and_the_model_card_say_it(hopeless: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(hopeless / "run.json")]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    result = RunResult.model_validate_json((hopeless / "work" / "result.json").read_bytes())
    assert last == result.verdict
    assert last.startswith("learned nothing: the student scores AP 0.00")
    assert "There were 2 steps (2 epochs of 12 images) at lr 0.001." in last
    card = (hopeless / "work" / "student" / "README.md").read_text()
    assert f"\n\n> **L{last[1:]}**\n\n" in card


def test_the_event_of_the_end_says_it(hopeless: Path, capsys: pytest.CaptureFixture[str]):
    """Started again, the finished run only measures once more."""
    assert main([str(hopeless / "run.json"), "--json"]) == 0
    finished = RunFinished.model_validate_json(capsys.readouterr().out.splitlines()[-1])
    assert (finished.result.verdict or "").startswith("learned nothing: ")


@pytest.mark.parametrize("verdict", [None, "learned nothing: [so it is]"])
def test_the_demo_prints_it_in_place_of_the_gain(verdict: str | None, tmp_path: Path):
    row = {"metrics": {"ap": 0.0, "ap50": 0.0}, "parameters": 1, "milliseconds_per_image": 1.0}
    result = {"teachers": {"teacher": row}, "student": row, "control": row, "kd_gain": 0.0, "verdict": verdict}
    with console.capture() as capture:
        assert summary(result, tmp_path, 0.0) == 0
    printed = capture.get()
    assert ("+0.0 AP" in printed) == (verdict is None)
    assert (str(verdict) in printed) == (verdict is not None)


def test_what_was_done_already_is_not_advised():
    started = replace(FACTS, from_checkpoint=True)
    assert "higher training.lr, more training images, or a student that starts from a checkpoint; and" in str(FACTS)
    assert "higher training.lr or more training images; and look whether" in str(started)
