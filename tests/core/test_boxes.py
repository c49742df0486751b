import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from detrdistill.boxes import (
    clamp_to_image,
    inverse_sigmoid,
    pairwise_iou_and_giou,
    pairwise_l1,
    to_cxcywh,
    to_xyxy,
)

fractions = st.floats(0.0625, 0.9375, width=32)
boxes = st.lists(st.tuples(fractions, fractions, fractions, fractions), min_size=1, max_size=6)


def test_iou_giou_and_l1_of_known_boxes():
    """One is shifted by a quarter of its width, the other far away."""
    a = torch.tensor([[0.5, 0.5, 0.4, 0.4]])
    b_and_c = torch.tensor([[0.6, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]])
    iou, giou = pairwise_iou_and_giou(a, b_and_c)
    assert iou.tolist()[0] == pytest.approx([0.6, 0.0], abs=1e-6)
    assert giou.tolist()[0] == pytest.approx([0.6, -0.597633], abs=1e-6)
    assert pairwise_l1(a, b_and_c).tolist()[0] == pytest.approx([0.1, 1.4], abs=1e-6)


@given(boxes, boxes)
def test_giou_is_that_of_torchvision(first: list[tuple[float, ...]], second: list[tuple[float, ...]]):
    ours = pairwise_iou_and_giou(torch.tensor(first), torch.tensor(second))[1]
    theirs = generalized_box_iou(to_xyxy(torch.tensor(first)), to_xyxy(torch.tensor(second)))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@given(boxes)
def test_conversions_are_inverse(values: list[tuple[float, ...]]):
    cxcywh = torch.tensor(values)
    torch.testing.assert_close(to_cxcywh(to_xyxy(cxcywh)), cxcywh)


@given(boxes, boxes)
def test_iou_and_giou_are_symmetric_and_within_their_ranges(
    first: list[tuple[float, ...]], second: list[tuple[float, ...]]
):
    iou, giou = pairwise_iou_and_giou(torch.tensor(first), torch.tensor(second))
    assert iou.shape == (len(first), len(second))
    assert (iou >= 0).all()
    assert (iou <= 1 + 1e-5).all()
    assert (giou >= -1 - 1e-5).all()
    assert (giou <= iou + 1e-5).all()
    for ours, turned in zip((iou, giou), pairwise_iou_and_giou(torch.tensor(second), torch.tensor(first)), strict=True):
        torch.testing.assert_close(ours, turned.T)


@given(boxes, boxes)
def test_layers_and_images_at_once_equal_one_at_a_time(first: list[tuple[float, ...]], second: list[tuple[float, ...]]):
    queries, targets = torch.tensor(first), torch.tensor(second)
    queries_LBQ4 = torch.stack([queries, queries.flip(0)]).expand(3, 2, *queries.shape)
    for alone, together in (
        (pairwise_l1(queries, targets), pairwise_l1(queries_LBQ4, targets)),
        (pairwise_iou_and_giou(queries, targets)[1], pairwise_iou_and_giou(queries_LBQ4, targets)[1]),
    ):
        assert torch.equal(together[2, 0], alone)
        assert torch.equal(together[1, 1], alone.flip(0))


@given(st.lists(st.tuples(*[st.floats(-1, 2, width=32)] * 2, *[st.floats(0, 2, width=32)] * 2), min_size=1, max_size=6))
def test_a_clamped_box_is_the_part_within_the_image(values: list[tuple[float, ...]]):
    given_boxes = torch.tensor(values)
    found = to_xyxy(clamp_to_image(given_boxes))
    assert (found >= -1e-6).all()
    assert (found <= 1 + 1e-6).all()
    assert (found[:, 2:] >= found[:, :2] - 1e-6).all()
    torch.testing.assert_close(found, to_xyxy(given_boxes).clamp(0, 1), atol=1e-6, rtol=0)


def test_clamping_keeps_inner_boxes_and_cuts_outer_ones():
    given_boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.0, 0.5, 0.4, 1.2]])
    wanted = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.1, 0.5, 0.2, 1.0]])
    torch.testing.assert_close(clamp_to_image(given_boxes), wanted)


def test_degenerate_boxes_stay_finite():
    iou, giou = pairwise_iou_and_giou(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.0, 0.0]]))
    assert torch.isfinite(iou).all()
    assert torch.isfinite(giou).all()


def test_inverse_sigmoid_inverts_inside_its_range():
    values = torch.tensor([0.01, 0.5, 0.99])
    torch.testing.assert_close(inverse_sigmoid(values).sigmoid(), values)
