import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from detrdistill.compatibility.checks import check_start
from detrdistill.detectors.build import build_detector
from detrdistill.engine.run import run
from detrdistill.errors import BackboneUntrained
from detrdistill.events import Event, StepLogged
from detrdistill.export import export_folder
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.recipes import RECIPES, RecipeName, with_recipe
from detrdistill.schema.run import RUN_CONFIG, ArchitectureConfig, DistillConfig, TrainConfig
from tests.support.factories import TINY, methods_in


def distill(**fields) -> DistillConfig:
    config = RUN_CONFIG.validate_python({"kind": "distill"} | fields)
    assert isinstance(config, DistillConfig)
    return config


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_is_a_valid_configuration(name: RecipeName):
    config = distill(recipe=name)
    assert config.recipe == name
    assert config.student is not None
    assert [method.kind for method in methods_in(config)] == ["matched_logits", "target_features", "query_prior"]


def test_given_fields_come_before_those_of_the_recipe():
    config = distill(recipe="deformable-detr-r50", training={"epochs": 12}, methods=[{"kind": "query_prior"}])
    assert (config.training.epochs, config.training.lr, config.training.backbone_lr_factor) == (12, 2e-4, 0.1)
    assert [method.kind for method in methods_in(config)] == ["query_prior"]


def test_a_student_from_a_checkpoint_replaces_the_architecture():
    assert distill(recipe="rt-detr-v2-r18", student=None).student is None


def test_a_validated_configuration_is_explicit_and_validates_to_itself():
    config = distill(recipe="adamixer-r18", training={"seed": 3})
    assert RUN_CONFIG.validate_json(config.model_dump_json()) == config


def test_plain_training_takes_the_recipe_without_its_methods():
    config = RUN_CONFIG.validate_python({"kind": "train", "recipe": "conditional-detr-r50"})
    assert isinstance(config, TrainConfig)
    assert config.training == distill(recipe="conditional-detr-r50").training
    with pytest.raises(ValidationError, match="methods"):
        RUN_CONFIG.validate_python({"kind": "train", "recipe": "conditional-detr-r50", "methods": []})


def test_an_unknown_recipe_names_those_that_exist():
    with pytest.raises(ValidationError, match="There is no recipe 'yolo'") as refused:
        distill(recipe="yolo")
    assert "rt-detr-v2-r18" in refused.value.errors()[0]["ctx"]["error"].hint


def test_lists_are_replaced_and_objects_merged():
    filled = with_recipe({"recipe": "adamixer-r50", "training": {"drops": [0.5]}})
    assert filled["training"]["drops"] == [0.5]
    assert filled["training"]["clip_norm"] == 1.0
    assert RECIPES["adamixer-r50"].config["training"]["drops"] == [8 / 12, 11 / 12], "the recipe itself stays"


PUBLISHED = {
    "adamixer": {"image_size": 800, "epochs": 12, "batch_size": 16, "lr": 2.5e-5, "backbone_lr_factor": 1.0},
    "deformable-detr": {"image_size": 800, "epochs": 50, "batch_size": 16, "lr": 2e-4, "backbone_lr_factor": 0.1},
    "conditional-detr": {"image_size": 800, "epochs": 50, "batch_size": 16, "lr": 1e-4, "backbone_lr_factor": 0.1},
    "rt-detr-r18": {"image_size": 640, "epochs": 72, "batch_size": 16, "lr": 1e-4, "backbone_lr_factor": 0.1},
    "rt-detr-v2-r18": {"image_size": 640, "epochs": 120, "batch_size": 16, "lr": 1e-4, "backbone_lr_factor": 1.0},
    "d-fine-s": {"image_size": 640, "epochs": 132, "batch_size": 32, "lr": 2e-4, "backbone_lr_factor": 0.5},
    "rf-detr-nano": {"image_size": 384, "epochs": 100, "batch_size": 16, "lr": 1e-4, "backbone_lr_factor": 0.735},
    "deimv2-atto": {"image_size": 320, "epochs": 500, "batch_size": 128, "lr": 2e-3, "backbone_lr_factor": 0.5},
}
"""Read in the released files once more, apart from the recipes."""
FROZEN = ("adamixer", "deformable-detr", "conditional-detr")
WHOLE = {"rt-detr-v2-r18"}
FROM_NOTHING = {"backbone_lr_factor": 1, "freeze_batch_norm": False}


def published(name: str) -> dict[str, float]:
    return PUBLISHED.get(name) or PUBLISHED[name.rpartition("-")[0]]


@pytest.mark.parametrize("name", list(RECIPES))
def test_image_size_rates_and_epochs_are_the_published_ones(name: RecipeName):
    config = distill(recipe=name)
    values = {"image_size": config.data.image_size} | config.training.model_dump()
    assert values.items() >= published(name).items()
    assert config.training.freeze_batch_norm == name.startswith(FROZEN)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_value_has_a_source_and_every_source_a_value(name: RecipeName):
    recipe = RECIPES[name]
    fields = {
        f"/{section}/{field}" for section, values in recipe.config.items() if section != "methods" for field in values
    }
    assert recipe.sources.keys() == fields | {"/methods"}
    for source in recipe.sources.values():
        assert re.search(r"arXiv \d{4}\.\d{5}|^[\w-]+/[\w-]+ [0-9a-f]{7}, |docs/results\.md", source), source
    for field in ("/data/image_size", "/training/lr", "/training/backbone_lr_factor", "/training/epochs"):
        assert re.match(r"[\w-]+/[\w-]+ [0-9a-f]{7}, ", recipe.sources[field])


def test_plain_training_has_no_methods_of_a_recipe_whose_source_is_this_project():
    assert RECIPES["rt-detr-v2-r18"].sources["/methods"] == "this project's measurements, docs/results.md"
    assert {method["variant"] for method in RECIPES["rt-detr-v2-r18"].config["methods"]} == {"recommended"}


@pytest.mark.parametrize("kind", ["distill", "train"])
@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_is_a_whole_job_or_says_what_it_needs(name: RecipeName, kind: str):
    """The remedies it names make it whole."""

    def start(**fields: object) -> None:
        check_start(RUN_CONFIG.validate_python({"kind": kind, "recipe": name} | fields))

    assert RECIPES[name].needs_checkpoint == (name not in WHOLE)
    if name in WHOLE:
        start()
        return
    with pytest.raises(BackboneUntrained, match=f"The recipe {name} .*but the student is new") as caught:
        start()
    assert caught.value.code == "backbone_untrained"
    assert caught.value.pointer == "/recipe"
    for remedy in ("student_id", '"student": null', "backbone_lr_factor to 1", "freeze_batch_norm to false"):
        assert remedy in caught.value.hint
    start(student=None)
    start(training=FROM_NOTHING)


@pytest.mark.parametrize(
    ("training", "said", "pointer"),
    [
        ({"backbone_lr_factor": 0.1}, "trains the backbone at 0.1 of the rate", "backbone_lr_factor"),
        ({"backbone_lr_factor": 0}, "freezes the backbone", "backbone_lr_factor"),
        ({"freeze_batch_norm": True}, "freezes the batch norms", "freeze_batch_norm"),
        (
            {"backbone_lr_factor": 0.5, "freeze_batch_norm": True},
            "trains the backbone at 0.5 of the rate and freezes the batch norms",
            "backbone_lr_factor",
        ),
    ],
)
def test_no_random_backbone_is_trained_as_a_trained_one(training: dict[str, object], said: str, pointer: str):
    """With a recipe that says otherwise, too."""
    student = {"family": "rt-detr-v2", "size": "r18"}
    for base in ({"student": student}, {"recipe": "rt-detr-v2-r18"}):
        with pytest.raises(BackboneUntrained) as caught:
            check_start(distill(training=training, **base))
        assert caught.value.message == f"This training {said}, but the student is new: its weights are random."
        assert caught.value.pointer == f"/training/{pointer}"
    check_start(distill(training=training, student=None))


QUICK = (("rt-detr-v2-r18", "from random weights"), ("adamixer-r50", "from a checkpoint"))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        pytest.param(name, start, marks=[] if (name, start) in QUICK else pytest.mark.slow)
        for name in RECIPES
        for start in ("from random weights", "from a checkpoint")
    ],
)
def test_two_steps_of_a_recipe(name: RecipeName, start: str, rectangles: Path, tmp_path: Path):
    """Both remedies, with the smallest size of its family in place of its own."""
    family = RECIPES[name].config["student"]["family"]
    small = {"family": family, "size": TINY[family], "queries": 8}
    size = ArchitectureConfig(**small).resolve()
    for role, seed in (("teacher", 1), ("student", 0)):
        (tmp_path / role).mkdir()
        export_folder(build_detector(family, size, ["red", "green"], 64, seed), tmp_path / role, (3, 8))
    from_checkpoint = start == "from a checkpoint"
    training = {"epochs": 1, "batch_size": 6} | ({} if from_checkpoint else FROM_NOTHING)
    config = distill(
        recipe=name,
        student=None if from_checkpoint else small,
        data={"image_size": 64},
        training=training,
        teacher={"min_ap": 0},
    )
    paths = RunPaths(
        dataset=rectangles,
        work=tmp_path / "work",
        teacher=tmp_path / "teacher",
        student=tmp_path / "student" if from_checkpoint else None,
    )
    events: list[Event] = []
    run(config, paths, events.append)
    assert [event.step for event in events if isinstance(event, StepLogged)] == [1, 2]


def test_the_engine_refuses_what_the_api_refuses(rectangles: Path, tmp_path: Path):
    config = distill(recipe="deformable-detr-r50", teacher={"source": "ema"}, training={"ema_decay": 0.9})
    with pytest.raises(BackboneUntrained) as caught:
        run(config, RunPaths(dataset=rectangles, work=tmp_path), lambda _: None)
    assert caught.value.pointer == "/recipe"
