import math

import pytest
import torch

from detrdistill.losses.contrastive import ContrastiveHead, info_nce


def test_identical_orthonormal_pairs_and_equal_embeddings():
    """At the weight of 0.2: identical pairs cost nothing, equal embeddings the logarithm of the number of pairs."""
    pairs = torch.eye(2)
    assert 0.2 * float(info_nce(pairs, pairs, 0.07)) == pytest.approx(1.2e-7, abs=1e-7)
    equal = torch.ones(2, 2)
    assert 0.2 * float(info_nce(equal, equal, 0.07)) == pytest.approx(0.2 * math.log(2), abs=1e-6)


def test_no_pairs_cost_nothing():
    assert float(info_nce(torch.zeros(0, 4), torch.zeros(0, 4), 0.07)) == 0


def test_the_head_projects_unequal_widths_and_learns_on_both_sides():
    head = ContrastiveHead(6, 4, 0.07)
    head(torch.randn(5, 6), torch.randn(5, 4)).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())
