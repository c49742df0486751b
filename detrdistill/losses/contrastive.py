"""InfoNCE between matched query embeddings, a term of the DETRDistill release that its paper does not have."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def info_nce(anchor_PD: Tensor, positive_PD: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of picking each anchor's own positive among all, in one direction; a mean over pairs.

    Rows are normalised here. Without pairs the loss is zero. Source: arXiv 1807.03748, Eq. 4.
    """
    if len(anchor_PD) == 0:
        return anchor_PD.sum() + positive_PD.sum()
    scores_PP = F.normalize(anchor_PD, dim=-1) @ F.normalize(positive_PD, dim=-1).mT / temperature
    return F.cross_entropy(scores_PP, torch.arange(len(scores_PP), device=scores_PP.device))


class ContrastiveHead(nn.Module):
    """Projects matched teacher and student embeddings to 512 channels and contrasts them.

    Each side: Linear to 512, then Linear, batch norm, ReLU, Linear. Source: the release of DETRDistill. Ranks
    that share a batch contrast the pairs of their own images only.
    """

    def __init__(self, teacher_width: int, student_width: int, temperature: float, width: int = 512):
        super().__init__()
        self.temperature = temperature
        self.teacher = self._side(teacher_width, width)
        self.student = self._side(student_width, width)

    @staticmethod
    def _side(inputs: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(inputs, width),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
        )

    def forward(self, teacher_PD: Tensor, student_PD: Tensor) -> Tensor:
        """Loss of P matched pairs of embeddings."""
        return info_nce(self.teacher(teacher_PD), self.student(student_PD), self.temperature)
