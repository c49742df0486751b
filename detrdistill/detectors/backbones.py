"""Configurations of the library's backbones from catalog entries."""

from collections.abc import Sequence
from typing import Any, assert_never

from transformers import PreTrainedConfig, ResNetConfig, TimmBackboneConfig

from detrdistill.catalog import Backbone, HGNetV2, MobileNetV2, ResNet


def classic_backbone(backbone: Backbone, out_features: Sequence[str]) -> PreTrainedConfig:
    """The trunk of the detectors that are not real-time.

    Args:
        backbone: from the catalog.
        out_features: stages that the detector reads: "stage1" (stride 4) to "stage4" (stride 32).
    """
    match backbone:
        case ResNet():
            return ResNetConfig(
                embedding_size=backbone.stem,
                hidden_sizes=list(backbone.stages),
                depths=list(backbone.blocks),
                layer_type="bottleneck" if backbone.bottleneck else "basic",
                out_features=list(out_features),  # pyright: ignore[reportCallIssue]
            )
        case MobileNetV2():
            settings: dict[str, Any] = {
                "backbone": f"mobilenetv2_{backbone.percent:03d}",
                "use_pretrained_backbone": False,
                "out_indices": [int(name.removeprefix("stage")) for name in out_features],
            }
            return TimmBackboneConfig(**settings)
        case HGNetV2():
            raise ValueError("HGNetV2 is the trunk of the D-FINE lineage only")
        case _:
            assert_never(backbone)
