import math

import pytest
import torch

from detrdistill.losses.classification import (
    binary_entropy,
    focal,
    matchability_aware,
    soft_binary_cross_entropy,
    varifocal,
)


def test_focal_loss_at_an_undecided_score():
    """T27."""
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


def test_soft_cross_entropy_has_the_entropy_for_its_floor():
    logits = torch.tensor([[3.0, -3.0], [0.0, 1.0]])
    torch.testing.assert_close(
        soft_binary_cross_entropy(logits, logits.sigmoid()), binary_entropy(logits.sigmoid()), atol=1e-6, rtol=0
    )


def test_entropy_of_certain_scores_is_zero():
    assert binary_entropy(torch.tensor([[0.0, 1.0]])).tolist() == [0.0]
