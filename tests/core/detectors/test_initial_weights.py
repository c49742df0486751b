"""New detectors start as the published codes start them, where transformers' draw would harm training."""

import math

import pytest
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


@pytest.mark.parametrize("family", ["lw-detr", "rf-detr"])
def test_lw_detr_starts_at_its_proposals_with_equal_heads_in_all_groups(family: str):
    """Source: LW-DETR's release."""
    model = tiny_detector(family).model
    inner = model.model
    assert inner.reference_point_embed.weight.abs().max() == 0
    assert inner.query_feat.weight.std().item() == pytest.approx(1, abs=0.1)
    assert len(inner.enc_out_class_embed) == len(inner.enc_out_bbox_embed) == 3
    for class_head, box_head in zip(inner.enc_out_class_embed, inner.enc_out_bbox_embed, strict=True):
        assert torch.allclose(class_head.bias, torch.tensor(PRIOR))
        assert torch.equal(class_head.weight, model.class_embed.weight)
        assert torch.equal(box_head.layers[0].weight, model.bbox_embed.layers[0].weight)
        assert box_head.layers[-1].weight.abs().max() == box_head.layers[-1].bias.abs().max() == 0
    assert is_by_fan_in(model.class_embed)
    assert not torch.equal(inner.enc_output[0].weight, inner.enc_output[1].weight)
    assert inner.decoder.layers[0].self_attn.q_proj.weight.std().item() == pytest.approx(64**-0.5, rel=0.1)
    assert inner.decoder.layers[0].cross_attn.sampling_offsets.weight.abs().max() == 0
    vit = [module for module in inner.backbone.backbone.modules() if isinstance(module, nn.Linear)]
    assert all(layer.weight.std().item() == pytest.approx(0.02, rel=0.1) for layer in vit)


def test_yolos_starts_with_queries_that_differ():
    """Source: YOLOS's release; transformers starts them all at zero."""
    model = tiny_detector("yolos").model
    embeddings = model.vit.embeddings
    for tokens in (embeddings.detection_tokens, embeddings.position_embeddings, embeddings.cls_token):
        assert tokens.std().item() == pytest.approx(0.02, rel=0.2)
    vit = [module for module in model.vit.modules() if isinstance(module, nn.Linear)]
    assert all(layer.weight.std().item() == pytest.approx(0.02, rel=0.1) for layer in vit)
    assert is_by_fan_in(model.class_labels_classifier.layers[0])
    assert is_by_fan_in(model.bbox_predictor.layers[0])
