"""How far a student's scores are from a teacher's, for heads that may score in different ways.

With sigmoid scores each class is a distribution of its own; with softmax scores the classes and 'no object' share one.
A softmax teacher gives a sigmoid student its class probabilities. The other way round there is no distribution to give.
"""

from torch import Tensor
from torch.nn import functional as F

from detrdistill.catalog import Scores
from detrdistill.errors import ConfigError
from detrdistill.losses.classification import (
    binary_entropy,
    entropy,
    soft_binary_cross_entropy,
    soft_cross_entropy,
)
from detrdistill.outputs import class_probability


def check_scores(teacher: Scores, student: Scores) -> None:
    """Refuse a teacher whose scores say nothing that the student's could aim at.

    Raises:
        ConfigError: sigmoid teacher, softmax student.
    """
    if (teacher, student) == ("sigmoid", "softmax"):
        raise ConfigError(
            "The teacher scores each class by itself, which is no distribution over the student's classes and "
            "'no object'.",
            hint="Set class_weight to 0 to distil boxes only, or choose a student with sigmoid scores.",
        )


def soft_targets(teacher_logits: Tensor, teacher: Scores, student: Scores) -> Tensor:
    """Probabilities the student's scores aim at; for a softmax student the column 'no object' among them."""
    return teacher_logits.softmax(-1) if student == "softmax" else class_probability(teacher_logits, teacher)


def divergence(logits: Tensor, probability: Tensor, scores: Scores) -> Tensor:
    """Soft cross-entropy of each row above its floor, the entropy of the targets: `[..., C]` gives `[...]`.

    Zero where the student agrees. Source: per class, the release of DETRDistill, and BCKD (arXiv 2308.14286), which
    argues for it wherever scores are sigmoids.
    """
    if scores == "softmax":
        return soft_cross_entropy(logits, probability) - entropy(probability)
    return soft_binary_cross_entropy(logits, probability) - binary_entropy(probability)


def softened_kl(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`T^2 KL(softmax(t / T) || softmax(x / T))` of each row: `[..., C]` gives `[...]`.

    T^2 keeps the size of the gradient. Source: Hinton et al., arXiv 1503.02531, section 2.
    """
    wanted = (teacher_logits / temperature).log_softmax(-1)
    found = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)
