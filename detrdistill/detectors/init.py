"""Initial weights as the published codes of the DETR lineage draw them, in the parts that its families share."""

import math
from typing import Any

from torch import nn

PRIOR = 0.01
"""Score of every class of every query at the start; Source: focal loss (arXiv 1708.02002, section 3.3)."""


def init_xavier(transformer: nn.Module) -> None:
    """Redraw every matrix of an encoder or decoder from Xavier's uniform distribution.

    The published codes hold the projections to query, key and value of an attention as one matrix of three times the
    width, with biases of zero; transformers holds three matrices, which are to be drawn as parts of that one.
    """
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    attentions: list[Any] = [module for module in transformer.modules() if hasattr(module, "q_proj")]
    for attention in attentions:
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            nn.init.xavier_uniform_(projection.weight, gain=2**-0.5)
        for projection in attention.children():
            nn.init.zeros_(projection.bias)


def init_class_head(head: nn.Linear) -> None:
    """Draw a class head anew: objects are rare."""
    head.reset_parameters()
    nn.init.constant_(head.bias, math.log(PRIOR / (1 - PRIOR)))


def init_box_head(head: Any, size_logit: float = 0.0) -> None:
    """Draw a box head anew: boxes are the references.

    Args:
        head: has its linear `layers`.
        size_logit: bias of width and height; where the reference is a point, they start at its sigmoid.
    """
    *hidden, last = head.layers
    for layer in hidden:
        layer.reset_parameters()
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    nn.init.constant_(last.bias[2:], size_logit)
