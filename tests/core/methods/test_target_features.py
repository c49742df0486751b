from dataclasses import replace

import pytest
import torch

from detrdistill.errors import ConfigError
from detrdistill.methods.target_features import cosine_mask
from tests.support.factories import criterion_of, inputs_of, method_of, output_of, shape_like, targets_of

FEATURE = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])
"""Two channels, one row of two pixels: (3, 4) and (0, 2)."""
ZERO = torch.zeros_like(FEATURE)
NOTHING = [targets_of([], [])]


def teacher_of(queries: list[list[float]], scores: list[float], **overrides):
    """Queries with given embeddings and scores, on an image without ground truth: quality equals score."""
    logits = torch.logit(torch.tensor(scores))[:, None]
    boxes = torch.full((len(queries), 4), 0.5)
    return output_of(logits, boxes, hidden=torch.tensor([queries]), neck=(FEATURE,), **overrides)


def method_for(*shapes, **kwargs):
    fields = {"weight": 1.0, "source": "neck", "mask_padding": False} | kwargs
    return method_of("target_features", *shapes, **fields)


def loss_of(teacher, student_feature=ZERO, targets=NOTHING, **kwargs) -> float:
    student = output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), neck=(student_feature,))
    method = method_for(shape_like(teacher), shape_like(student), **kwargs)
    return float(method(inputs_of(student, teacher, targets))["target_features.features"])


PAPER = {"mask": "dot_product", "queries": None, "gamma": 1.0}


def test_one_query_in_both_variants():
    """By hand: the cosine mask as released, and the squared dot product of Eq. 9."""
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    mask = cosine_mask(FEATURE, torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.5]]), 0.01)
    assert mask.flatten().tolist() == pytest.approx([1.0, 0.033333], abs=1e-5)
    assert loss_of(teacher) == pytest.approx(6.251111, abs=1e-4)
    assert loss_of(teacher, **PAPER) == pytest.approx(28.125, abs=1e-4)


def test_two_queries_sum_before_or_after_squaring():
    """As released the masks of the queries are summed and then squared; by Eq. 9 each is squared first."""
    teacher = teacher_of([[1.0, 0.0], [0.0, 1.0]], [0.8, 0.2])
    mask = cosine_mask(FEATURE, torch.eye(2)[None], torch.tensor([[0.8, 0.2]]), 0.01)
    assert mask.flatten().tolist() == pytest.approx([1.0, 0.3125], abs=1e-5)
    assert loss_of(teacher) == pytest.approx(6.347656, abs=1e-4)
    assert loss_of(teacher, **PAPER) == pytest.approx(32.9, abs=1e-4)


def test_a_mask_without_any_response_is_one_everywhere():
    """It is plain feature imitation then."""
    mask = cosine_mask(FEATURE, -torch.eye(2)[None], torch.tensor([[0.3, 0.3]]), 0.01)
    assert mask.flatten().tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("gamma", "has_target", "quality"),
    [(0.5, True, 0.72), (None, True, 0.5184), (1.0, True, 0.64), (0.0, True, 0.81), (0.5, False, 0.64)],
)
def test_quality_of_a_query(gamma: float | None, has_target: bool, quality: float):
    """Score 0.64 and IoU 0.81 (a box of 0.81 of the target's width)."""
    logits = torch.logit(torch.tensor([[0.64]]))
    teacher = output_of(logits, [[0.5, 0.5, 0.81 * 0.4, 0.4]], hidden=torch.ones(1, 1, 2), neck=(FEATURE,))
    method = method_for(shape_like(teacher), shape_like(teacher), gamma=gamma)
    targets = [targets_of([0], [[0.5, 0.5, 0.4, 0.4]]) if has_target else targets_of([], [])]
    inputs = inputs_of(teacher, teacher, targets)
    assert float(method._rated_queries(inputs, 0)[1]) == pytest.approx(quality, abs=1e-5)


def test_queries_are_picked_by_query_and_class():
    """Query 0 is taken twice, unless queries are to differ."""
    logits = torch.logit(torch.tensor([[0.9, 0.8], [0.7, 0.1]]))
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    teacher = output_of(logits, torch.full((2, 4), 0.5), hidden=hidden, neck=(FEATURE,))
    inputs = inputs_of(teacher, teacher, NOTHING)
    method = method_for(shape_like(teacher), shape_like(teacher), queries=2)
    queries, quality = method._rated_queries(inputs, 0)
    assert queries[0].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert quality[0].tolist() == pytest.approx([0.9, 0.8], abs=1e-5)
    for kwargs in ({"queries": 2, "dedupe": True}, {"queries": None}):
        every = method_for(shape_like(teacher), shape_like(teacher), **kwargs)
        queries, quality = every._rated_queries(inputs, 0)
        assert queries[0].tolist() == hidden[0].tolist()
        assert quality[0].tolist() == pytest.approx([0.9, 0.7], abs=1e-5)


@pytest.mark.parametrize(
    ("quality_iou", "wanted"),
    # query 0 has class 0, query 1 class 1; both lie on the first target, of class 1; query 2 lies on the second
    [("max_any", [0.9, 0.8 / 2, 0.7]), ("same_class", [0.0, 0.8 / 2, 0.7]), ("matched", [0.9, 0.0, 0.7])],
)
def test_ground_truth_that_a_query_is_rated_by(quality_iou: str, wanted: list[float]):
    """Query 1's box is half the target, so that the target is matched to query 0."""
    boxes = [[0.3, 0.3, 0.2, 0.2], [0.3, 0.3, 0.2, 0.1], [0.8, 0.8, 0.2, 0.2]]
    logits = torch.logit(torch.tensor([[0.9, 0.1], [0.1, 0.8], [0.7, 0.1]]))
    teacher = output_of(logits, boxes, hidden=torch.ones(1, 3, 2), neck=(FEATURE,))
    method = method_for(shape_like(teacher), shape_like(teacher), queries=3, quality_iou=quality_iou)
    targets = [targets_of([1, 0], [[0.3, 0.3, 0.2, 0.2], [0.8, 0.8, 0.2, 0.2]])]
    criterion = criterion_of(class_cost=0.0)
    quality = method._rated_queries(inputs_of(teacher, teacher, targets, criterion=criterion), 0)[1]
    assert quality[0].tolist() == pytest.approx(wanted, abs=1e-5)


def test_equal_features_cost_nothing():
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    for kwargs in ({}, PAPER):
        assert loss_of(teacher, FEATURE, **kwargs) == 0


def test_every_teacher_layer_adds_a_mask_unless_only_the_last_is_wanted():
    hidden = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    teacher = output_of(torch.zeros(2, 1, 1), torch.full((2, 1, 4), 0.5), hidden=hidden, neck=(FEATURE,))
    assert loss_of(teacher) == pytest.approx(2 * 6.251111, abs=1e-4)
    assert loss_of(teacher, layers="last") == pytest.approx(6.251111, abs=1e-4)


def padded(feature: torch.Tensor, value: float) -> torch.Tensor:
    """One more row and column of cells."""
    return torch.nn.functional.pad(feature, (0, 1, 0, 1), value=value)


@pytest.mark.parametrize("variant", [{}, PAPER])
def test_padding_has_no_influence_on_mask_maximum_and_mean(variant: dict[str, object]):
    """Cells of 2 pixels; what stands in the padding is the strongest response and the largest error."""
    real = torch.zeros(1, 4, 6, dtype=torch.bool)
    real[:, :2, :4] = True
    plain = teacher_of([[1.0, 0.0]], [0.5])
    teacher = replace(plain, neck=(padded(FEATURE, 9.0),), pixel_mask_BHW=real)
    student = output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), neck=(padded(ZERO, -7.0),))

    def loss(mask_padding: bool) -> float:
        shapes = (shape_like(teacher, height=4), shape_like(student, height=4))
        method = method_for(*shapes, mask_padding=mask_padding, **variant)
        return float(method(inputs_of(student, teacher, NOTHING))["target_features.features"])

    assert loss(mask_padding=True) == pytest.approx(loss_of(plain, **variant), abs=1e-4)
    assert abs(loss(mask_padding=False) - loss_of(plain, **variant)) > 1


def test_without_padding_there_is_nothing_to_mask():
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    assert loss_of(teacher, mask_padding=True) == loss_of(teacher)


def test_a_mask_needs_features_as_wide_as_the_queries():
    wide = output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), hidden=torch.zeros(1, 1, 5), neck=(FEATURE,))
    with pytest.raises(ConfigError, match="no mask can be computed"):
        method_for(shape_like(wide), shape_like(wide))
