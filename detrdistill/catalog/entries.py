"""The form of a catalog entry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FamilyName = Literal[
    "detr",
    "table-transformer",
    "conditional-detr",
    "dab-detr",
    "deformable-detr",
    "adamixer",
    "rt-detr",
    "rt-detr-v2",
    "deimv2",
    "d-fine",
    "lw-detr",
    "rf-detr",
    "yolos",
]
ClassificationLoss = Literal["focal", "varifocal", "mal", "ia_bce", "cross_entropy"]
Scores = Literal["sigmoid", "softmax"]
"""How logits become probabilities: each class by itself, or all together with a last column 'no object'."""


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual backbone; widths are channels."""

    stem: int
    stages: tuple[int, ...]
    """Output channels of each stage."""
    blocks: tuple[int, ...]
    """Residual blocks of each stage."""
    bottleneck: bool = False
    """Bottleneck (ResNet-50) instead of basic (ResNet-18) residual blocks."""


@dataclass(frozen=True, kw_only=True)
class MobileNetV2:
    """MobileNetV2 of the package timm, which loading the detector then needs."""

    percent: int = 100
    """Width multiplier: 50, 100, 110, 120 or 140."""


@dataclass(frozen=True, kw_only=True)
class HGNetV2:
    """The backbone of the D-FINE lineage; widths are channels."""

    stem: int
    stages: tuple[int, ...]
    blocks: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ViT:
    """A plain vision transformer over square patches, most of whose layers attend within windows."""

    width: int
    """Channels of the tokens."""
    layers: int
    heads: int
    patch: int = 16
    """Side in pixels."""
    windows: int
    """Windows per side of the image."""
    windowed: tuple[int, ...] = ()
    """Layers, from 0, that attend within windows (LW-DETR; RF-DETR's follow from `outputs`)."""
    outputs: tuple[int, ...]
    """Layers, from 0, whose tokens the detector reads."""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """No backbone: each square patch of pixels is projected to a token (YOLOS)."""

    side: int = 16
    """In pixels."""


Backbone = ResNet | MobileNetV2 | HGNetV2 | ViT | Patches


@dataclass(frozen=True, kw_only=True)
class Size:
    """Dimensions of one member of a family."""

    description: str
    backbone: Backbone
    width: int
    """d_model of encoder and decoder."""
    ffn: int
    heads: int = 8
    encoder_layers: int = 1
    decoder_layers: int
    queries: int
    denoising: int = 100
    """Denoising queries in training (families that have them); more train better and slower."""
    points: tuple[int, int] = (32, 128)
    """Sampled and mixed points of each query (AdaMixer's P_in and P_out)."""
    box_refinement: bool = False
    """Each decoder layer starts from the box of the one before (Deformable DETR)."""
    two_stage: bool = False
    """Queries are picked among proposals of the encoder; with box refinement only (Deformable DETR)."""
    expansion: float = 1.0
    """Hidden width of the encoder's convolution blocks as a fraction of `width` (hybrid encoders)."""
    encoder_blocks: int = 3
    """Convolution blocks of each fusion in the encoder (D-FINE)."""
    levels: int = 3
    """Feature levels, the coarsest of the family's (D-FINE)."""
    query_groups: int = 13
    """Groups of queries in training (Group DETR); inference runs the first alone."""

    @property
    def side_multiple(self) -> int:
        """Pixels of which the input's side must be a multiple."""
        return self.backbone.patch * self.backbone.windows if isinstance(self.backbone, ViT) else 32


@dataclass(frozen=True, kw_only=True)
class ConfigFields:
    """Where a config.json says the dimensions of a detector, and transformers' default, which it may leave out."""

    queries: tuple[str, int] = ("num_queries", 300)
    decoder_layers: tuple[str, int] = ("decoder_layers", 6)
    width: tuple[str, int] = ("d_model", 256)


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture family and what the project knows of it."""

    title: str
    paper: str
    licence: str
    """Licence of the published reference weights; a student may inherit its teacher's terms."""
    model_type: str
    """`model_type` in the config.json of `transformers`."""
    in_library: bool = True
    """`transformers` has the class; else `import detrdistill.detectors` must come before `from_pretrained`."""
    scores: Scores
    normalised: bool
    """Input is normalised with the ImageNet mean and deviation; otherwise only scaled to [0, 1]."""
    class_tensors: str
    """Regular expression over tensor names: the tensors whose first axis is the class axis."""
    classification: ClassificationLoss
    bin_weights: tuple[float, float] | None = None
    """Published weights of FGL and DDF, D-FINE's losses of boxes that are distributions over bins; None: they are not.
    DEIMv2 trains its sizes below N without them."""
    detections_per_image: int | None
    """What the family's image processor keeps by default; None: as many as there are queries."""
    neck_strides: tuple[int, ...]
    """Strides of the feature maps before the transformer encoder, as new detectors have them."""
    memory_strides: tuple[int, ...]
    """Strides of the feature maps the decoder attends to."""
    neck_is_query_wide: bool
    """Features before the encoder have as many channels as the queries, as masks built from queries need."""
    proposal_strides: tuple[int, ...] = ()
    """Strides of the levels whose cells are candidates for queries; empty where queries are learned, but for sizes
    of two stages: there it is every level of the memory."""
    boxes_leave_image: bool = False
    """Predicted boxes are not confined to [0, 1]."""
    last_layer_only: bool = False
    """Only the last layer has predictions, as published."""
    onnx_batch: Literal["any", "fixed"] = "any"
    """Batch sizes that an ONNX model takes; `fixed`: that of the example it is exported with."""
    config_fields: ConfigFields = ConfigFields()
    sizes: Mapping[str, Size]
