"""What people are told of the distillation methods: the one source of form, charts and reference. Torch-free."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import BaseModel

from detrdistill.schema.methods import (
    DistillationPointsConfig,
    FeatureMapsConfig,
    ForegroundMemoryConfig,
    MatchedLogitsConfig,
    QueryPriorConfig,
    TargetFeaturesConfig,
)

MethodKind = Literal[
    "matched_logits", "target_features", "query_prior", "distillation_points", "feature_maps", "foreground_memory"
]
Signal = Literal["boxes and scores", "features", "queries"]
"""What a method takes from its teacher; a black box gives the first alone."""
VARIANT_TITLES: Mapping[str, str] = MappingProxyType({
    "recommended": "recommended", "official": "released code", "paper": "paper", "fitnet": "FitNet", "mgd": "MGD",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MethodInfo:
    """A method in words for people, and what its class of the schema does not say."""

    config: type[BaseModel]
    title: str
    paper: str
    summary: str
    """What it does and when to use it."""
    needs: tuple[Signal, ...]
    """With its defaults."""
    terms: tuple[str, ...]
    """Names of the loss terms it can have, after its kind and a dot, in the order to show them."""

    @property
    def kind(self) -> MethodKind:
        """Its name in a configuration."""
        return self.config.model_fields["kind"].default

    @property
    def variant_field(self) -> Literal["variant", "form"] | None:
        """The field that chooses between its variants; None: it has none."""
        fields = self.config.model_fields
        return "variant" if "variant" in fields else "form" if "form" in fields else None

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of its variants; empty where it has none."""
        return get_args(self.config.model_fields[self.variant_field].annotation) if self.variant_field else ()

    @property
    def default_variant(self) -> str | None:
        """The variant of whoever names none."""
        return self.config.model_fields[self.variant_field].default if self.variant_field else None

    def defaults(self, variant: str | None = None) -> dict[str, Any]:
        """What the fields are where only the kind is given, and a variant."""
        given = {"kind": self.kind} | ({self.variant_field: variant} if self.variant_field and variant else {})
        return self.config.model_validate(given).model_dump(mode="json")


_BOX_TERMS = ("classification", "l1", "giou")
_METHODS = (
    MethodInfo(
        config=MatchedLogitsConfig,
        title="Hungarian-matching logits distillation",
        paper="DETRDistill, arXiv 2211.10156, Eqs. 3 to 5",
        summary="Imitates the teacher's class scores and boxes on matched queries of every decoder layer; the method "
        "to start with, and the only one for a black-box teacher.",
        needs=("boxes and scores",),
        terms=(*_BOX_TERMS, "negative_l1", "negative_giou", "contrastive"),
    ),
    MethodInfo(
        config=TargetFeaturesConfig,
        title="Target-aware feature distillation",
        paper="DETRDistill, arXiv 2211.10156, Eqs. 6 to 9",
        summary="Imitates the teacher's feature maps where its good queries look; for a teacher and a student with "
        "feature maps of a common stride.",
        needs=("boxes and scores", "features", "queries"),
        terms=("features",),
    ),
    MethodInfo(
        config=QueryPriorConfig,
        title="Query-prior assignment distillation",
        paper="DETRDistill, arXiv 2211.10156, Eq. 10",
        summary="Runs the teacher's queries through the student as an extra group in training, with the teacher's "
        "assignment of the ground truth; to have a stable assignment from the first step on.",
        needs=("boxes and scores", "queries"),
        terms=_BOX_TERMS,
    ),
    MethodInfo(
        config=DistillationPointsConfig,
        title="Distillation points (KD-DETR)",
        paper="KD-DETR, arXiv 2211.08071",
        summary="Has teacher and student answer the same queries and imitates the answers without any matching; an "
        "alternative to the matched logits.",
        needs=("boxes and scores", "queries"),
        terms=_BOX_TERMS,
    ),
    MethodInfo(
        config=FeatureMapsConfig,
        title="Feature imitation (FitNet, MGD)",
        paper="FitNet, arXiv 1412.6550; MGD, arXiv 2205.01529",
        summary="Imitates whole feature maps, everywhere alike; a baseline to compare the other methods with.",
        needs=("features",),
        terms=("features",),
    ),
    MethodInfo(
        config=ForegroundMemoryConfig,
        title="Foreground memory distillation (CLoCKDistill)",
        paper="CLoCKDistill, arXiv 2502.10683",
        summary="Imitates the features that the decoder attends to, with separate weights inside and outside the "
        "ground truth; an alternative to the target-aware features.",
        needs=("features",),
        terms=("foreground", "background"),
    ),
)
METHODS: Mapping[MethodKind, MethodInfo] = MappingProxyType({info.kind: info for info in _METHODS})
"""Every method by its kind, in the order to show them."""
