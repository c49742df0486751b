"""Classification losses. Over per-class sigmoid scores they are sums over queries and classes, not normalised."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from detrdistill.losses.normaliser import mean_over_ranks


def focal(logits: Tensor, one_hot: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss against one-hot targets. Source: Lin et al., arXiv 1708.02002, Eq. 5."""
    return sigmoid_focal_loss(logits, one_hot, alpha=alpha, gamma=gamma, reduction="sum")


def varifocal(logits: Tensor, one_hot: Tensor, quality: Tensor, alpha: float = 0.75, gamma: float = 2.0) -> Tensor:
    """Varifocal loss: matched queries aim at their IoU, others at zero.

    Args:
        logits: raw scores `[..., C]`.
        one_hot: 1 at the matched class, else 0.
        quality: IoU of each query with its target in [0, 1], zero where unmatched, `[..., 1]`.

    Source: arXiv 2008.13367, Eq. 2, in the form of RT-DETR (arXiv 2304.08069): binary cross-entropy weighted with
    q for the matched class and alpha p^gamma elsewhere.
    """
    target = one_hot * quality
    weight = alpha * logits.detach().sigmoid() ** gamma * (1 - one_hot) + target
    return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")


def matchability_aware(logits: Tensor, one_hot: Tensor, quality: Tensor, gamma: float = 1.5) -> Tensor:
    """MAL of DEIM: as varifocal, but low-quality matches still pull the score up.

    Args as `varifocal`. Source: Huang et al., arXiv 2412.04234, Eq. 3: matched class weighted 1 and aiming at
    q^gamma, other classes weighted p^gamma.
    """
    target = one_hot * quality**gamma
    weight = logits.detach().sigmoid() ** gamma * (1 - one_hot) + one_hot
    return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")


def iou_aware(logits: Tensor, one_hot: Tensor, quality: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """IA-BCE: matched queries aim at a mean of their own score and their IoU, others at zero.

    Args as `varifocal`. The aim t = p^alpha q^(1-alpha), at least 0.01, has no gradient; the weight p^gamma of all
    other scores has one. Source: LW-DETR (arXiv 2406.03459) after Align-DETR (arXiv 2304.07527), in the release's form.
    """
    probability = logits.sigmoid()
    aim = (probability.detach() ** alpha * quality ** (1 - alpha)).clamp(min=0.01)
    weight = one_hot + (1 - one_hot) * probability**gamma
    return (weight * F.binary_cross_entropy_with_logits(logits, one_hot * aim, reduction="none")).sum()


def cross_entropy(logits_LBQC: Tensor, labels_LBQ: Tensor, background_weight: float = 0.1) -> Tensor:
    """Cross-entropy over C classes and 'no object', a weighted mean over the queries of each layer; layers are summed.

    Args:
        logits_LBQC: the last column is 'no object'.
        labels_LBQ: class of each query; the index of the last column where it is unmatched.
        background_weight: weight of unmatched queries.

    Source: DETR (arXiv 2005.12872, section 4, "down-weight the log-probability term when c = no object by 10").
    """
    background = logits_LBQC.shape[-1] - 1
    weight_LBQ = torch.where(labels_LBQ == background, background_weight, 1.0)
    loss_LBQ = F.cross_entropy(logits_LBQC.movedim(-1, 1), labels_LBQ, reduction="none")
    return ((weight_LBQ * loss_LBQ).sum((1, 2)) / mean_over_ranks(weight_LBQ.sum((1, 2)), at_least=1e-6)).sum()


def soft_binary_cross_entropy(logits: Tensor, probability: Tensor) -> Tensor:
    """`sum_c softplus(x_c) - x_c t_c` of each row: `[..., C]` gives `[...]`.

    Its minimum is the entropy of the teacher's scores, not zero; see `binary_entropy`.
    """
    return F.binary_cross_entropy_with_logits(logits, probability, reduction="none").sum(-1)


def soft_cross_entropy(logits: Tensor, probability: Tensor) -> Tensor:
    """`-sum_c t_c log softmax(x)_c` of each row, the column 'no object' included: `[..., C]` gives `[...]`."""
    return -(probability * logits.log_softmax(-1)).sum(-1)


def entropy(probability: Tensor) -> Tensor:
    """Entropy of each row's distribution, in nats: `[..., C]` gives `[...]`."""
    return torch.special.entr(probability).sum(-1)


def binary_entropy(probability: Tensor) -> Tensor:
    """Sum over classes of the entropy of each Bernoulli score, in nats: `[..., C]` gives `[...]`."""
    return torch.special.entr(probability).sum(-1) + torch.special.entr(1 - probability).sum(-1)
