"""Weights that follow a method's share of the gradient."""

from typing import get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from detrdistill.engine.gradient_share import Part, backward, updated_weight
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import ScheduledMethod, StepPosition, TeacherSupervision
from detrdistill.schema.run import MethodConfig
from detrdistill.schema.weighting import GradientShareConfig, ScheduleConfig
from tests.core.engine.test_step import BATCH, methods_config, step_of
from tests.support.factories import tiny_detector


@pytest.mark.parametrize(
    ("share", "weight"),
    [
        (0.05, 2 * 2.348315),  # (0.11 x 0.95) / (0.05 x 0.89)
        (0.11 / 0.78, 2 * 0.752809),  # (0.11 x 0.858974) / (0.141026 x 0.89) = 67/89
        (0.105, 2),  # within the tolerance
        (0.115, 2),
        (0.001, 20),  # 123 times, limited
        (0.9, 0.2),  # a 73rd, limited
        (1.0, 0.2),
        (0.0, 2),  # nothing to learn in this batch
    ],
)
def test_updates_by_hand(share: float, weight: float):
    assert updated_weight(2.0, share, GradientShareConfig(target=0.11, tolerance=0.01)) == pytest.approx(
        weight, rel=1e-5
    )


def test_shares_by_hand():
    """Gradients (3, 4) for half of the part, as its schedule has it, and (0, 5) for the rest; (6, 8) in full."""
    weight, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(1))
    part = Part((torch.tensor([6.0, 8.0]) * weight).sum(), factor=0.5)
    total = 0.5 * part.loss + 5 * weight[1] + 0 * other.sum()
    assert backward(total, [part], [weight, other]) == pytest.approx([10 / (10 + 5)])
    assert weight.grad is not None
    assert weight.grad.tolist() == [3, 9]


def test_without_parts_it_is_the_backward_pass_alone():
    weight = nn.Parameter(torch.ones(2))
    assert backward((weight**2).sum(), [], [weight]) == []
    assert weight.grad is not None
    assert weight.grad.tolist() == [2, 2]


def share_of(scheduled: ScheduledMethod, step: LossStep, position: StepPosition) -> float:
    """Worked out from gradients of two whole steps: with the lesson, and with all but it."""

    def gradient(*scheduled_methods: ScheduledMethod) -> torch.Tensor:
        supervision = TeacherSupervision(step.supervisions[0].teacher, scheduled_methods)
        total = LossStep(step.detector, step.criterion, [supervision], step.transforms, None, step.device)(
            BATCH, position
        ).total
        weights = [weight for weight in step.detector.parameters() if weight.requires_grad]
        found = torch.autograd.grad(total, weights, allow_unused=True)
        return torch.cat(
            [
                torch.zeros_like(weight).flatten() if part is None else part.flatten()
                for part, weight in zip(found, weights, strict=True)
            ]
        )

    scheduled_methods = step.supervisions[0].methods
    rest = gradient(*(other for other in scheduled_methods if other is not scheduled))
    own = (gradient(*scheduled_methods) - rest).norm() / scheduled.factor(position)
    return float(own / (own + rest.norm()))


def test_two_methods_reach_their_shares_within_a_few_updates():
    """The second is at half of its rise; its share counts as at full weight."""
    student, teacher = tiny_detector("deformable-detr", queries=8), tiny_detector("rt-detr-v2", queries=12, seed=1)
    step = step_of(student, teacher, methods_config("recommended"))
    student.eval()  # the same loss every time
    logits, features, _ = step.supervisions[0].methods
    scheduled_methods = [
        ScheduledMethod(logits.method, gradient_share=GradientShareConfig(target=0.3, every=2)),
        ScheduledMethod(features.method, ScheduleConfig(warmup=1.0), GradientShareConfig(target=0.1, every=2)),
    ]
    supervision = TeacherSupervision(step.supervisions[0].teacher, scheduled_methods)
    step = LossStep(student, step.criterion, [supervision], step.transforms, None, step.device)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    half = StepPosition(0, total_steps=1)
    assert step(BATCH, StepPosition(1, total_steps=3)).measured == {}, "an odd step"
    for _ in range(5):
        losses = step(BATCH, half)
        shares = backward(losses.total, list(losses.measured.values()), weights)
        assert shares == pytest.approx([share_of(scheduled, step, half) for scheduled in scheduled_methods], abs=1e-4)
        for scheduled, share in zip(losses.measured, shares, strict=True):
            scheduled.adapt(share)
        student.zero_grad(set_to_none=True)
    assert share_of(scheduled_methods[0], step, half) == pytest.approx(0.3, abs=0.02)
    assert share_of(scheduled_methods[1], step, half) == pytest.approx(0.1, abs=0.02)
    losses = step(BATCH, half)
    by_hand = sum(losses.weights[name] * float(term) for name, term in losses.terms.items())
    assert float(losses.total.detach()) == pytest.approx(by_hand, rel=1e-5)
    configured = features.method.weights()["target_features.features"]
    assert losses.weights["target_features.features"] == pytest.approx(0.5 * scheduled_methods[1].adapted * configured)


def test_every_method_may_have_one_and_none_has_by_default():
    for config in get_args(get_args(MethodConfig)[0]):
        assert config().gradient_share is None
        assert config(gradient_share={"target": 0.2}).gradient_share == GradientShareConfig(target=0.2)


@pytest.mark.parametrize("wrong", [{"target": 0}, {"target": 1}, {"every": 0}, {"tolerance": -0.1}])
def test_impossible_shares_are_refused(wrong: dict[str, float]):
    with pytest.raises(ValidationError):
        GradientShareConfig.model_validate(wrong)
