"""Configurations of the library's backbones from catalog entries."""

from collections.abc import Sequence
from typing import assert_never

from transformers import PreTrainedConfig, ResNetConfig

from detrdistill.catalog import Backbone, HGNetV2, ResNet


def classic_backbone(backbone: Backbone, out_features: Sequence[str]) -> PreTrainedConfig:
    """The trunk of the detectors that are not real-time, with the stages that the detector reads."""
    match backbone:
        case ResNet():
            return ResNetConfig(
                embedding_size=backbone.stem,
                hidden_sizes=list(backbone.stages),
                depths=list(backbone.blocks),
                layer_type="bottleneck" if backbone.bottleneck else "basic",
                out_features=list(out_features),  # pyright: ignore[reportCallIssue]
            )
        case HGNetV2():
            raise ValueError("HGNetV2 is the trunk of the D-FINE lineage only")
        case _:
            assert_never(backbone)
