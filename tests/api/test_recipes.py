"""A recipe is a whole job, or the answer says what it needs."""

import pytest
from fastapi.testclient import TestClient

from detrdistill.schema.recipes import RECIPES
from tests.support.problems import assert_problem

pytestmark = pytest.mark.bad_input


@pytest.fixture
def submission(dataset_id: str, teacher_id: str) -> dict:
    return {"name": "by recipe", "dataset_id": dataset_id, "teacher_id": teacher_id}


def test_the_catalog_serves_a_source_for_every_value(client: TestClient):
    served = {recipe["name"]: recipe for recipe in client.get("/catalog").json()["recipes"]}
    assert served.keys() == RECIPES.keys()
    assert served["d-fine-s"]["config"]["training"]["lr"] == 2e-4
    assert served["d-fine-s"]["sources"]["/training/lr"] == (
        "Peterande/D-FINE 4a1f73a, configs/dfine/dfine_hgnetv2_s_coco.yml"
    )
    assert {name for name, recipe in served.items() if not recipe["needs_checkpoint"]} == {"rt-detr-v2-r18"}
    for recipe in served.values():
        for section in ("student", "data", "training"):
            assert {f"/{section}/{field}" for field in recipe["config"][section]} <= recipe["sources"].keys()


def test_the_recipe_of_the_readme_is_a_whole_job(client: TestClient, submission: dict):
    answer = client.post("/jobs", json=submission | {"config": {"kind": "distill", "recipe": "rt-detr-v2-r18"}})
    assert answer.status_code == 202, answer.text
    training = answer.json()["config"]["training"]
    assert (training["backbone_lr_factor"], training["freeze_batch_norm"], training["epochs"]) == (1, False, 120)


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.needs_checkpoint])
def test_a_recipe_that_needs_a_trained_backbone_says_so(client: TestClient, submission: dict, name: str):
    """Either remedy of the hint is taken."""
    config = {"kind": "distill", "recipe": name, "methods": [{"kind": "matched_logits"}]}
    problem = assert_problem(client.post("/jobs", json=submission | {"config": config}), 422, "/config/recipe")
    assert problem["code"] == "backbone_untrained"
    assert '"student": null' in problem["errors"][0]["hint"]
    from_nothing = {"backbone_lr_factor": 1, "freeze_batch_norm": False}
    answer = client.post("/jobs", json=submission | {"config": config | {"training": from_nothing}})
    assert answer.status_code == 202, answer.text
    from_checkpoint = {"config": config | {"student": None}, "student_id": submission["teacher_id"]}
    answer = client.post("/jobs", json=submission | from_checkpoint)
    assert answer.status_code == 202, answer.text


def test_an_architecture_beside_a_checkpoint_is_said_to_be_of_the_recipe(client: TestClient, submission: dict):
    request = submission | {
        "config": {"kind": "distill", "recipe": "rt-detr-r18"},
        "student_id": submission["teacher_id"],
    }
    problem = assert_problem(client.post("/jobs", json=request), 422, "/student_id")
    assert problem["code"] == "student_ambiguous"
    assert "Set config.student to null (a recipe fills it)" in problem["errors"][0]["hint"]


@pytest.mark.parametrize("kind", ["distill", "train"])
@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"freeze_batch_norm": True}, "freeze_batch_norm"),
        ({"backbone_lr_factor": 0}, "backbone_lr_factor"),
        ({"backbone_lr_factor": 0.99}, "backbone_lr_factor"),
    ],
)
def test_without_a_recipe_the_field_is_named(
    client: TestClient, submission: dict, kind: str, training: dict, field: str
):
    config = {"kind": kind, "student": {"family": "rt-detr-v2", "size": "pico"}, "training": training}
    request = submission | {"config": config} | ({"teacher_id": None} if kind == "train" else {})
    problem = assert_problem(client.post("/jobs", json=request), 422, f"/config/training/{field}")
    assert problem["code"] == "backbone_untrained"
