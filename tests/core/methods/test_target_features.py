import pytest
import torch

from detrdistill.errors import ConfigError
from detrdistill.methods.target_features import TargetFeatures, best_iou, cosine_mask
from tests.support.factories import output_of, shape_like, signals_of, targets_of

FEATURE = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])
"""Two channels, one row of two pixels: (3, 4) and (0, 2)."""
ZERO = torch.zeros_like(FEATURE)
NOTHING = [targets_of([], [])]


def teacher_of(queries: list[list[float]], scores: list[float], **overrides):
    """Queries with given embeddings and scores, on an image without ground truth: quality equals score."""
    logits = torch.logit(torch.tensor(scores))[:, None]
    boxes = torch.full((len(queries), 4), 0.5)
    return output_of(logits, boxes, hidden=torch.tensor([queries]), neck=(FEATURE,), **overrides)


def loss_of(teacher, student_feature=ZERO, targets=NOTHING, **knobs) -> float:
    student = output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), neck=(student_feature,))
    method = TargetFeatures(shape_like(teacher), shape_like(student), **knobs)
    return float(method(signals_of(student, teacher, targets))["target_features.features"])


PAPER = {"mask": "dot_product", "queries": None, "gamma": 1.0}


def test_one_query_in_both_variants():
    """T6."""
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    mask = cosine_mask(FEATURE, torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.5]]), 0.01)
    assert mask.flatten().tolist() == pytest.approx([1.0, 0.033333], abs=1e-5)
    assert loss_of(teacher) == pytest.approx(6.251111, abs=1e-4)
    assert loss_of(teacher, **PAPER) == pytest.approx(28.125, abs=1e-4)


def test_two_queries_sum_before_or_after_squaring():
    """T7."""
    teacher = teacher_of([[1.0, 0.0], [0.0, 1.0]], [0.8, 0.2])
    mask = cosine_mask(FEATURE, torch.eye(2)[None], torch.tensor([[0.8, 0.2]]), 0.01)
    assert mask.flatten().tolist() == pytest.approx([1.0, 0.3125], abs=1e-5)
    assert loss_of(teacher) == pytest.approx(6.347656, abs=1e-4)
    assert loss_of(teacher, **PAPER) == pytest.approx(32.9, abs=1e-4)


def test_a_mask_without_any_response_is_one_everywhere():
    """T7b: plain feature imitation."""
    mask = cosine_mask(FEATURE, -torch.eye(2)[None], torch.tensor([[0.3, 0.3]]), 0.01)
    assert mask.flatten().tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("gamma", "has_target", "quality"),
    [(0.5, True, 0.72), (None, True, 0.5184), (1.0, True, 0.64), (0.0, True, 0.81), (0.5, False, 0.64)],
)
def test_quality_of_a_query(gamma: float | None, has_target: bool, quality: float):
    """T8: score 0.64 and IoU 0.81 (a box of 0.81 of the target's width)."""
    logits = torch.logit(torch.tensor([[0.64]]))
    teacher = output_of(logits, [[0.5, 0.5, 0.81 * 0.4, 0.4]], hidden=torch.ones(1, 1, 2), neck=(FEATURE,))
    method = TargetFeatures(shape_like(teacher), shape_like(teacher), gamma=gamma)
    targets = [targets_of([0], [[0.5, 0.5, 0.4, 0.4]]) if has_target else targets_of([], [])]
    assert float(method._rated_queries(teacher, 0, targets)[1]) == pytest.approx(quality, abs=1e-5)


def test_queries_are_picked_by_query_and_class():
    """T9: query 0 is taken twice."""
    logits = torch.logit(torch.tensor([[0.9, 0.8], [0.7, 0.1]]))
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    teacher = output_of(logits, torch.full((2, 4), 0.5), hidden=hidden, neck=(FEATURE,))
    method = TargetFeatures(shape_like(teacher), shape_like(teacher), queries=2)
    queries, quality = method._rated_queries(teacher, 0, NOTHING)
    assert queries[0].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert quality[0].tolist() == pytest.approx([0.9, 0.8], abs=1e-5)
    every = TargetFeatures(shape_like(teacher), shape_like(teacher), queries=None)
    assert every._rated_queries(teacher, 0, NOTHING)[0][0].tolist() == hidden[0].tolist()


def test_equal_features_cost_nothing():
    """T21."""
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    for knobs in ({}, PAPER, {"mask": "none"}):
        assert loss_of(teacher, FEATURE, **knobs) == 0


def test_without_a_mask_it_is_fitnet():
    assert loss_of(teacher_of([[1.0, 0.0]], [0.5]), mask="none") == pytest.approx((9 + 16 + 4) / 4)


def test_every_teacher_layer_adds_a_mask_unless_only_the_last_is_wanted():
    hidden = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    teacher = output_of(torch.zeros(2, 1, 1), torch.full((2, 1, 4), 0.5), hidden=hidden, neck=(FEATURE,))
    assert loss_of(teacher) == pytest.approx(2 * 6.251111, abs=1e-4)
    assert loss_of(teacher, layers="last") == pytest.approx(6.251111, abs=1e-4)


def test_unequal_widths_and_sizes_are_projected_and_resized():
    """T18: the projection learns, and so does the student."""
    feature = torch.randn(1, 3, 2, 4, requires_grad=True)
    student = output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), neck=(feature,))
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    method = TargetFeatures(shape_like(teacher, height=2), shape_like(student, height=4))
    method(signals_of(student, teacher, NOTHING))["target_features.features"].backward()
    assert feature.grad is not None
    assert feature.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in method.projections.parameters())


def test_detectors_without_a_common_stride_are_refused():
    teacher = teacher_of([[1.0, 0.0]], [0.5])
    with pytest.raises(ConfigError, match="share no feature stride"):
        TargetFeatures(shape_like(teacher, height=2), shape_like(teacher, height=64))


def test_a_mask_needs_features_as_wide_as_the_queries():
    wide = output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), hidden=torch.zeros(1, 1, 5), neck=(FEATURE,))
    with pytest.raises(ConfigError, match="no mask can be computed"):
        TargetFeatures(shape_like(wide), shape_like(wide))


def test_iou_is_the_best_over_all_targets_of_the_image():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2]], [[0.5, 0.5, 0.2, 0.2]]])
    targets = [targets_of([0, 1], [[0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]), targets_of([], [])]
    assert best_iou(boxes, targets).tolist() == [[pytest.approx(1.0)], [0.0]]
