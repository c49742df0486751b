"""Hungarian assignment, for all decoder layers and images with one transfer to the host.

A *cost* picks pairs and has no gradient; the losses that follow are in `losses/`. The cost matrix is built in one
batched operation with the targets of all images padded to the same number, because building it image by image
takes many times longer than the assignment itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detrdistill.boxes import pairwise_iou_and_giou, pairwise_l1
from detrdistill.errors import Diverged
from detrdistill.outputs import Targets


@dataclass(frozen=True)
class Assignment:
    """Matched pairs of all layers and images, as parallel index vectors. Rows are ordered by layer and image."""

    layer_P: Tensor
    image_P: Tensor
    query_P: Tensor
    target_P: Tensor
    """Index into the image's targets, or into the teacher's queries."""

    def __len__(self) -> int:
        return len(self.layer_P)

    def select_layers(self, layers: Sequence[int]) -> "Assignment":
        """Pairs of `layers[k]` become the pairs of layer k; a layer may be taken more than once."""
        parts = [torch.nonzero(self.layer_P == layer).squeeze(1) for layer in layers]
        index_P = torch.cat(parts)
        layer_P = torch.cat([torch.full_like(part, new) for new, part in enumerate(parts)])
        return Assignment(layer_P, self.image_P[index_P], self.query_P[index_P], self.target_P[index_P])


def assign(cost_LBQN: Tensor, sizes: Sequence[int]) -> Assignment:
    """Solve the assignment of every layer and image.

    Args:
        cost_LBQN: cost of giving query q to target n; columns from `sizes[b]` on are padding.
        sizes: number of real targets of each image.

    Returns:
        min(Q, sizes[b]) pairs for each layer and image, on the device of the cost.

    Raises:
        Diverged: the cost is not finite, so predictions are NaN or infinite.
    """
    layers, images = cost_LBQN.shape[:2]
    cost = cost_LBQN.detach().float().cpu().numpy()
    if not np.isfinite(cost).all():
        raise Diverged(
            "The matching cost is not finite: the detector predicts NaN or infinity.",
            hint="Lower training.lr, or train with precision fp32.",
        )
    rows: list[np.ndarray] = []
    for layer in range(layers):
        for image in range(images):
            query, target = linear_sum_assignment(cost[layer, image, :, : sizes[image]])
            rows.append(np.stack([np.full_like(query, layer), np.full_like(query, image), query, target]))
    index_4P = torch.from_numpy(np.concatenate(rows, axis=1)).to(cost_LBQN.device)
    return Assignment(*index_4P.unbind(0))


def pad_targets(targets: Sequence[Targets]) -> tuple[Tensor, Tensor]:
    """Stack the targets of a batch: labels `[B, N]` and boxes `[B, N, 4]`, padded with class 0 and zeros."""
    length = max((len(target.labels_N) for target in targets), default=0)
    first = targets[0]
    labels_BN = first.labels_N.new_zeros(len(targets), length)
    boxes_BN4 = first.boxes_N4.new_zeros(len(targets), length, 4)
    for image, target in enumerate(targets):
        labels_BN[image, : len(target.labels_N)] = target.labels_N
        boxes_BN4[image, : len(target.boxes_N4)] = target.boxes_N4
    return labels_BN, boxes_BN4


def overlaps(boxes_LBQ4: Tensor, targets: Sequence[Targets]) -> tuple[Tensor, Tensor]:
    """IoU and GIoU of every box with every target of its image: `[L, B, Q, N + 1]`.

    Images are padded to one more target than any has; with padding, IoU is 0 and GIoU is -1, less than with any target.
    """
    boxes_BN4 = torch.nn.functional.pad(pad_targets(targets)[1], (0, 0, 0, 1))
    iou_LBQN, giou_LBQN = pairwise_iou_and_giou(boxes_LBQ4, boxes_BN4)
    lengths_B1 = torch.tensor([[len(target.labels_N)] for target in targets], device=boxes_BN4.device)
    padding_B1N = (torch.arange(boxes_BN4.shape[1], device=boxes_BN4.device) >= lengths_B1)[:, None]
    return iou_LBQN.masked_fill(padding_B1N, 0.0), giou_LBQN.masked_fill(padding_B1N, -1.0)


def box_cost(boxes_LBQ4: Tensor, boxes_BN4: Tensor, *, l1: float, giou: float) -> Tensor:
    """`l1 * |b - b'|_1 - giou * GIoU(b, b')` of every query and target: `[L, B, Q, N]`.

    The second argument is `[B, N, 4]`, or `[L, B, N, 4]` where each layer has its own targets.
    """
    return l1 * pairwise_l1(boxes_LBQ4, boxes_BN4) - giou * pairwise_iou_and_giou(boxes_LBQ4, boxes_BN4)[1]


def focal_cost(logits_LBQC: Tensor, labels_BN: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss of claiming the target's class minus that of denying it: `[L, B, Q, N]`.

    Source: the matcher of Deformable DETR (arXiv 2010.04159), shared by the whole family.
    """
    probability = logits_LBQC.sigmoid()
    # log sigmoid keeps its precision where log(sigmoid + eps) has none
    positive = alpha * (1 - probability) ** gamma * -torch.nn.functional.logsigmoid(logits_LBQC)
    negative = (1 - alpha) * probability**gamma * -torch.nn.functional.logsigmoid(-logits_LBQC)
    index_LBQN = labels_BN[None, :, None, :].expand(*logits_LBQC.shape[:3], -1)
    return (positive - negative).gather(-1, index_LBQN)


def softmax_cost(logits_LBQC: Tensor, labels_BN: Tensor) -> Tensor:
    """Minus the probability of the target's class: `[L, B, Q, N]`. Source: DETR (arXiv 2005.12872, section 3.1)."""
    index_LBQN = labels_BN[None, :, None, :].expand(*logits_LBQC.shape[:3], -1)
    return -logits_LBQC.softmax(-1).gather(-1, index_LBQN)


def soft_bce_cost(logits_LBQC: Tensor, probability_LBNC: Tensor) -> Tensor:
    """Binary cross-entropy against soft targets, summed over classes, of every pair: `[L, B, Q, N]`.

    `sum_c softplus(x_c) - x_c t_c`. Source: DETRDistill's release.
    """
    return torch.nn.functional.softplus(logits_LBQC).sum(-1, keepdim=True) - logits_LBQC @ probability_LBNC.mT


def soft_cross_entropy_cost(logits_LBQC: Tensor, probability_LBNC: Tensor) -> Tensor:
    """Cross-entropy over classes and 'no object' against soft targets, of every pair: `[L, B, Q, N]`."""
    return -logits_LBQC.log_softmax(-1) @ probability_LBNC.mT


def layer_pairs(teacher_layers: int, student_layers: int) -> list[tuple[int, int]]:
    """Which teacher layer supervises which student layer, as (teacher, student) indices from 0.

    With more teacher layers, consecutive groups supervise one student layer (6 to 3: {0,1} to 0, {2,3} to 1,
    {4,5} to 2); with fewer, one teacher layer supervises several student layers (3 to 6: 0,0,1,1,2,2).
    The last layers always meet. Source: DETRDistill, Fig. 5.
    """
    if teacher_layers >= student_layers:
        return [(t, -(-(t + 1) * student_layers // teacher_layers) - 1) for t in range(teacher_layers)]
    return [(-(-(s + 1) * teacher_layers // student_layers) - 1, s) for s in range(student_layers)]


def supervising_layers(teacher_layers: int, student_layers: int) -> list[int]:
    """The one teacher layer for each student layer: the last of its group in `layer_pairs`."""
    return list({student: teacher for teacher, student in layer_pairs(teacher_layers, student_layers)}.values())
