from dataclasses import replace

import pytest
import torch

from detrdistill.methods.foreground_memory import object_weights
from detrdistill.outputs import DetectorOutput, Targets
from tests.support.factories import inputs_of, method_of, output_of, shape_like, targets_of

ALL_REAL = torch.ones(1, 4, 4, dtype=torch.bool)
QUARTER = [0.25, 0.25, 0.5, 0.5]
"""The upper left 2 x 2 of 4 x 4 cells."""
CORNER = [0.125, 0.125, 0.25, 0.25]
"""Its upper left cell."""
NOTHING = targets_of([], [])


def output_with(feature: torch.Tensor) -> DetectorOutput:
    images = len(feature)
    hidden = torch.zeros(1, images, 1, feature.shape[1])
    return output_of(torch.zeros(1, images, 1, 1), torch.full((1, images, 1, 4), 0.5), hidden=hidden, neck=(feature,))


def terms_of(teacher: DetectorOutput, student: DetectorOutput, targets: list[Targets]) -> tuple[float, float]:
    method = method_of("foreground_memory", shape_like(teacher, height=8), shape_like(student, height=8))
    terms = method(inputs_of(student, teacher, targets))
    return float(terms["foreground_memory.foreground"]), float(terms["foreground_memory.background"])


def test_each_cell_of_a_box_weighs_the_inverse_of_their_number():
    weights = object_weights([targets_of([0], [QUARTER])], ALL_REAL)[0]
    assert weights[:2, :2].flatten().tolist() == [0.25] * 4
    assert float(weights.sum()) == 1


def test_the_smallest_box_wins_whatever_the_order():
    for boxes in ([QUARTER, CORNER], [CORNER, QUARTER]):
        weights = object_weights([targets_of([0, 1], boxes)], ALL_REAL)[0]
        assert weights[:2, :2].tolist() == [[1.0, 0.25], [0.25, 0.25]]
        assert float(weights.sum()) == 1.75


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ([0.6, 0.6, 0.01, 0.01], [2], [2]),  # inside one cell
        ([0.5, 0.4, 0.1, 0.1], [1], [1, 2]),  # across a border
        ([0.99, 0.5, 0.02, 1.0], [0, 1, 2, 3], [3]),  # at the edge
        ([1.0, 1.0, 0.0, 0.0], [3], [3]),  # nothing, in the last corner
    ],
)
def test_a_box_has_the_cells_it_touches_and_at_least_one(box: list[float], rows: list[int], columns: list[int]):
    weights = object_weights([targets_of([0], [box])], ALL_REAL)[0]
    cells = weights.nonzero().tolist()
    assert cells == [[row, column] for row in rows for column in columns]
    assert float(weights.sum()) == pytest.approx(1)


def test_objects_and_background_are_averaged_apart():
    """Differences 3 in one channel and 4 in the other inside the box: 25. Outside 1 in the first: 1, over 12 cells."""
    teacher = torch.zeros(1, 2, 4, 4)
    student = torch.zeros(1, 2, 4, 4)
    student[:, 0] = 1
    student[:, 0, :2, :2] = 3
    student[:, 1, :2, :2] = -4
    terms = terms_of(output_with(teacher), output_with(student), [targets_of([0], [QUARTER])])
    assert terms == pytest.approx((25.0, 1.0))


def test_terms_are_averaged_over_images_and_an_empty_one_is_all_background():
    teacher = torch.zeros(2, 1, 4, 4)
    student = torch.full((2, 1, 4, 4), 2.0)
    terms = terms_of(output_with(teacher), output_with(student), [targets_of([0], [QUARTER]), NOTHING])
    assert terms == pytest.approx((4.0 / 2, 4.0))


def test_an_image_that_is_one_object_has_no_background():
    teacher, student = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    terms = terms_of(output_with(teacher), output_with(student), [targets_of([0], [[0.5, 0.5, 1.0, 1.0]])])
    assert terms == pytest.approx((1.0, 0.0))


def test_levels_are_summed():
    maps = (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2))
    teacher = replace(output_with(maps[0]), neck=maps, memory=maps)
    ones = tuple(feature + 1 for feature in maps)
    student = replace(output_with(ones[0]), neck=ones, memory=ones)
    assert terms_of(teacher, student, [targets_of([0], [QUARTER])]) == pytest.approx((2.0, 2.0))


def test_padding_is_neither_object_nor_background():
    """The image has 2 of 4 rows; its box is a fraction of these, and garbage below them counts nowhere."""
    real = torch.zeros(1, 8, 8, dtype=torch.bool)
    real[:, :4] = True
    student = torch.ones(1, 1, 4, 4)
    student[:, :, 2:] = 100
    teacher = replace(output_with(torch.zeros(1, 1, 4, 4)), pixel_mask_BHW=real)
    terms = terms_of(teacher, output_with(student), [targets_of([0], [[0.25, 0.25, 0.5, 0.5]])])
    assert terms == pytest.approx((1.0, 1.0))
    weights = object_weights([targets_of([0], [[0.25, 0.25, 0.5, 0.5]])], real[:, ::2, ::2])[0]
    assert weights[0].tolist() == [0.5, 0.5, 0.0, 0.0]
    assert float(weights.sum()) == 1


def test_equal_features_cost_nothing():
    output = output_with(torch.randn(1, 2, 4, 4))
    assert terms_of(output, output, [targets_of([0], [QUARTER])]) == (0.0, 0.0)


def test_gradients_reach_the_student_and_the_projection_only():
    taught = torch.randn(1, 3, 4, 4, requires_grad=True)
    feature = torch.randn(1, 2, 4, 4, requires_grad=True)
    teacher, student = output_with(taught), output_with(feature)
    method = method_of("foreground_memory", shape_like(teacher, height=8), shape_like(student, height=8), weight=2.0)
    terms = method(inputs_of(student, teacher, [targets_of([0], [QUARTER])]))
    torch.stack(list(terms.values())).sum().backward()
    assert taught.grad is None
    assert feature.grad is not None
    assert (feature.grad.abs().sum(1) > 0).all()
    assert all(parameter.grad is not None for parameter in method.parameters())
    assert method.weights() == {"foreground_memory.foreground": 1e-4, "foreground_memory.background": 2e-7}
