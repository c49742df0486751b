"""Boxes as AdaMixer's decoder refines them: `xyzr`, in pixels and float32.

x, y is the center, z = log2 sqrt(w h) the scale and r = log2(h / w) the aspect ratio, so that w = 2^(z - r/2) and
h = 2^(z + r/2). Source: AdaMixer (arXiv 2203.16507), its positional vector.
"""

import torch
from torch import Tensor

from detrdistill.boxes import to_xyxy

SMALLEST_PX = 1e-3
"""Shorter sides count as this long, because a side of zero has no logarithm."""
_SMALLEST_AREA_PX2 = 1e-6
_TEMPERATURE = 10_000
_PIXELS_PER_UNIT = 1000


def to_xyzr(boxes_px: Tensor) -> Tensor:
    """(cx, cy, w, h) to (x, y, z, r) on the last axis."""
    width, height = boxes_px[..., 2:].clamp(min=SMALLEST_PX).log2().unbind(-1)
    return torch.cat([boxes_px[..., :2], torch.stack([(width + height) / 2, height - width], dim=-1)], dim=-1)


def sides(xyzr: Tensor) -> Tensor:
    """Width and height in pixels: `[..., 2]`."""
    z, r = xyzr[..., 2], xyzr[..., 3]
    return torch.stack([z - r / 2, z + r / 2], dim=-1).exp2()


def to_boxes(xyzr: Tensor) -> Tensor:
    """(x, y, z, r) to (cx, cy, w, h) in pixels on the last axis."""
    return torch.cat([xyzr[..., :2], sides(xyzr)], dim=-1)


def refine(xyzr: Tensor, delta: Tensor) -> Tensor:
    """Move the center by fractions of the scale 2^z, and add to z and r."""
    scale = xyzr[..., 2:3].exp2()
    return torch.cat([xyzr[..., :2] + delta[..., :2] * scale, xyzr[..., 2:] + delta[..., 2:]], dim=-1)


def intersection_over_foreground(xyzr_BQ4: Tensor) -> Tensor:
    """Share of each box (row) that lies within each other box (column): `[B, Q, Q]` in [0, 1]."""
    boxes_BQ4 = to_boxes(xyzr_BQ4)
    low, high = to_xyxy(boxes_BQ4).split(2, dim=-1)
    common = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    area_BQ = boxes_BQ4[..., 2:].prod(-1).clamp(min=_SMALLEST_AREA_PX2)
    return common.clamp(min=0).prod(-1) / area_BQ[:, :, None]


def position_embedding(xyzr: Tensor, width: int) -> Tensor:
    """Sines and cosines of x / 1000, y / 1000, z and r, a quarter of the channels each: `[..., width]`.

    Channels 2i and 2i + 1 of a quarter of n are the sine and cosine of `value / 10000^(2i / n)`.
    """
    quarter = width // 4
    frequency = _TEMPERATURE ** (-torch.arange(0, quarter, 2, device=xyzr.device, dtype=xyzr.dtype) / quarter)
    position = torch.cat([xyzr[..., :2] / _PIXELS_PER_UNIT, xyzr[..., 2:]], dim=-1)
    angle = position[..., None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-3)
