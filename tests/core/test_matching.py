from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from detrdistill.boxes import pairwise_iou_and_giou
from detrdistill.errors import Diverged
from detrdistill.matching import (
    Assignment,
    assign,
    box_cost,
    layer_pairs,
    overlaps,
    pad_targets,
    soft_bce_cost,
    supervising_layers,
)
from tests.support.factories import targets_of

LOGITS = torch.tensor([[[[0.0, 0.0], [2.0, -2.0]]]])
PROBABILITIES = torch.tensor([[[[0.9, 0.1], [0.2, 0.8]]]])
STUDENT = torch.tensor([[[[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.2]]]])
TEACHER = torch.tensor([[[[0.6, 0.5, 0.4, 0.4], [0.5, 0.5, 0.2, 0.2]]]])


def test_soft_bce_cost_sums_over_classes():
    wanted = torch.tensor([[1.386294, 1.386294], [0.653856, 3.453856]])
    torch.testing.assert_close(soft_bce_cost(LOGITS, PROBABILITIES)[0, 0], wanted, atol=1e-5, rtol=0)


def test_full_and_box_cost():
    """By hand: 5 L1 - 2 GIoU of each pair, and that with the class cost; either assigns the queries in order."""
    box = box_cost(STUDENT, TEACHER, l1=5, giou=2)
    torch.testing.assert_close(box[0, 0], torch.tensor([[-0.7, 1.5], [2.0, -2.0]]), atol=1e-5, rtol=0)
    full = soft_bce_cost(LOGITS, PROBABILITIES) + box
    wanted = torch.tensor([[0.686294, 2.886294], [2.653856, 1.453856]])
    torch.testing.assert_close(full[0, 0], wanted, atol=1e-5, rtol=0)
    assert assign(full, [2]).target_P.tolist() == [0, 1]
    assert assign(box, [2]).target_P.tolist() == [0, 1]


def test_class_cost_can_decide_the_match():
    """With it each query takes the other one's box, without it its own."""
    logits = torch.tensor([[[[4.0, -4.0], [-4.0, 4.0]]]])
    probabilities = torch.tensor([[[[0.05, 0.95], [0.95, 0.05]]]])
    boxes = torch.tensor([[[[0.3, 0.3, 0.2, 0.2], [0.34, 0.3, 0.2, 0.2]]]])
    box = box_cost(boxes, boxes, l1=5, giou=2)
    full = soft_bce_cost(logits, probabilities) + box
    wanted = torch.tensor([[5.6363, -0.697033], [-0.697033, 5.6363]])
    torch.testing.assert_close(full[0, 0], wanted, atol=1e-4, rtol=0)
    assert assign(full, [2]).target_P.tolist() == [1, 0]
    assert assign(box, [2]).target_P.tolist() == [0, 1]


@given(st.integers(1, 5), st.integers(0, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_assignment_is_the_cheapest_of_all(queries: int, targets: int, seed: int):
    cost = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 1, queries, targets)))
    pairs = assign(cost, [targets])
    found = float(cost[0, 0][pairs.query_P, pairs.target_P].sum())
    few, many = sorted((queries, targets))
    table = cost[0, 0].numpy() if queries <= targets else cost[0, 0].numpy().T
    best = min(sum(table[i, j] for i, j in enumerate(order)) for order in permutations(range(many), few))
    assert found == pytest.approx(best)
    assert len(pairs) == few


def test_all_layers_and_images_at_once_equal_one_at_a_time():
    rng = np.random.default_rng(0)
    sizes = [3, 0, 5, 1]
    cost = torch.from_numpy(rng.normal(size=(6, 4, 7, 5)).astype(np.float32))
    pairs = assign(cost, sizes)
    for layer in range(6):
        for image, size in enumerate(sizes):
            queries, targets = linear_sum_assignment(cost[layer, image, :, :size].numpy())
            mine = (pairs.layer_P == layer) & (pairs.image_P == image)
            assert pairs.query_P[mine].tolist() == queries.tolist()
            assert pairs.target_P[mine].tolist() == targets.tolist()


def test_a_thousand_problems_are_solved_as_scipy_solves_them():
    """4 layers of 250 images, up to 12 targets for 9 queries; columns beyond an image's own are cheap, and ignored."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(0, 13, size=250).tolist()
    cost = rng.normal(size=(4, 250, 9, 12)).astype(np.float32)
    for image, size in enumerate(sizes):
        cost[:, image, :, size:] = -100
    pairs = assign(torch.from_numpy(cost), sizes)
    wanted = [
        (layer, image, query, target)
        for layer in range(4)
        for image, size in enumerate(sizes)
        for query, target in zip(*linear_sum_assignment(cost[layer, image, :, :size]), strict=True)
    ]
    found = torch.stack([pairs.layer_P, pairs.image_P, pairs.query_P, pairs.target_P], dim=1)
    assert found.tolist() == [list(row) for row in wanted]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_cost_that_is_not_finite_never_reaches_scipy(value: float):
    cost = torch.zeros(1, 1, 2, 2)
    cost[0, 0, 0, 1] = value
    with pytest.raises(Diverged, match="not finite"):
        assign(cost, [2])


def test_indices_carry_no_gradient():
    cost = torch.rand(1, 1, 3, 2, requires_grad=True)
    assert not assign(cost, [2]).query_P.requires_grad


@pytest.mark.parametrize(
    ("teacher", "student", "pairs"),
    [
        (6, 3, [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]),
        (6, 2, [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (5, 1)]),
        (6, 6, [(layer, layer) for layer in range(6)]),
        (3, 6, [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 5)]),
    ],
)
def test_layers_are_paired_in_groups(teacher: int, student: int, pairs: list[tuple[int, int]]):
    assert layer_pairs(teacher, student) == pairs


@given(st.integers(1, 12), st.integers(1, 12))
def test_every_layer_takes_part_in_order_and_the_last_ones_meet(teacher: int, student: int):
    pairs = layer_pairs(teacher, student)
    assert {t for t, _ in pairs} == set(range(teacher)) or teacher < student
    assert {s for _, s in pairs} == set(range(student))
    assert pairs == sorted(pairs)
    assert pairs[-1] == (teacher - 1, student - 1)


@given(st.integers(1, 12), st.integers(1, 12))
def test_groups_of_layers_are_even_and_one_of_each_supervises(teacher: int, student: int):
    pairs = layer_pairs(teacher, student)
    for side in (0, 1):
        sizes = [[pair[side] for pair in pairs].count(layer) for layer in {pair[side] for pair in pairs}]
        assert max(sizes) - min(sizes) <= 1
    chosen = supervising_layers(teacher, student)
    assert len(chosen) == student
    assert chosen == sorted(chosen)
    assert chosen[-1] == teacher - 1
    assert set(zip(chosen, range(student), strict=True)) <= set(pairs)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_overlaps_equal_those_of_each_image_alone(sizes: list[int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    boxes = 0.1 + 0.8 * torch.rand(2, len(sizes), 5, 4, generator=generator)
    targets = [
        targets_of([0] * size, (0.1 + 0.8 * torch.rand(size, 4, generator=generator)).tolist()) for size in sizes
    ]
    iou, giou = overlaps(boxes, targets)
    for image, target in enumerate(targets):
        for layer in range(2):
            alone = pairwise_iou_and_giou(boxes[layer, image], target.boxes_N4)
            for together, own in zip((iou, giou), alone, strict=True):
                torch.testing.assert_close(together[layer, image, :, : sizes[image]], own)
        assert (iou[:, image, :, sizes[image] :] == 0).all()
        assert (giou[:, image, :, sizes[image] :] == -1).all()


def test_layers_of_an_assignment_can_be_selected_and_repeated():
    pairs = Assignment(*(torch.tensor(row) for row in ([0, 1, 1], [0, 0, 1], [4, 5, 6], [0, 1, 0])))
    chosen = pairs.select_layers([1, 1, 0])
    assert chosen.layer_P.tolist() == [0, 0, 1, 1, 2]
    assert chosen.query_P.tolist() == [5, 6, 5, 6, 4]


def test_targets_are_padded_to_the_longest():
    labels, boxes = pad_targets([targets_of([2], [[0.5, 0.5, 0.1, 0.1]]), targets_of([], [])])
    assert labels.tolist() == [[2], [0]]
    assert boxes.shape == (2, 1, 4)


def test_overlaps_are_with_the_targets_of_the_own_image():
    """IoU and GIoU 1/2; an image without targets has padding only, which nothing overlaps less."""
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2]], [[0.5, 0.5, 0.2, 0.2]]])[None]
    targets = [targets_of([0, 1], [[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.4]]), targets_of([], [])]
    iou, giou = overlaps(boxes, targets)
    assert iou.shape == (1, 2, 1, 3)
    assert iou[0, 0, 0].tolist() == pytest.approx([0.0, 0.5, 0.0])
    assert iou[0, 1, 0].tolist() == [0.0, 0.0, 0.0]
    assert giou[0, 0, 0, 1:].tolist() == pytest.approx([0.5, -1.0])
    assert -1 < giou[0, 0, 0, 0] < 0
    assert giou[0, 1, 0].tolist() == [-1.0, -1.0, -1.0]


def test_the_last_layer_of_a_group_supervises():
    assert supervising_layers(6, 3) == [1, 3, 5]
    assert supervising_layers(3, 6) == [0, 0, 1, 1, 2, 2]
