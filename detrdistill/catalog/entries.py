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
    "rt-detr",
    "rt-detr-v2",
    "deimv2",
]
ClassificationLoss = Literal["focal", "varifocal", "mal", "cross_entropy"]
Scores = Literal["sigmoid", "softmax"]
"""How logits become probabilities: each class by itself, or all together with a last column 'no object'."""


@dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual trunk; widths are channels."""

    stem: int
    stages: tuple[int, ...]
    """Output channels of each stage."""
    blocks: tuple[int, ...]
    """Residual blocks of each stage."""
    bottleneck: bool = False
    """Bottleneck (ResNet-50) instead of basic (ResNet-18) residual blocks."""


@dataclass(frozen=True, kw_only=True)
class HGNetV2:
    """The trunk of the D-FINE lineage; widths are channels."""

    stem: int
    stages: tuple[int, ...]
    blocks: tuple[int, ...]


Backbone = ResNet | HGNetV2


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
    expansion: float = 1.0
    """Hidden width of the encoder's convolution blocks as a fraction of `width` (hybrid encoders)."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture family and what the project knows of it."""

    title: str
    paper: str
    licence: str
    """Licence of the published reference weights; a student may inherit its teacher's terms."""
    model_type: str
    """`model_type` in the config.json of `transformers`."""
    scores: Scores
    normalised: bool
    """Input is normalised with the ImageNet mean and deviation; otherwise only scaled to [0, 1]."""
    class_tensors: str
    """Regular expression over tensor names: the tensors whose first axis is the class axis."""
    classification: ClassificationLoss
    detections_per_image: int | None
    """What the family's image processor keeps by default; None: as many as there are queries."""
    neck_strides: tuple[int, ...]
    """Strides of the feature maps before the transformer encoder, as new detectors have them."""
    memory_strides: tuple[int, ...]
    """Strides of the feature maps the decoder attends to."""
    neck_is_query_wide: bool
    """Features before the encoder have as many channels as the queries, as masks built from queries need."""
    proposal_strides: tuple[int, ...] = ()
    """Strides of the levels whose cells are candidates for queries; empty where queries are learned."""
    sizes: Mapping[str, Size]
