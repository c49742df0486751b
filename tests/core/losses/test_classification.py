import math

import pytest
import torch

from detrdistill.losses.classification import (
    binary_entropy,
    focal,
    iou_aware,
    matchability_aware,
    soft_binary_cross_entropy,
    varifocal,
)


def test_focal_loss_at_an_undecided_score():
    """By hand: alpha 0.25 of the right class and 0.75 of another, times 0.5^2 ln 2."""
    assert float(focal(torch.zeros(1), torch.ones(1))) == pytest.approx(0.043322, abs=1e-6)
    assert float(focal(torch.zeros(1), torch.zeros(1))) == pytest.approx(0.129965, abs=1e-6)


def test_varifocal_loss_by_hand():
    """Matched class: IoU 0.8 at score 0.5 costs 0.8 ln 2; another class costs 0.75 * 0.25 ln 2."""
    loss = varifocal(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8]]))
    assert float(loss) == pytest.approx((0.8 + 0.75 * 0.25) * math.log(2), abs=1e-6)


def test_matchability_aware_loss_by_hand():
    """Matched class weighs 1 whatever its quality; another class 0.5^1.5."""
    loss = matchability_aware(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.04]]))
    assert float(loss) == pytest.approx((1 + 0.5**1.5) * math.log(2), abs=1e-6)


def test_matchability_aware_loss_aims_at_the_power_of_the_quality():
    target = 0.64**1.5
    logits = torch.tensor([[math.log(target / (1 - target))]], requires_grad=True)
    matchability_aware(logits, torch.ones(1, 1), torch.tensor([[0.64]])).backward()
    assert logits.grad is not None
    assert float(logits.grad) == pytest.approx(0, abs=1e-6)


def test_iou_aware_loss_by_hand():
    """Matched class at p = 3/4 and IoU 0.8 aims at 0.75^0.25 0.8^0.75; another class at p = 1/2 costs ln 2 / 4."""
    aim = 0.75**0.25 * 0.8**0.75
    loss = iou_aware(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8]]))
    wanted = -aim * math.log(0.75) - (1 - aim) * math.log(0.25) + math.log(2) / 4
    assert float(loss) == pytest.approx(wanted, abs=1e-6)


def test_iou_aware_loss_never_aims_below_a_hundredth():
    loss = iou_aware(torch.zeros(1, 1), torch.ones(1, 1), torch.zeros(1, 1))
    assert float(loss) == pytest.approx(math.log(2), abs=1e-6)
    certain = iou_aware(torch.full((1, 1), -10.0), torch.ones(1, 1), torch.zeros(1, 1))
    assert float(certain) == pytest.approx(0.01 * 10, abs=1e-3)


def test_iou_aware_loss_is_finite_where_the_librarys_is_not():
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]], requires_grad=True)
    one_hot = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    iou_aware(logits, one_hot, torch.ones(2, 1)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_iou_aware_loss_pulls_the_weight_of_other_classes_down_too():
    """d/dx of p^2 softplus(x) at 0: p^3 + 2 p^2 (1 - p) ln 2."""
    logits = torch.zeros(1, 1, requires_grad=True)
    iou_aware(logits, torch.zeros(1, 1), torch.zeros(1, 1)).backward()
    assert logits.grad is not None
    assert float(logits.grad) == pytest.approx(0.125 + 0.25 * math.log(2), abs=1e-6)


def test_soft_cross_entropy_has_the_entropy_for_its_floor():
    logits = torch.tensor([[3.0, -3.0], [0.0, 1.0]])
    torch.testing.assert_close(
        soft_binary_cross_entropy(logits, logits.sigmoid()), binary_entropy(logits.sigmoid()), atol=1e-6, rtol=0
    )


def test_entropy_of_certain_scores_is_zero():
    assert binary_entropy(torch.tensor([[0.0, 1.0]])).tolist() == [0.0]
