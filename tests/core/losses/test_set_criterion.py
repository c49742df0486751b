from dataclasses import replace

import pytest
import torch

from detrdistill.matching import Assignment
from detrdistill.outputs import Denoising, Prediction
from tests.support.factories import criterion_of, output_of, targets_of

BOX = [0.5, 0.5, 0.2, 0.2]
OTHER = [0.1, 0.1, 0.1, 0.1]


def test_terms_of_one_matched_query_by_hand():
    """Query 1 predicts the box exactly at an undecided score: focal 0.043322 + 3 x 0.129965, boxes 0."""
    output = output_of([[0.0, 0.0], [0.0, 0.0]], [OTHER, BOX])
    terms = criterion_of()(output, [targets_of([1], [BOX])])
    assert float(terms["detection.classification"]) == pytest.approx(0.043322 + 3 * 0.129965, abs=1e-5)
    assert float(terms["detection.l1"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["detection.giou"]) == pytest.approx(0, abs=1e-6)


def test_layers_are_matched_apart_and_summed():
    one = output_of([[0.0], [0.0]], [BOX, OTHER])
    two = output_of([[[0.0], [0.0]], [[0.0], [0.0]]], [[BOX, OTHER], [OTHER, BOX]])
    targets = [targets_of([0], [BOX])]
    first, both = criterion_of()(one, targets), criterion_of()(two, targets)
    for name, value in first.items():
        torch.testing.assert_close(both[name], 2 * value)


def test_terms_are_divided_by_the_number_of_targets():
    output = output_of([[0.0], [0.0]], [OTHER, OTHER])
    terms = criterion_of()(output, [targets_of([0, 0], [BOX, BOX])])
    assert float(terms["detection.l1"]) == pytest.approx(0.4 + 0.4 + 0.1 + 0.1, abs=1e-6)


@pytest.mark.parametrize("classification", ["focal", "varifocal", "mal", "ia_bce"])
def test_empty_images_and_more_targets_than_queries(classification: str):
    """Their loss is finite and can be differentiated."""
    logits = torch.zeros(2, 3, 4, 2, requires_grad=True)
    boxes = torch.rand(2, 3, 4, 4).mul(0.3).add(0.2).requires_grad_()
    crowded = targets_of([0] * 6, [BOX] * 6)
    output = output_of(logits, boxes)
    for targets in ([targets_of([], [])] * 3, [targets_of([], []), crowded, targets_of([1], [BOX])]):
        terms = criterion_of(classification)(output, targets)
        total = torch.stack(list(terms.values())).sum()
        assert torch.isfinite(total)
        total.backward(retain_graph=True)


def test_queries_may_be_permuted():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 5, 3, generator=generator)
    boxes = torch.rand(2, 2, 5, 4, generator=generator) * 0.4 + 0.1
    targets = [targets_of([0, 2], [BOX, OTHER]), targets_of([1], [OTHER])]
    order = torch.tensor([3, 1, 4, 0, 2])
    terms = criterion_of()(output_of(logits, boxes), targets)
    permuted = criterion_of()(output_of(logits[:, :, order], boxes[:, :, order]), targets)
    for name, value in terms.items():
        torch.testing.assert_close(permuted[name], value)


def test_denoising_pairs_are_given_not_matched_and_divided_by_their_groups():
    """Two groups of one positive each: the same loss as one group alone."""
    output = output_of([[0.0]], [BOX])
    noised = Denoising(
        logits_LBQC=torch.zeros(1, 1, 2, 1),
        boxes_LBQ4=torch.tensor([[[OTHER, OTHER]]]),
        image_P=torch.tensor([0, 0]),
        query_P=torch.tensor([0, 1]),
        target_P=torch.tensor([0, 0]),
        group_count=2,
    )
    terms = criterion_of()(replace(output, denoising=noised), [targets_of([0], [BOX])])
    assert float(terms["denoising.l1"]) == pytest.approx(0.4 + 0.4 + 0.1 + 0.1, abs=1e-6)
    assert float(terms["denoising.classification"]) == pytest.approx(0.043322, abs=1e-5)


def test_copies_are_matched_by_themselves_and_averaged():
    """One target, predicted exactly by another query of each: had they to share it, one would miss."""
    first = output_of([[0.0], [0.0]], [BOX, OTHER])
    copy = output_of([[0.0], [0.0]], [OTHER, BOX])
    targets = [targets_of([0], [BOX])]
    proposals = Prediction(torch.zeros(1, 1, 1), torch.tensor([[OTHER]]))
    alone = criterion_of()(replace(first, proposals=proposals), targets)
    both = replace(first, proposals=proposals, query_groups=(replace(copy, proposals=proposals),))
    terms = criterion_of()(both, targets)
    assert float(terms["detection.l1"]) == pytest.approx(0, abs=1e-6)
    for name, value in alone.items():
        torch.testing.assert_close(terms[name], value)
    astray = replace(copy, boxes_LBQ4=torch.tensor([[[OTHER, OTHER]]]), proposals=proposals)
    half = criterion_of()(replace(both, query_groups=(astray,)), targets)
    assert float(half["detection.l1"]) == pytest.approx((0.4 + 0.4 + 0.1 + 0.1) / 2, abs=1e-6)


def test_class_agnostic_proposals_ignore_classes():
    output = output_of([[0.0, 0.0]], [BOX])
    proposals = Prediction(torch.zeros(1, 1, 2), torch.tensor([[BOX]]), class_agnostic=True)
    terms = criterion_of()(replace(output, proposals=proposals), [targets_of([1], [BOX])])
    assert float(terms["proposal.classification"]) == pytest.approx(0.043322, abs=1e-5)


def test_unmatched_queries_give_no_box_loss():
    criterion = criterion_of()
    logits, boxes = torch.zeros(1, 1, 3, 2), torch.tensor([[[BOX, OTHER, OTHER]]]).requires_grad_()
    pairs = Assignment(*(torch.tensor([index]) for index in (0, 0, 0, 0)))
    losses = criterion.losses(logits, boxes, pairs, [targets_of([0], [OTHER])])
    (losses["l1"] + losses["giou"]).backward()
    assert boxes.grad is not None
    assert boxes.grad[0, 0, 1:].abs().sum() == 0
    assert boxes.grad[0, 0, 0].abs().sum() > 0
