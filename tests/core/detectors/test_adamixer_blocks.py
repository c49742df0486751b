"""AdaMixer block by block, with numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from detrdistill.detectors.adamixer import AdaMixerConfig
from detrdistill.detectors.adamixer.attention import OverlapAttention
from detrdistill.detectors.adamixer.geometry import (
    SMALLEST_PX,
    intersection_over_foreground,
    position_embedding,
    refine,
    to_boxes,
    to_xyzr,
)
from detrdistill.detectors.adamixer.mixing import AdaptiveMixing
from detrdistill.detectors.adamixer.modeling import AdaMixerDecoderLayer, AdaMixerNeck
from detrdistill.detectors.adamixer.sampling import SamplingPoints, level_weights, sample_3d

# ---- boxes


def test_scale_and_ratio_by_hand():
    """8 x 32 px: z = log2 sqrt(256) = 4, r = log2 4 = 2."""
    box = torch.tensor([10.0, 20.0, 8.0, 32.0])
    assert to_xyzr(box).tolist() == [10, 20, 4, 2]
    assert to_boxes(to_xyzr(box)).tolist() == [10, 20, 8, 32]


def test_boxes_survive_the_round_trip():
    boxes = torch.rand(50, 4) * 500 + 1
    torch.testing.assert_close(to_boxes(to_xyzr(boxes)), boxes)


def test_a_box_without_area_gets_the_smallest_side():
    xyzr = to_xyzr(torch.tensor([5.0, 6.0, 0.0, 0.0]))
    assert xyzr.isfinite().all()
    torch.testing.assert_close(to_boxes(xyzr), torch.tensor([5.0, 6.0, SMALLEST_PX, SMALLEST_PX]))


def test_refinement_by_hand():
    """Scale 2^4 = 16: the center moves by 16 (0.5, -0.25); z = 4 - 1, r = 2 + 1, so 2^1.5 x 2^4.5 px."""
    refined = refine(torch.tensor([10.0, 20.0, 4.0, 2.0]), torch.tensor([0.5, -0.25, -1.0, 1.0]))
    assert refined.tolist() == [18, 16, 3, 3]
    torch.testing.assert_close(to_boxes(refined), torch.tensor([18, 16, 2**1.5, 2**4.5]))


def test_intersection_over_foreground_by_hand():
    """A 2 x 2 box in the corner of a 4 x 4 box, a 4 x 4 box that overlaps half of it, and an empty box."""
    boxes = torch.tensor([[1, 1, 2, 2], [2, 2, 4, 4], [4, 2, 4, 4], [2, 2, 0, 0]], dtype=torch.float32)
    found = intersection_over_foreground(to_xyzr(boxes)[None])[0]
    wanted = torch.tensor([[1, 1, 0], [1 / 4, 1, 1 / 2], [0, 1 / 2, 1]])
    torch.testing.assert_close(found[:3, :3], wanted)
    assert found.isfinite().all()


def test_position_embedding_by_hand():
    """16 channels: 4 for each of x / 1000, y / 1000, z, r, at the frequencies 1 and 10000^(-2/4) = 0.01."""
    embedding = position_embedding(torch.tensor([500.0, 250.0, 4.0, -1.0]), 16)
    wanted = [f(v * w) for v in (0.5, 0.25, 4.0, -1.0) for w in (1.0, 0.01) for f in (math.sin, math.cos)]
    torch.testing.assert_close(embedding, torch.tensor(wanted))


# ---- sampling


def test_a_point_at_the_center_of_a_cell_reads_the_cell():
    """Stride 4: (10, 2) is the center of column 2, row 0; (8, 4) the corner of four cells; (-20, 0) is outside."""
    feature = torch.tensor([[[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]]])
    points = torch.tensor([[10.0, 2.0, 2.0], [8.0, 4.0, 2.0], [-20.0, 0.0, 2.0]])
    sampled = sample_3d([feature], points[None, None, None], [4])
    assert sampled.shape == (1, 1, 1, 3, 1)
    assert sampled.flatten().tolist() == [4, (2 + 4 + 16 + 32) / 4, 0]


def test_level_weights_by_hand():
    """z = 2 at strides 4 and 8: softmax(0, -1/2) = 0.622459, 0.377541; z = 2.5 is between them."""
    weights = level_weights(torch.tensor([2.0, 2.5]), [4, 8])
    torch.testing.assert_close(weights, torch.tensor([[0.622459, 0.377541], [0.5, 0.5]]))


def test_levels_are_summed_by_weight_and_groups_read_their_own_channels():
    fine, coarse = torch.ones(1, 4, 4, 4), torch.ones(1, 4, 2, 2)
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None, None]
    points = torch.tensor([8.0, 8.0, 2.0]).expand(1, 1, 2, 1, 3)
    sampled = sample_3d([10 * scale * fine, 20 * scale * coarse], points, [4, 8])
    one = 10 * 0.622459 + 20 * 0.377541
    torch.testing.assert_close(sampled[0, 0, :, 0], one * torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


def test_maps_beyond_the_image_keep_their_cells_in_place():
    """A side of 203 px has 7 cells of stride 32; the center of the last lies at 6.5 x 32 = 208 px."""
    feature = torch.arange(7.0).expand(1, 1, 7, 7)
    sampled = sample_3d([feature], torch.tensor([208.0, 16.0, 5.0])[None, None, None, None], [32])
    assert sampled.item() == pytest.approx(6)


def test_offsets_are_in_units_of_the_box():
    """Box 8 x 32 px at (10, 20), z = 4: the offset (0.5, -0.25, -1) is the point (14, 12) at scale 3."""
    sampling = SamplingPoints(width=2, groups=2, points=1)
    with torch.no_grad():
        sampling.offsets.bias.copy_(torch.tensor([0.5, -0.25, -1.0, 0.0, 1.0, 2.0]))
    points = sampling(torch.randn(1, 1, 2), torch.tensor([[[10.0, 20.0, 4.0, 2.0]]]))
    assert points.tolist() == [[[[[14, 12, 3]], [[10, 52, 6]]]]]


# ---- mixing


def test_mixing_equals_loops():
    width, groups, in_points, out_points, channels = 4, 2, 3, 2, 2
    mixing = AdaptiveMixing(width, in_points, out_points, groups)
    nn.init.normal_(mixing.matrices.weight)
    sampled, hidden = torch.randn(1, 1, groups, in_points, channels), torch.randn(1, 1, width)

    def normalised(rows: list[list[Tensor]]) -> list[list[Tensor]]:
        values = torch.stack([value for row in rows for value in row])
        mean, deviation = values.mean(), (values.var(correction=0) + 1e-5).sqrt()
        return [[((value - mean) / deviation).clamp(min=0) for value in row] for row in rows]

    numbers = iter(mixing.matrices(hidden).flatten())
    mixed: list[Tensor] = []
    for group in range(groups):
        channel = [[next(numbers) for _ in range(channels)] for _ in range(channels)]
        spatial = [[next(numbers) for _ in range(in_points)] for _ in range(out_points)]
        x = sampled[0, 0, group]
        first = normalised(
            [
                [sum((x[i, c] * channel[c][e] for c in range(channels)), torch.zeros(())) for e in range(channels)]
                for i in range(in_points)
            ]
        )
        second = normalised(
            [
                [sum((spatial[o][i] * first[i][e] for i in range(in_points)), torch.zeros(())) for e in range(channels)]
                for o in range(out_points)
            ]
        )
        mixed += [value for row in second for value in row]
    wanted = mixing.output.weight @ torch.stack(mixed) + mixing.output.bias
    torch.testing.assert_close(mixing(sampled, hidden)[0, 0], wanted)


# ---- attention


def overlap_only(width: int, tau: float) -> OverlapAttention:
    """One head with queries and keys of zero and the identity for values and output."""
    attention = OverlapAttention(width, heads=1)
    with torch.no_grad():
        attention.tau.fill_(tau)
        attention.projection.weight.zero_()[2 * width :] = torch.eye(width)
        attention.output.weight.copy_(torch.eye(width))
        attention.output.bias.zero_()
    return attention


@pytest.mark.parametrize(("tau", "large"), [(1.0, [1 / 5, 4 / 5]), (2.0, [1 / 17, 16 / 17])])
def test_overlap_biases_attention_by_hand(tau: float, large: list[float]):
    """2 x 2 px within 4 x 4 px: IoF is 1 from the small box and 1/4 from the large; weights go with IoF^tau."""
    xyzr = to_xyzr(torch.tensor([[[1.0, 1.0, 2.0, 2.0], [2.0, 2.0, 4.0, 4.0]]]))
    attended, _ = overlap_only(2, tau)(hidden_states=torch.eye(2)[None], xyzr=xyzr)
    torch.testing.assert_close(attended[0], torch.tensor([[1 / 2, 1 / 2], large]), atol=1e-6, rtol=0)


def test_boxes_apart_do_not_attend_to_each_other():
    """An IoF of zero leaves 1e-7 of the weight, also for a box of zero size."""
    xyzr = to_xyzr(torch.tensor([[[1.0, 1.0, 0.0, 0.0], [8.0, 8.0, 4.0, 4.0]]]))
    attended, _ = overlap_only(2, 1.0)(hidden_states=torch.eye(2)[None], xyzr=xyzr)
    torch.testing.assert_close(attended[0], torch.eye(2), atol=1e-6, rtol=0)


# ---- neck and decoder layer


def test_the_neck_shares_one_norm():
    neck = AdaMixerNeck([8, 16], 32)
    levels = neck([torch.randn(2, 8, 4, 4), torch.randn(2, 16, 2, 2)])
    assert [tuple(level.shape) for level in levels] == [(2, 32, 4, 4), (2, 32, 2, 2)]
    assert len([module for module in neck.modules() if isinstance(module, nn.GroupNorm)]) == 1


def test_the_position_enters_the_residual():
    """With every linear layer at zero a decoder layer is three layer norms of content plus position."""
    config = AdaMixerConfig(d_model=32, decoder_ffn_dim=8, in_points=2, out_points=2, num_labels=1)
    layer = AdaMixerDecoderLayer(config)
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.zero_()
    content, xyzr = torch.randn(1, 3, 32), to_xyzr(torch.rand(1, 3, 4) * 20 + 1)
    hidden, _, refined = layer(content, xyzr, [torch.randn(1, 32, 32 // s, 32 // s) for s in config.feature_strides])
    wanted = content + position_embedding(xyzr, 32)
    for _ in range(3):
        wanted = layer_norm(wanted, (32,))
    torch.testing.assert_close(hidden, wanted)
    assert torch.equal(refined, xyzr)
