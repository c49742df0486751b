"""Configurations of transformers' backbones from catalog entries."""

from collections.abc import Sequence
from typing import Any, assert_never

from torch import nn
from transformers import HGNetV2Config, PreTrainedConfig, ResNetConfig, TimmBackboneConfig

from detrdistill.catalog import Backbone, HGNetV2, MobileNetV2, Patches, ResNet, ViT


def classic_backbone(backbone: Backbone, out_features: Sequence[str]) -> PreTrainedConfig:
    """The backbone of the detectors that are not real-time.

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
            raise ValueError("HGNetV2 is a backbone of the D-FINE lineage only")
        case ViT() | Patches():
            raise ValueError("plain vision transformers are backbones of LW-DETR, RF-DETR and YOLOS only")
        case _:
            assert_never(backbone)


def hgnet_backbone(backbone: Backbone, levels: int, last_kernel: int = 5) -> HGNetV2Config:
    """The backbone of the D-FINE lineage, in the form of its size B0, with its last `levels` stages as outputs.

    Args:
        backbone: has three or four stages.
        levels: stages that the detector reads.
        last_kernel: side in pixels of the convolutions from the third stage on.
    """
    assert isinstance(backbone, HGNetV2)
    count = len(backbone.stages)
    return HGNetV2Config(
        embedding_size=backbone.stem,
        hidden_sizes=list(backbone.stages),
        depths=[3] * count,
        stem_channels=[3, backbone.stem, backbone.stem],
        stage_in_channels=[backbone.stem, *backbone.stages[:-1]],
        stage_mid_channels=[backbone.stem * 2**stage for stage in range(count)],
        stage_out_channels=list(backbone.stages),
        stage_num_blocks=list(backbone.blocks),
        stage_downsample=[stage > 0 for stage in range(count)],
        stage_downsample_strides=[2] * count,
        stage_light_block=[stage > 1 for stage in range(count)],
        stage_kernel_size=[3 if stage < 2 else last_kernel for stage in range(count)],
        stage_numb_of_layers=[3] * count,
        stem_strides=[2, 1, 1, 2, 1],
        use_learnable_affine_block=True,
        out_features=[f"stage{stage + 1}" for stage in range(count - levels, count)],  # pyright: ignore[reportCallIssue]
    )


def init_vit(vit: nn.Module) -> None:
    """Draw the linear layers of a vision transformer as all its codes do: a normal of deviation 0.02, biases zero."""
    for module in vit.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
                nn.init.zeros_(module.bias)
