"""All methods together, and those beyond DETRDistill, in whole steps of every family."""

from dataclasses import replace

import pytest
import torch

from detrdistill.catalog import CATALOG
from detrdistill.errors import Diverged
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from tests.core.engine.test_step import BATCH, HALFWAY, methods_of, step_of
from tests.support.factories import TINY, targets_of, tiny_detector


def config_of(*methods: dict[str, object]) -> DistillConfig:
    config = RUN_CONFIG.validate_python({"kind": "distill", "methods": methods})
    assert isinstance(config, DistillConfig)
    return config


POINTS = {"kind": "distillation_points", "variant": "paper", "general": 6}
EVERY_METHOD = (
    {"kind": "matched_logits", "variant": "official", "selection": "near_targets"},
    {"kind": "target_features", "source": "memory", "quality_iou": "matched"},
    {"kind": "query_prior", "variant": "paper"},
    POINTS,
    {"kind": "feature_maps", "form": "mgd", "source": "memory"},
    {"kind": "foreground_memory"},
)


@pytest.mark.parametrize("family", sorted(TINY))
@pytest.mark.parametrize("group", ["concat", "second_decoder_pass"])
def test_teacher_as_student_gives_the_same_answer_to_every_point(family: str, group: str):
    """Drawn queries too: both are given the same ones, in the same company."""
    student, teacher = tiny_detector(family), tiny_detector(family)
    step = step_of(student, teacher, config_of(POINTS | {"group": group, "layers": "paired"}))
    student.eval()
    terms = {
        name: float(value) for name, value in step(BATCH, HALFWAY).terms.items() if name.startswith("distillation")
    }
    assert len(terms) == 3
    assert terms == pytest.approx(dict.fromkeys(terms, 0), abs=1e-5)


@pytest.mark.parametrize(
    "methods",
    [
        [POINTS],
        [{"kind": "feature_maps", "source": "memory"}, {"kind": "foreground_memory"}],
        [{"kind": "feature_maps", "form": "mgd", "source": "memory"}],
        [{"kind": "matched_logits", "selection": "near_targets", "contrastive_weight": 0, "normaliser": "targets"}],
    ],
    ids=["points", "features", "masked features", "near targets"],
)
@pytest.mark.parametrize("family", sorted(TINY))
def test_gradients_reach_the_student_and_the_projections_only(family: str, methods: list[dict[str, object]]):
    """With a teacher of another family and width; softmax scores are taught by their own family."""
    student = tiny_detector(family, queries=8)
    other = "deimv2" if family == "rt-detr-v2" else "rt-detr-v2"
    taught_by = family if CATALOG[student.family].scores == "softmax" else other
    teacher = tiny_detector(taught_by, queries=12, layers=3, seed=1)
    step = step_of(student, teacher, config_of(*methods))
    losses = step(BATCH, HALFWAY)
    losses.total.backward()
    assert all(torch.isfinite(term) for term in losses.terms.values())
    for method in methods_of(step):
        assert any(name.startswith(method.name) and float(term) > 0 for name, term in losses.terms.items())
        for name, weight in method.named_parameters():
            assert weight.grad is not None, f"{method.name}.{name}"
    assert all(weight.grad is not None for weight in student.parameters() if weight.requires_grad)
    assert all(weight.grad is None and not weight.requires_grad for weight in teacher.parameters())


def test_an_empty_image_and_one_with_more_targets_than_queries():
    """Loss and gradients of all methods together are finite."""
    boxes = [[0.1 * column, 0.1 * row, 0.1, 0.1] for row in range(1, 9) for column in range(1, 9)]
    batch = replace(BATCH, targets=(targets_of([index % 3 for index in range(64)], boxes), targets_of([], [])))
    student, teacher = tiny_detector("rt-detr-v2", queries=8), tiny_detector("rt-detr-v2", queries=12, seed=1)
    losses = step_of(student, teacher, config_of(*EVERY_METHOD))(batch, HALFWAY)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert all(weight.grad.isfinite().all() for weight in student.parameters() if weight.grad is not None)


@pytest.mark.parametrize("family", sorted(TINY))
def test_losses_are_float32_under_autocast(family: str):
    """Forward passes are in bfloat16, no term is."""
    student, teacher = tiny_detector(family, queries=8), tiny_detector(family, queries=12, seed=1)
    step = step_of(student, teacher, config_of(*EVERY_METHOD))
    step.autocast = torch.bfloat16
    losses = step(BATCH, HALFWAY)
    losses.total.backward()
    assert losses.total.dtype is torch.float32
    assert all(term.dtype is torch.float32 and torch.isfinite(term) for term in losses.terms.values())


def test_a_student_that_predicts_infinity_is_noticed_before_the_assignment():
    student, teacher = tiny_detector("rt-detr-v2", queries=8), tiny_detector("rt-detr-v2", queries=12, seed=1)
    step = step_of(student, teacher, config_of(*EVERY_METHOD))
    with torch.no_grad():
        student.model.model.decoder.class_embed[-1].bias.fill_(float("inf"))
    with pytest.raises(Diverged, match="matching cost is not finite"):
        step(BATCH, HALFWAY)
