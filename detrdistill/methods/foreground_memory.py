"""Foreground memory: the distillation of encoder memory in CLoCKDistill (WACV 2026, arXiv 2502.10683).

Its other component, queries made from the ground truth, is left out.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from detrdistill.methods.feature_pairs import FeaturePairs, cell_mask
from detrdistill.methods.method import DetectorShape, Method, MethodInputs
from detrdistill.outputs import Targets


class ForegroundMemory(Method):
    """Distil what the decoder attends to, each object and the background with a weight of its own.

    `alpha sum_p M_p S_p |A^T_p - A^S_p|^2 + beta sum_p (1 - M_p) S_p |A^T_p - A^S_p|^2`, where A are the memory's
    feature maps, M is one at the cells that ground truth touches, and S is the inverse of the number of cells: of the
    smallest box there, or of the background. The squared difference is summed over channels; the terms are summed over
    levels and averaged over images.
    """

    name = "foreground_memory"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        *,
        weight: float,
        foreground_weight: float,
        background_weight: float,
    ):
        super().__init__()
        self.weight = weight
        self.foreground_weight = foreground_weight
        self.background_weight = background_weight
        self.pairs = FeaturePairs(teacher, student, "memory")

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        return {
            f"{self.name}.foreground": self.weight * self.foreground_weight,
            f"{self.name}.background": self.weight * self.background_weight,
        }

    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """Terms `foreground` and `background`."""
        foreground, background = [], []
        for teacher_BDHW, student_BDHW in self.pairs(inputs):
            valid_BHW = cell_mask(inputs.teacher.pixel_mask_BHW, teacher_BDHW)
            if valid_BHW is None:
                valid_BHW = torch.ones_like(teacher_BDHW[:, 0], dtype=torch.bool)
            object_BHW = object_weights(inputs.targets, valid_BHW)
            rest_BHW = valid_BHW & (object_BHW == 0)
            error_BHW = (teacher_BDHW - student_BDHW).square().sum(1)
            foreground.append((object_BHW * error_BHW).sum((1, 2)).mean())
            cells_B = rest_BHW.sum((1, 2)).clamp(min=1)
            background.append((error_BHW.masked_fill(~rest_BHW, 0.0).sum((1, 2)) / cells_B).mean())
        return {
            f"{self.name}.foreground": torch.stack(foreground).sum(),
            f"{self.name}.background": torch.stack(background).sum(),
        }


def object_weights(targets: Sequence[Targets], valid_BHW: Tensor) -> Tensor:
    """M S: at each cell that boxes touch, the inverse of the smallest one's number of cells; elsewhere zero.

    Args:
        targets: ground truth of each image, as fractions of its unpadded part.
        valid_BHW: cells of the image. Padding is below and to the right of it.

    Returns:
        float32 `[B, H, W]`. The weights of a box that no smaller one overlaps sum to one.
    """
    weights_BHW = torch.zeros_like(valid_BHW, dtype=torch.float32)
    for image, target in enumerate(targets):
        if len(target.boxes_N4) == 0:
            continue
        rows, columns = valid_BHW[image].any(1), valid_BHW[image].any(0)
        rows_NH = _touched(target.boxes_N4[:, 1::2], rows)
        columns_NW = _touched(target.boxes_N4[:, 0::2], columns)
        cells_N = rows_NH.sum(1) * columns_NW.sum(1)
        inside_NHW = rows_NH[:, :, None] & columns_NW[:, None, :]
        weights_BHW[image] = (inside_NHW / cells_N[:, None, None]).amax(0)
    return weights_BHW


def _touched(spans_N2: Tensor, real_X: Tensor) -> Tensor:
    """Rows or columns that each span (center, size) touches, at least one: bool `[N, X]`."""
    length = real_X.sum()
    center_N1, size_N1 = (spans_N2 * length).split(1, dim=1)
    index_X = torch.arange(len(real_X), device=real_X.device)
    first_N1 = (center_N1 - size_N1 / 2).floor().clamp(min=0).minimum(length - 1)
    last_N1 = ((center_N1 + size_N1 / 2).ceil() - 1).minimum(length - 1)
    return (index_X >= first_N1) & (index_X <= last_N1.maximum(first_N1))
