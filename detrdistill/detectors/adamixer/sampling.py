"""3D feature sampling: points in the image and across feature levels.

Source: AdaMixer (arXiv 2203.16507), adaptive 3D feature sampling.
"""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from detrdistill.detectors.adamixer.geometry import sides
from detrdistill.detectors.adamixer.layers import OffsetLinear

_TAU = 2.0


class SamplingPoints(nn.Module):
    """Where each query looks: offsets from its box, generated from its content."""

    def __init__(self, width: int, groups: int, points: int):
        super().__init__()
        self.groups = groups
        self.offsets = OffsetLinear(width, groups * points * 3)

    def forward(self, hidden_BQD: Tensor, xyzr_BQ4: Tensor) -> Tensor:
        """Points (x, y, z), x and y in pixels and z in log2 pixels: `[B, Q, G, I, 3]`, float32.

        x and y move by fractions of the box's sides, z is added to the box's.
        """
        offsets_BQGI3 = self.offsets(hidden_BQD).float().unflatten(2, (self.groups, -1, 3))
        unit_BQ3 = torch.cat([sides(xyzr_BQ4), torch.ones_like(xyzr_BQ4[..., :1])], dim=-1)
        return xyzr_BQ4[:, :, None, None, :3] + offsets_BQGI3 * unit_BQ3[:, :, None, None]


def level_weights(z: Tensor, strides: Sequence[int]) -> Tensor:
    """How much a point at scale z takes from each level: softmax over levels of -(z - log2 stride)^2 / 2."""
    return torch.stack([-((z - math.log2(stride)) ** 2) / _TAU for stride in strides], dim=-1).softmax(-1)


def sample_3d(features: Sequence[Tensor], points_BQGI3: Tensor, strides: Sequence[int]) -> Tensor:
    """Bilinear samples of every level, summed by `level_weights`; zero outside the map.

    Args:
        features: `feature_BDHW` of each level, float32; its channels are split into G groups.
        points_BQGI3: as `SamplingPoints` gives them.
        strides: pixels per cell of each level. A map reaches `W * stride` to the right, which is more than the
            image where its side is not divisible by the stride.

    Returns:
        `[B, Q, G, I, E]`.
    """
    groups = points_BQGI3.shape[2]
    points_XQI3 = points_BQGI3.transpose(1, 2).flatten(0, 1)  # X: every group of every image
    x, y, z = points_XQI3.unbind(-1)
    weights_XQIS = level_weights(z, strides)
    levels = []
    for feature_BDHW, stride, weight_XQI in zip(features, strides, weights_XQIS.unbind(-1), strict=True):
        height, width = feature_BDHW.shape[-2:]
        grid_XQI2 = 2 * torch.stack([x / (width * stride), y / (height * stride)], dim=-1) - 1
        feature_XEHW = feature_BDHW.unflatten(1, (groups, -1)).flatten(0, 1)
        levels.append(weight_XQI[:, None] * grid_sample(feature_XEHW, grid_XQI2, align_corners=False))
    sampled_XEQI = reduce(torch.add, levels)
    return sampled_XEQI.unflatten(0, (-1, groups)).permute(0, 3, 1, 4, 2)
