import pytest
import torch

from detrdistill.errors import ConfigError
from detrdistill.methods.feature_pairs import FeaturePairs, cell_mask
from tests.support.factories import inputs_of, output_of, shape_like, targets_of

FINE, COARSE = torch.randn(1, 3, 4, 4), torch.randn(1, 3, 2, 2)


def output_with(*neck: torch.Tensor, hidden: int = 2):
    return output_of(torch.zeros(1, 1), torch.full((1, 4), 0.5), hidden=torch.zeros(1, 1, hidden), neck=neck)


def pairs_of(teacher, student, heights: tuple[int, int], source: str = "neck"):
    module = FeaturePairs(shape_like(teacher, height=heights[0]), shape_like(student, height=heights[1]), source)
    return module, module(inputs_of(student, teacher, [targets_of([], [])]))


def test_levels_are_paired_by_stride():
    """Strides 8, 16 and 32 at 32 px meet 16 and 32."""
    teacher = output_with(FINE, COARSE, COARSE[..., :1, :1])
    student = output_with(COARSE + 1, COARSE[..., :1, :1] + 1)
    module, pairs = pairs_of(teacher, student, (32, 32))
    assert module.widths == [3, 3]
    assert [tuple(first.shape[-2:]) for first, _ in pairs] == [(2, 2), (1, 1)]
    for first, second in pairs:
        torch.testing.assert_close(second, first + 1)


def test_equal_widths_and_grids_are_left_alone():
    module, pairs = pairs_of(output_with(FINE), output_with(FINE), (32, 32))
    assert list(module.parameters()) == []
    assert torch.equal(pairs[0][0], pairs[0][1])


def test_unequal_widths_and_sizes_are_projected_and_resized():
    """The projection learns, and so does the student; the teacher's features carry no gradient."""
    taught = torch.randn(1, 5, 2, 2, requires_grad=True)
    feature = torch.randn(1, 3, 4, 4, requires_grad=True)
    module, [(teacher, student)] = pairs_of(output_with(taught), output_with(feature), (16, 32))
    assert student.shape == teacher.shape == (1, 5, 2, 2)
    (teacher - student).square().sum().backward()
    assert taught.grad is None
    assert feature.grad is not None
    assert feature.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_memory_is_as_wide_as_the_queries():
    module, _ = pairs_of(output_with(FINE, hidden=3), output_with(FINE, hidden=3), (32, 32), "memory")
    assert module.widths == [3]


def test_detectors_without_a_common_stride_are_refused():
    with pytest.raises(ConfigError, match="share no feature stride in 'neck'"):
        pairs_of(output_with(FINE), output_with(FINE), (32, 64))


def test_a_cell_is_real_with_any_pixel_of_the_image():
    """Cells of 2 pixels; the image is 3 pixels wide and 2 high."""
    real = torch.zeros(1, 4, 6, dtype=torch.bool)
    real[:, :2, :3] = True
    cells = cell_mask(real, torch.zeros(1, 8, 2, 3))
    assert cells is not None
    assert cells.tolist() == [[[True, True, False], [False, False, False]]]
    assert cell_mask(None, torch.zeros(1, 8, 2, 3)) is None
