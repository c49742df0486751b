"""Imitation of whole feature maps, the baselines: FitNet (arXiv 1412.6550) and MGD (arXiv 2205.01529)."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrdistill.methods.feature_pairs import FeaturePairs, FeatureSource
from detrdistill.methods.method import DetectorShape, Method, MethodInputs


class FeatureMaps(Method):
    """Distil feature maps everywhere alike.

    `fitnet`: the mean squared error of the projected student map; FitNet's Eq. 3 with a mean for half the sum.

    `mgd`: hide each cell of the projected student map with probability `mask_ratio`, all its channels at once, and let
    two 3x3 convolutions with a ReLU between generate the teacher's map from the rest; the squared error is summed over
    cells and channels and averaged over images.
    """

    name = "feature_maps"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        *,
        form: Literal["fitnet", "mgd"],
        weight: float,
        source: FeatureSource,
        mask_ratio: float,
    ):
        super().__init__()
        self.weight = weight
        self.mask_ratio = mask_ratio
        self.pairs = FeaturePairs(teacher, student, source)
        self.generators: nn.ModuleList | None = None
        if form == "mgd":
            self.generators = nn.ModuleList(_generator(width) for width in self.pairs.widths)

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        return {f"{self.name}.features": self.weight}

    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """The term `features`, summed over levels."""
        pairs = self.pairs(inputs)
        if self.generators is None:
            losses = [F.mse_loss(student_BDHW, teacher_BDHW) for teacher_BDHW, student_BDHW in pairs]
        else:
            losses = [
                F.mse_loss(generate(self._masked(student_BDHW)), teacher_BDHW, reduction="sum") / len(teacher_BDHW)
                for generate, (teacher_BDHW, student_BDHW) in zip(self.generators, pairs, strict=True)
            ]
        return {f"{self.name}.features": torch.stack(losses).sum()}

    def _masked(self, feature_BDHW: Tensor) -> Tensor:
        """Zero cells at random, drawn from the global generator, whose state a checkpoint holds."""
        shown_B1HW = torch.rand_like(feature_BDHW[:, :1]) >= self.mask_ratio
        return feature_BDHW * shown_B1HW


def _generator(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
    )
