"""Box geometry over arbitrary leading axes.

torchvision's pairwise functions take one image at a time; the matching needs all layers and images at once.
"""

import torch
from torch import Tensor


def to_xyxy(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) to (x0, y0, x1, y1) on the last axis."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """(x0, y0, x1, y1) to (cx, cy, w, h) on the last axis."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def clamp_to_image(boxes: Tensor) -> Tensor:
    """Clip (cx, cy, w, h) fractions to the image."""
    return to_cxcywh(to_xyxy(boxes).clamp(0, 1))


def _area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0).prod(-1)


def iou_and_giou(first_xyxy: Tensor, second_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """IoU in [0, 1] and GIoU in [-1, 1] of boxes whose leading axes broadcast.

    Degenerate boxes (no area, or corners swapped) give finite values.
    Source: Rezatofighi et al., CVPR 2019, Algorithm 1.
    """
    low = torch.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    high = torch.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    union = _area(first_xyxy) + _area(second_xyxy) - intersection
    iou = intersection / union.clamp(min=1e-9)
    hull_low = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    hull_high = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    hull = (hull_high - hull_low).clamp(min=0).prod(-1)
    return iou, iou - (hull - union) / hull.clamp(min=1e-9)


def pairwise_iou_and_giou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of every pair: `[..., Q, 4]` and `[..., N, 4]` (cx, cy, w, h) give `[..., Q, N]`."""
    return iou_and_giou(to_xyxy(first)[..., :, None, :], to_xyxy(second)[..., None, :, :])


def pairwise_l1(first: Tensor, second: Tensor) -> Tensor:
    """Sum of absolute differences of every pair: `[..., Q, 4]` and `[..., N, 4]` give `[..., Q, N]`."""
    return (first[..., :, None, :] - second[..., None, :, :]).abs().sum(-1)


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logit of x clamped to [eps, 1 - eps], as `transformers` has it."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))
