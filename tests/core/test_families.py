"""Every family teaches itself: five steps with all components it supports, exported and loaded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForObjectDetection

from detrdistill.catalog import CATALOG, Family, FamilyName, size_of
from detrdistill.detectors.build import build_detector, make_trainable
from detrdistill.engine.run import run
from detrdistill.events import Event, StepLogged
from detrdistill.export import export_folder
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from tests.support.factories import SIDE, TINY, methods_in
from tests.support.rectangles import CLASSES, write_rectangles

STEPS = 5
LEFT_ALONE = {
    "table-transformer": ["model.decoder.layers.0.self_attn_layer_norm.weight"],
}
"""Weights without a gradient for a good reason: the queries of a Table Transformer start from zero, which its first
layer normalises."""


def methods_of(family: Family) -> list[dict[str, object]]:
    """All components, in the form the family supports."""
    source = "neck" if family.neck_is_query_wide else "memory"
    return [
        {"kind": "matched_logits", "variant": "official"},
        {"kind": "target_features", "variant": "official", "source": source},
        {"kind": "query_prior", "variant": "paper"},
        {"kind": "distillation_points", "variant": "paper", "general": 4},
    ]


def five_steps(name: FamilyName) -> DistillConfig:
    config = RUN_CONFIG.validate_python(
        {
            "kind": "distill",
            "student": {"family": name, "size": TINY[name], "queries": 8, "decoder_layers": 2},
            "teacher": {"min_ap": 0},
            "data": {"image_size": SIDE, "crop": False},
            "training": {"epochs": 1, "batch_size": 2, "lr": 1e-3, "warmup_steps": 0, "ema_decay": None},
            "methods": methods_of(CATALOG[name]),
        }
    )
    assert isinstance(config, DistillConfig)
    return config


@pytest.fixture(scope="module")
def ten_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rectangles(tmp_path_factory.mktemp("families") / "data", images={"train": 2 * STEPS, "val": 2})


@pytest.mark.export
@pytest.mark.parametrize("name", list(CATALOG))
def test_a_family_teaches_itself(name: FamilyName, ten_images: Path, tmp_path: Path):
    size = replace(size_of(name, TINY[name]), queries=12)
    (tmp_path / "teacher").mkdir()
    export_folder(build_detector(name, size, CLASSES, SIDE, seed=7), tmp_path / "teacher", (3, 8))
    events: list[Event] = []
    config = five_steps(name)
    run(config, RunPaths(dataset=ten_images, work=tmp_path / "work", teacher=tmp_path / "teacher"), events.append)

    steps = [event for event in events if isinstance(event, StepLogged)]
    assert [event.step for event in steps] == list(range(1, STEPS + 1))
    for method in methods_in(config):
        assert any(term.startswith(f"{method.kind}.") for term in steps[-1].losses), method.kind
    assert all(torch.tensor(list(event.losses.values())).isfinite().all() for event in steps)

    folder = tmp_path / "work" / "student"
    loaded, report = AutoModelForObjectDetection.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert config.student is not None
    student = build_detector(name, config.student.resolve(), CLASSES, SIDE, config.training.seed)
    make_trainable(student)
    card = (folder / "README.md").read_text()
    assert ("import detrdistill.detectors" in card) == (not CATALOG[name].in_library)
    trained = loaded.state_dict()
    trainable = {name: weight for name, weight in student.model.named_parameters() if weight.requires_grad}
    unmoved = [key for key, weight in trainable.items() if torch.equal(weight, trained[key])]
    assert unmoved == LEFT_ALONE.get(name, []), "no gradient has reached these"
