"""Configuration of AdaMixer, as `config.json` holds it."""

from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig, ResNetConfig

NORM_GROUPS = 32
"""Of the neck's group norm."""


class AdaMixerConfig(PreTrainedConfig):
    """Dimensions of an AdaMixer; the defaults are the published ResNet-50 with 100 queries.

    Attributes:
        backbone_config: a backbone of `transformers` or its dictionary; its output stages are the feature levels.
        feature_strides: stride in pixels of each of these stages.
        num_queries: object queries.
        d_model: channels of queries and feature levels; divisible by 32 and by `groups`.
        decoder_layers: refinement steps (the paper's stages).
        decoder_attention_heads: heads of self-attention; divides `d_model`.
        decoder_ffn_dim: hidden width of the feed-forward network.
        in_points: points sampled per query and group (the paper's P_in).
        out_points: points after spatial mixing (the paper's P_out).
        groups: groups of channels that are sampled and mixed apart (the paper's g).
    """

    model_type: ClassVar[str] = "adamixer"
    sub_configs: ClassVar[dict[str, Any]] = {"backbone_config": AutoConfig}  # pyright: ignore[reportIncompatibleMethodOverride]

    backbone_config: dict[str, Any] | PreTrainedConfig | None = None
    feature_strides: list[int] | tuple[int, ...] = (4, 8, 16, 32)
    num_queries: int = 100
    d_model: int = 256
    decoder_layers: int = 6
    decoder_attention_heads: int = 8
    decoder_ffn_dim: int = 2048
    in_points: int = 32
    out_points: int = 128
    groups: int = 4

    def __post_init__(self, **kwargs: Any) -> None:
        """Complete the backbone and check the widths."""
        if self.backbone_config is None:
            stages: Any = [f"stage{stage}" for stage in range(1, 5)]
            self.backbone_config = ResNetConfig(out_features=stages)  # pyright: ignore[reportCallIssue]
        elif isinstance(self.backbone_config, dict):
            self.backbone_config = AutoConfig.for_model(**self.backbone_config)
        self.feature_strides = tuple(self.feature_strides)
        for divisor in (NORM_GROUPS, self.groups, self.decoder_attention_heads):
            if self.d_model % divisor:
                raise ValueError(f"AdaMixer: d_model {self.d_model} is not divisible by {divisor}")
        super().__post_init__(**kwargs)
