"""Losses of boxes that are distributions over bins (D-FINE, arXiv 2410.13842, Eqs. 3 to 8)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from detrdistill.boxes import to_xyxy
from detrdistill.matching import Assignment
from detrdistill.outputs import BoxBins

TEMPERATURE = 5.0
"""T of the divergence, as published."""


def edge_distances(boxes_P4: Tensor, start_P4: Tensor, scale: float) -> Tensor:
    """How far each edge of a box is from where its start has it: left, top, right, bottom, outwards positive.

    The unit is a `scale`-th of the start's width or height.
    """
    center_P2, size_P2 = start_P4[:, :2], start_P4[:, 2:]
    first_P2, last_P2 = to_xyxy(boxes_P4).split(2, dim=-1)
    reach_P4 = torch.cat([center_P2 - first_P2, last_P2 - center_P2], dim=-1)
    return reach_P4 * scale / size_P2.repeat(1, 2).clamp(min=1e-16) - scale / 2


def fine_grained_localization(bins: BoxBins, pairs: Assignment, wanted_P4: Tensor, iou_P: Tensor) -> Tensor:
    """FGL: cross-entropy with the two bins around the true distance of each edge, summed over edges and pairs.

    Args:
        bins: predicted distributions.
        pairs: query of each pair in each layer.
        wanted_P4: the target's box of each pair.
        iou_P: IoU of each pair's prediction with its target; its weight.
    """
    logits_P4R = bins.logits_LBQ4R[pairs.layer_P, pairs.image_P, pairs.query_P]
    start_P4 = bins.start_BQ4[pairs.image_P, pairs.query_P]
    values_R = bins.values_R
    distance_P4 = edge_distances(wanted_P4, start_P4, bins.scale).clamp(values_R[0], values_R[-1]).contiguous()
    right_P4 = torch.searchsorted(values_R, distance_P4, right=True).clamp(1, len(values_R) - 1)
    left_P4 = right_P4 - 1
    share_P4 = (distance_P4 - values_R[left_P4]) / (values_R[right_P4] - values_R[left_P4])
    log_P4R = logits_P4R.log_softmax(-1)
    left_loss_P4, right_loss_P4 = (-log_P4R.gather(-1, index[..., None])[..., 0] for index in (left_P4, right_P4))
    loss_P4 = (1 - share_P4) * left_loss_P4 + share_P4 * right_loss_P4
    return (iou_P.detach()[:, None] * loss_P4).sum()


def decoupled_distillation(bins: BoxBins, pairs: Assignment, iou_P: Tensor, confidence_BQ: Tensor) -> Tensor:
    """DDF: the last layer's distributions teach those of the layers before it, summed over these.

    Matched queries weigh by the IoU of their prediction, the others by the confidence of the last layer. The means of
    both kinds are averaged with the square roots of their numbers as weights.

    Args:
        bins: predicted distributions.
        pairs: query of each pair in each layer.
        iou_P: IoU of each pair's prediction with its target.
        confidence_BQ: highest class score of each query in the last layer.
    """
    layers = len(bins.logits_LBQ4R)
    matched_LBQ = torch.zeros(bins.logits_LBQ4R.shape[:3], dtype=torch.bool, device=confidence_BQ.device)
    matched_LBQ[pairs.layer_P, pairs.image_P, pairs.query_P] = True
    weight_LBQ = confidence_BQ.detach().expand(layers, -1, -1).clone()
    weight_LBQ[pairs.layer_P, pairs.image_P, pairs.query_P] = iou_P.detach().to(weight_LBQ.dtype)
    divergence_LBQ = edge_divergence(bins.logits_LBQ4R[:-1], bins.logits_LBQ4R[-1]).mean(-1)
    means_L = [
        _two_means(value_BQ, matched_BQ)
        for value_BQ, matched_BQ in zip(weight_LBQ[:-1] * divergence_LBQ, matched_LBQ[:-1], strict=True)
    ]
    return torch.stack(means_L).sum()


def edge_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """T^2 KL(teacher || student) of distributions softened by T: logits `[..., R]` give `[...]`."""
    log_student = (student / TEMPERATURE).log_softmax(-1)
    log_teacher = (teacher.detach() / TEMPERATURE).log_softmax(-1)
    return F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(-1) * TEMPERATURE**2


def _two_means(value_BQ: Tensor, matched_BQ: Tensor) -> Tensor:
    """Means over matched and other queries, weighted by the square roots of how many there are."""
    sums = torch.stack([(value_BQ * mask).sum() for mask in (matched_BQ, ~matched_BQ)])
    counts = torch.stack([mask.sum() for mask in (matched_BQ, ~matched_BQ)])
    return (sums / counts.clamp(min=1) * counts.sqrt()).sum() / counts.sqrt().sum()
