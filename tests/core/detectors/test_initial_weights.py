"""New detectors start as the published codes start them, where the library's draw would harm training."""

import math

import torch
from torch import nn

from tests.support.factories import tiny_detector

PRIOR = math.log(0.01 / 0.99)
"""Bias of a class head whose scores start at 0.01."""


def is_by_fan_in(layer: nn.Linear) -> bool:
    """Uniform within 1 / sqrt(fan-in), the default of PyTorch."""
    bound = layer.in_features**-0.5
    return bool(layer.weight.abs().max() <= bound and abs(layer.weight.std() / (bound / 3**0.5) - 1) < 0.1)


def test_d_fine_starts_at_rare_objects_and_at_the_anchors():
    """Source: D-FINE's `_reset_parameters`."""
    model = tiny_detector("d-fine").model
    for head in (model.model.enc_score_head, *model.class_embed):
        assert torch.allclose(head.bias, torch.tensor(PRIOR))
    for head in (model.model.enc_bbox_head, model.model.decoder.pre_bbox_head, *model.bbox_embed):
        assert head.layers[-1].weight.abs().max() == 0
        assert head.layers[-1].bias.abs().max() == 0
    assert is_by_fan_in(model.model.decoder.layers[0].self_attn.q_proj)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(bool((norm.weight == 1).all()) for norm in norms)
