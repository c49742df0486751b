"""What can be trained: detector families, their sizes, and what each needs. Data only, no torch.

Adding a size is one entry here; adding a family is one entry here and one file in `detectors/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from detrdistill.errors import CheckpointError, ConfigError

FamilyName = Literal["deformable-detr", "rt-detr", "rt-detr-v2", "deimv2"]
ClassificationLoss = Literal["focal", "varifocal", "mal"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """Dimensions of one member of a family; widths are channels."""

    description: str
    stem: int
    """Channels of the backbone's stem."""
    stages: tuple[int, ...]
    """Output channels of the backbone's stages."""
    blocks: tuple[int, ...]
    """Residual blocks of each stage."""
    bottleneck: bool = False
    """Bottleneck (ResNet-50) instead of basic (ResNet-18) residual blocks."""
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
    normalised: bool
    """Input is normalised with the ImageNet mean and deviation; otherwise only scaled to [0, 1]."""
    class_tensors: str
    """Regular expression over tensor names: the tensors whose first axis is the class axis."""
    classification: ClassificationLoss
    detections_per_image: int | None
    """What the family's image processor keeps by default; None: as many as there are queries."""
    neck_is_query_wide: bool
    """Features before the encoder have as many channels as the queries, as cosine masks need."""
    proposal_strides: tuple[int, ...]
    """Strides of the levels whose cells are candidates for queries; empty where queries are learned."""
    sizes: Mapping[str, Size]


_RT_DETR_SIZES = {
    "pico": Size(
        description="0.3 M parameters; demonstrations and tests on a CPU",
        stem=12, stages=(12, 24, 48, 96), blocks=(1, 1, 1, 1),
        width=32, ffn=64, heads=4, decoder_layers=2, queries=30, denoising=10, expansion=0.5,
    ),
    "nano": Size(
        description="1.3 M parameters; small images on a CPU",
        stem=24, stages=(24, 48, 96, 160), blocks=(1, 1, 1, 1),
        width=64, ffn=128, heads=4, decoder_layers=3, queries=50, denoising=20, expansion=0.5,
    ),
    "r18": Size(
        description="ResNet-18, 3 decoder layers",
        stem=64, stages=(64, 128, 256, 512), blocks=(2, 2, 2, 2),
        width=256, ffn=1024, decoder_layers=3, queries=300, expansion=0.5,
    ),
    "r50": Size(
        description="ResNet-50, 6 decoder layers",
        stem=64, stages=(256, 512, 1024, 2048), blocks=(3, 4, 6, 3), bottleneck=True,
        width=256, ffn=1024, decoder_layers=6, queries=300,
    ),
}  # fmt: skip

_RT_DETR_CLASS_TENSORS = r"(class_embed\.\d+|enc_score_head)\.(weight|bias)$|denoising_class_embed\.weight$"

_CATALOG: dict[FamilyName, Family] = {
    "deformable-detr": Family(
        title="Deformable DETR",
        paper="arXiv 2010.04159",
        licence="Apache-2.0",
        model_type="deformable_detr",
        normalised=True,
        class_tensors=r"class_embed\.\d+\.(weight|bias)$",
        classification="focal",
        detections_per_image=100,
        neck_is_query_wide=True,
        proposal_strides=(),
        sizes={
            "nano": Size(
                description="1 M parameters; small images on a CPU",
                stem=24, stages=(24, 48, 96, 160), blocks=(1, 1, 1, 1),
                width=64, ffn=128, heads=4, encoder_layers=2, decoder_layers=3, queries=50,
            ),
            "r18": Size(
                description="ResNet-18, the student of DETRDistill's Table 10",
                stem=64, stages=(64, 128, 256, 512), blocks=(2, 2, 2, 2),
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300,
            ),
            "r50": Size(
                description="ResNet-50, the student of DETRDistill's Table 3",
                stem=64, stages=(256, 512, 1024, 2048), blocks=(3, 4, 6, 3), bottleneck=True,
                width=256, ffn=1024, encoder_layers=6, decoder_layers=6, queries=300,
            ),
        },
    ),
    "rt-detr": Family(
        title="RT-DETR",
        paper="arXiv 2304.08069",
        licence="Apache-2.0",
        model_type="rt_detr",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="varifocal",
        detections_per_image=None,
        neck_is_query_wide=True,
        proposal_strides=(8, 16, 32),
        sizes=_RT_DETR_SIZES,
    ),
    "rt-detr-v2": Family(
        title="RT-DETRv2",
        paper="arXiv 2407.17140",
        licence="Apache-2.0",
        model_type="rt_detr_v2",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="varifocal",
        detections_per_image=None,
        neck_is_query_wide=True,
        proposal_strides=(8, 16, 32),
        sizes=_RT_DETR_SIZES,
    ),
    "deimv2": Family(
        title="DEIMv2",
        paper="arXiv 2509.20787",
        licence="Apache-2.0",
        model_type="deimv2",
        normalised=False,
        class_tensors=_RT_DETR_CLASS_TENSORS,
        classification="mal",
        detections_per_image=None,
        neck_is_query_wide=False,
        proposal_strides=(16, 32),
        sizes={
            "atto": Size(
                description="0.5 M parameters",
                stem=16, stages=(64, 256, 256), blocks=(1, 1, 1),
                width=64, ffn=160, encoder_layers=0, decoder_layers=3, queries=100, expansion=0.34,
            ),
            "femto": Size(
                description="1 M parameters",
                stem=16, stages=(64, 256, 512), blocks=(1, 1, 1),
                width=96, ffn=256, encoder_layers=0, decoder_layers=3, queries=150, expansion=0.34,
            ),
        },
    ),
}  # fmt: skip

CATALOG: Mapping[FamilyName, Family] = MappingProxyType(_CATALOG)
"""Every family by name."""


def family_of(model_type: str) -> FamilyName:
    """Name the family of a `transformers` model type.

    Raises:
        CheckpointError: no supported family has this model type.
    """
    for name, family in CATALOG.items():
        if family.model_type == model_type:
            return name
    known = ", ".join(sorted(family.model_type for family in CATALOG.values()))
    raise CheckpointError(
        f"Model type {model_type!r} is not a supported detector family.",
        hint=f"Supported model types: {known}.",
    )


def size_of(family: FamilyName, size: str) -> Size:
    """Look up one size of a family.

    Raises:
        ConfigError: the family has no such size.
    """
    sizes = CATALOG[family].sizes
    if size not in sizes:
        raise ConfigError(
            f"{family} has no size {size!r}.",
            hint=f"Choose one of: {', '.join(sizes)}.",
            pointer="/student/size",
        )
    return sizes[size]


def check_queries(family: FamilyName, queries: int, image_size: int) -> None:
    """Refuse more queries than the feature maps have cells to pick them from.

    Raises:
        ConfigError: with the pointer `/student/queries`.
    """
    strides = CATALOG[family].proposal_strides
    cells = sum((image_size // stride) ** 2 for stride in strides)
    if strides and queries > cells:
        raise ConfigError(
            f"{family} picks its {queries} queries among the {cells} cells of its feature maps at {image_size} px.",
            hint="Raise data.image_size or lower student.queries.",
            pointer="/student/queries",
        )
