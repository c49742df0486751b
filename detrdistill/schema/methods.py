"""The schema of the distillation methods: one class each, a member of `MethodConfig`. Torch-free.

What people are told of them is in `method_table`.

Defaults that depend on another field (a method's `variant`) are filled in during validation, so a validated
configuration is always explicit.
"""

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from detrdistill.errors import FieldError
from detrdistill.schema.weighting import GradientShareConfig, ScheduleConfig

STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""How every part of a run's schema is validated."""
MAX_COUNT = 2**31 - 1
"""Largest whole number where nothing else bounds it."""

Variant = Annotated[
    Literal["recommended", "official", "paper"],
    Field(
        description="Which defaults the other fields have. `recommended`: what this project's measurements favour "
        "(docs/results.md). `official`: the released code. `paper`: the equations of arXiv 2211.10156. "
        "docs/reference/methods.md shows them side by side."
    ),
]
Schedule = Annotated[ScheduleConfig, Field(description="When the method is at work, and how its weight changes.")]
GradientShare = Annotated[
    GradientShareConfig | None,
    Field(description="Let the weight follow the method's share of the gradient, from `weight` on; null: it stays."),
]


def _with_defaults(values: Any, field: str, defaults: dict[str, dict[str, Any]]) -> Any:
    """Fill the defaults that belong to the value of a field; those of its default are the field defaults."""
    if not isinstance(values, dict):
        return values
    given = cast("dict[str, Any]", values)
    return defaults.get(str(given.get(field)), {}) | given


class MatchedLogitsConfig(BaseModel):
    """Hungarian-matching logits distillation (DETRDistill, Eqs. 3 to 5)."""

    model_config = STRICT

    kind: Literal["matched_logits"] = "matched_logits"
    variant: Variant = "recommended"
    weight: float = Field(default=0.3, gt=0)
    """Coefficient of the whole component (lambda 1)."""
    schedule: Schedule = ScheduleConfig()
    gradient_share: GradientShare = None
    class_weight: float = Field(default=1.0, ge=0)
    """Weight of the soft binary cross-entropy, in the matching cost and in the loss."""
    l1_weight: float = Field(default=5.0, ge=0)
    """Weight of the L1 distance of boxes, in the matching cost and in the loss."""
    giou_weight: float = Field(default=2.0, ge=0)
    """Weight of 1 - GIoU, in the matching cost and in the loss."""
    split: bool = False
    """Match and distil the teacher's positives (those the ground truth is assigned to) and negatives apart, negatives
    by boxes only."""
    positive_weight: float = Field(default=1.0, ge=0)
    """Weight of the positives' part; needs `split`."""
    negative_weight: float = Field(default=1.0, ge=0)
    """Weight of the negatives' part; needs `split`. Without them, at a `weight` of 1, students with learned queries
    (AdaMixer, Conditional DETR) gained more, and those that pick their queries less: docs/results.md."""
    negative_pool: Literal["all", "remaining"] = "all"
    """Student queries the negatives may match: all, or those the positives left; needs `split`."""
    pair_weight: Literal["none", "teacher_confidence"] = "teacher_confidence"
    """Weight each pair by the teacher query's highest class score (KD-DETR's w_i)."""
    normaliser: Literal["pairs", "targets"] = "pairs"
    """Divide the terms by the sum of the pairs' weights, or by the number of ground-truth boxes in the batch."""
    selection: Literal["all", "near_targets"] = "all"
    """Teacher queries to match: all, or those that the ground truth is assigned to and, of the others, those near it
    (QSKD, arXiv 2409.06443)."""
    selection_giou: float = Field(default=0.0, ge=-1, lt=1)
    """Of `near_targets`: an unassigned query is near where its best GIoU with any ground truth is above this."""
    top_queries: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Match only so many teacher queries, those with the highest class scores; null: no limit."""
    score_floor: float = Field(default=0.0, ge=0, lt=1)
    """Match only teacher queries whose highest class score reaches this."""
    layers: Literal["all", "last"] = "all"
    """Distil at every decoder layer, or only at the last."""
    layer_reduction: Literal["sum", "mean"] = "sum"
    """How several teacher layers that supervise one student layer are combined."""
    clamp_teacher_boxes: bool = True
    """Clip the teacher's boxes to the image."""
    contrastive_weight: float = Field(default=0.0, ge=0)
    """Weight of the InfoNCE term on matched query embeddings, which only the release has."""
    contrastive_temperature: float = Field(default=0.07, gt=0)
    """Divides the similarities of the InfoNCE term."""

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        official = {"weight": 1.0, "pair_weight": "none", "contrastive_weight": 0.2}
        paper = {"weight": 1.0, "pair_weight": "none", "split": True, "clamp_teacher_boxes": False}
        return _with_defaults(values, "variant", {"official": official, "paper": paper})


class TargetFeaturesConfig(BaseModel):
    """Target-aware feature distillation (DETRDistill, Eqs. 6 to 9)."""

    model_config = STRICT

    kind: Literal["target_features"] = "target_features"
    variant: Variant = "recommended"
    weight: float = Field(default=0.3, gt=0)
    """Coefficient of the whole component (lambda 2)."""
    schedule: Schedule = ScheduleConfig()
    gradient_share: GradientShare = None
    source: Literal["neck", "memory"] = "memory"
    """Features before the transformer encoder, or what the decoder attends to."""
    mask: Literal["cosine_sum", "dot_product"] = "cosine_sum"
    """`cosine_sum`: one normalised map of summed cosines. `dot_product`: one map per query, Eq. 9. Without a mask it is
    the method `feature_maps`."""
    queries: int | None = Field(default=100, ge=1, le=MAX_COUNT)
    """Highest query x class scores whose queries build the mask; null: every query once."""
    dedupe: bool = False
    """Take each query at most once, by its best class; else once for each of its classes that scores high."""
    gamma: float | None = Field(default=None, ge=0, le=1)
    """Quality q = c^gamma IoU^(1-gamma); null: c IoU."""
    quality_iou: Literal["max_any", "same_class", "matched"] = "max_any"
    """IoU of a query in its quality: with any ground truth; with any of its class; or with the one the teacher's
    matching gives it, zero without one."""
    floor: float = Field(default=0.01, gt=0)
    """Smallest value of the cosine mask before it is divided by its maximum."""
    layers: Literal["all", "last"] = "all"
    """Teacher decoder layers whose queries build masks."""
    mask_padding: bool = True
    """Leave padding out of mask and mean. It has no effect until inputs are padded."""

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        official = {"weight": 1.0, "source": "neck", "mask_padding": False}
        paper = {"weight": 1.0, "mask": "dot_product", "queries": None, "gamma": 0.5}
        return _with_defaults(values, "variant", {"official": official, "paper": paper})


class QueryPriorConfig(BaseModel):
    """Query-prior assignment distillation (DETRDistill, Eq. 10)."""

    model_config = STRICT

    kind: Literal["query_prior"] = "query_prior"
    variant: Variant = "recommended"
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component (lambda 3)."""
    schedule: Schedule = ScheduleConfig()
    gradient_share: GradientShare = None
    assignment: Literal["student", "teacher_layer", "teacher_last"] = "teacher_layer"
    """Who assigns ground truth to the teacher's queries: the student, by its own predictions from them; or the teacher,
    by its own of the same layer (Eq. 10) or of its last."""
    group: Literal["concat", "second_decoder_pass", "second_pass"] = "concat"
    """How the teacher's queries run through the student: beside its own in one decoder pass, in a second
    decoder pass, or in a second pass of the same feature maps through encoder and decoder. Equal without dropout."""
    reference: Literal["student", "teacher"] = "teacher"
    """Initial reference points: the student's own layer on the projected queries where its family has one,
    else the teacher's."""

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        official = {"assignment": "student", "group": "second_pass", "reference": "student"}
        return _with_defaults(values, "variant", {"official": official})


class DistillationPointsConfig(BaseModel):
    """Imitation of the teacher's answers to shared queries, without any matching (KD-DETR, arXiv 2211.08071)."""

    model_config = STRICT

    kind: Literal["distillation_points"] = "distillation_points"
    variant: Literal["recommended", "paper"] = "recommended"
    """Which defaults the other fields have. `paper`: KD-DETR and, where it is silent, its release.
    `recommended`: fits heads with sigmoid scores better."""
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component."""
    schedule: Schedule = ScheduleConfig()
    gradient_share: GradientShare = None
    general: int = Field(default=0, ge=0, le=1000)
    """Queries drawn at random in every step; 0: none."""
    specific: bool = True
    """Also the teacher's own queries."""
    class_weight: float = Field(default=1.0, ge=0)
    """Weight of the divergence of class scores."""
    l1_weight: float = Field(default=5.0, ge=0)
    """Weight of the L1 distance of boxes."""
    giou_weight: float = Field(default=2.0, ge=0)
    """Weight of 1 - GIoU."""
    class_form: Literal["softmax_kl", "binary"] = "binary"
    """Between sigmoid scores: divergence of softmaxes over the class logits, or soft binary cross-entropy of each
    class. Softmax scores decide it themselves."""
    temperature: float = Field(default=10.0, gt=0)
    """Divides the logits of `softmax_kl`, whose value is multiplied by its square."""
    layers: Literal["teacher_last", "paired"] = "paired"
    """Teacher layer that each student layer imitates: always the last, or its own."""
    group: Literal["concat", "second_decoder_pass"] = "concat"
    """How the points run through the student: beside its own queries in one decoder pass, or in a second one, as
    released. Equal without dropout."""

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        paper = {"general": 300, "class_form": "softmax_kl", "layers": "teacher_last"}
        return _with_defaults(values, "variant", {"paper": paper})

    @model_validator(mode="after")
    def _has_points(self) -> "DistillationPointsConfig":
        if self.general == 0 and not self.specific:
            raise FieldError("there are no points: set general above 0, or specific to true", pointer="/general")
        return self


class FeatureMapsConfig(BaseModel):
    """Imitation of whole feature maps: FitNet (arXiv 1412.6550) or MGD (arXiv 2205.01529), to compare with."""

    model_config = STRICT

    kind: Literal["feature_maps"] = "feature_maps"
    form: Literal["fitnet", "mgd"] = "fitnet"
    """`fitnet`: mean squared error. `mgd`: squared error, summed, of what a small network makes of the student's map
    with most of its cells hidden."""
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component; that of `mgd` is published for one-stage detectors."""
    schedule: Schedule = ScheduleConfig()
    gradient_share: GradientShare = None
    source: Literal["neck", "memory"] = "neck"
    """Features before the transformer encoder, or what the decoder attends to."""
    mask_ratio: float = Field(default=0.65, ge=0, lt=1)
    """Of `mgd`: share of the cells that are hidden."""

    @model_validator(mode="before")
    @classmethod
    def _form(cls, values: Any) -> Any:
        return _with_defaults(values, "form", {"mgd": {"weight": 2e-5}})


class ForegroundMemoryConfig(BaseModel):
    """Imitation of what the decoder attends to, inside and outside of the ground truth apart (CLoCKDistill, arXiv
    2502.10683). Its weights are those a reimplementation names."""

    model_config = STRICT

    kind: Literal["foreground_memory"] = "foreground_memory"
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component."""
    schedule: Schedule = ScheduleConfig()
    gradient_share: GradientShare = None
    foreground_weight: float = Field(default=5e-5, ge=0)
    """alpha: weight of the cells inside ground truth, where each object counts the same."""
    background_weight: float = Field(default=1e-7, ge=0)
    """beta: weight of the mean over all other cells."""


MethodConfig = Annotated[
    MatchedLogitsConfig
    | TargetFeaturesConfig
    | QueryPriorConfig
    | DistillationPointsConfig
    | FeatureMapsConfig
    | ForegroundMemoryConfig,
    Field(discriminator="kind"),
]
