import pytest
from pydantic import ValidationError

from detrdistill.config import RUN_CONFIG, DistillConfig, TrainConfig
from detrdistill.recipes import RECIPES, RecipeName, with_recipe


def distill(**fields) -> DistillConfig:
    config = RUN_CONFIG.validate_python({"kind": "distill"} | fields)
    assert isinstance(config, DistillConfig)
    return config


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_is_a_valid_configuration(name: RecipeName):
    config = distill(recipe=name)
    assert config.recipe == name
    assert config.student is not None
    assert [method.kind for method in config.methods] == ["matched_logits", "target_features", "query_prior"]


def test_given_fields_come_before_those_of_the_recipe():
    config = distill(recipe="deformable-detr-r50", training={"epochs": 12}, methods=[{"kind": "query_prior"}])
    assert (config.training.epochs, config.training.lr, config.training.backbone_lr_factor) == (12, 2e-4, 0.1)
    assert [method.kind for method in config.methods] == ["query_prior"]


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
    with pytest.raises(ValidationError, match="rt-detr-v2-r18"):
        distill(recipe="yolo")


def test_lists_are_replaced_and_objects_merged():
    filled = with_recipe({"recipe": "adamixer-r50", "training": {"drops": [0.5]}})
    assert filled["training"]["drops"] == [0.5]
    assert filled["training"]["clip_norm"] == 1.0
    assert RECIPES["adamixer-r50"].config["training"]["drops"] == [8 / 12, 11 / 12], "the recipe itself stays"
