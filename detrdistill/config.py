"""The schema of a run: the one place where a hyper-parameter is declared. Torch-free.

`RunConfig` is a union over the job kinds, discriminated by `kind`; the `config` of `POST /jobs` and the one of a
run file are this very object. Paths, ids and secrets are not part of it. Defaults that depend on another field
(a method's `variant`) are filled in during validation, so a validated configuration is always explicit.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from detrdistill.catalog import ClassificationLoss, FamilyName, check_queries, check_side, size_of
from detrdistill.errors import ConfigError

DEFAULT_IMAGE_SIZE = 640
_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

Variant = Literal["official", "paper"]
"""`official`: the released code's form. `paper`: the equations of arXiv 2211.10156. They differ; see docs."""


def _with_variant_defaults(values: Any, paper: dict[str, Any]) -> Any:
    """Fill the defaults of the `paper` variant; those of `official` are the field defaults."""
    return paper | values if isinstance(values, dict) and values.get("variant") == "paper" else values  # pyright: ignore


class MatchedLogits(BaseModel):
    """Hungarian-matching logits distillation (DETRDistill, Eqs. 3 to 5)."""

    model_config = _STRICT

    kind: Literal["matched_logits"] = "matched_logits"
    variant: Variant = "official"
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component (lambda 1)."""
    class_weight: float = Field(default=1.0, ge=0)
    """Weight of the soft binary cross-entropy, in the matching cost and in the loss."""
    l1_weight: float = Field(default=5.0, ge=0)
    """Weight of the L1 distance of boxes, in the matching cost and in the loss."""
    giou_weight: float = Field(default=2.0, ge=0)
    """Weight of 1 - GIoU, in the matching cost and in the loss."""
    split: bool = False
    """Match and distil the teacher's positives and negatives apart, negatives by boxes only. Paper: true."""
    positive_weight: float = Field(default=1.0, ge=0)
    """Weight of the positives' part; needs `split`."""
    negative_weight: float = Field(default=1.0, ge=0)
    """Weight of the negatives' part; needs `split`."""
    negative_pool: Literal["all", "remaining"] = "all"
    """Student queries the negatives may match: all, or those the positives left; needs `split`."""
    pair_weight: Literal["none", "teacher_confidence"] = "none"
    """Weight each pair by the teacher query's highest class score (KD-DETR's w_i), normalised by their sum."""
    layers: Literal["all", "last"] = "all"
    """Distil at every decoder layer, or only at the last."""
    layer_reduction: Literal["sum", "mean"] = "sum"
    """How several teacher layers that supervise one student layer are combined."""
    clamp_teacher_boxes: bool = True
    """Clip the teacher's boxes to the image. Paper: false."""
    contrastive_weight: float = Field(default=0.2, ge=0)
    """Weight of the InfoNCE term on matched query embeddings, which only the release has. Paper: 0."""
    contrastive_temperature: float = Field(default=0.07, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        return _with_variant_defaults(values, {"split": True, "clamp_teacher_boxes": False, "contrastive_weight": 0.0})


class TargetFeatures(BaseModel):
    """Target-aware feature distillation (DETRDistill, Eqs. 6 to 9)."""

    model_config = _STRICT

    kind: Literal["target_features"] = "target_features"
    variant: Variant = "official"
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component (lambda 2)."""
    source: Literal["neck", "memory"] = "neck"
    """Features before the transformer encoder, or what the decoder attends to. Paper: memory."""
    mask: Literal["cosine_sum", "dot_product", "none"] = "cosine_sum"
    """Release: one normalised map of summed cosines. Paper: `dot_product`, one map per query. `none`: FitNet."""
    queries: int | None = Field(default=100, ge=1)
    """Highest query x class scores whose queries build the mask; null: every query once. Paper: null."""
    gamma: float | None = Field(default=None, ge=0, le=1)
    """Quality q = c^gamma IoU^(1-gamma); null: c IoU, as released. Paper: 0.5."""
    floor: float = Field(default=0.01, gt=0)
    """Smallest value of the cosine mask before it is divided by its maximum."""
    layers: Literal["all", "last"] = "all"
    """Teacher decoder layers whose queries build masks."""

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        return _with_variant_defaults(
            values, {"source": "memory", "mask": "dot_product", "queries": None, "gamma": 0.5}
        )


class QueryPrior(BaseModel):
    """Query-prior assignment distillation (DETRDistill, Eq. 10)."""

    model_config = _STRICT

    kind: Literal["query_prior"] = "query_prior"
    variant: Variant = "official"
    weight: float = Field(default=1.0, gt=0)
    """Coefficient of the whole component (lambda 3)."""
    assignment: Literal["student", "teacher_layer", "teacher_last"] = "student"
    """Who assigns ground truth to the teacher's queries: the release re-matches with the student's
    predictions; Eq. 10 takes the teacher's own assignment of the same layer. Paper: teacher_layer."""
    group: Literal["concat", "second_decoder_pass", "second_pass"] = "second_pass"
    """How the teacher's queries run through the student: beside its own in one decoder pass, in a second
    decoder pass, or in a second pass through encoder and decoder. Equal without dropout. Paper: concat."""
    reference: Literal["student", "teacher"] = "student"
    """Initial reference points: the student's own layer on the projected queries where its family has one,
    else the teacher's. Paper: teacher."""

    @model_validator(mode="before")
    @classmethod
    def _variant(cls, values: Any) -> Any:
        return _with_variant_defaults(
            values, {"assignment": "teacher_layer", "group": "concat", "reference": "teacher"}
        )


Method = Annotated[MatchedLogits | TargetFeatures | QueryPrior, Field(discriminator="kind")]


class Architecture(BaseModel):
    """A new detector with random weights, chosen from the catalog."""

    model_config = _STRICT

    family: FamilyName
    size: str = Field(examples=["pico", "nano", "r18", "r50"])
    """One of the family's sizes; see `GET /catalog`."""
    queries: int | None = Field(default=None, ge=1, le=1000)
    """Object queries; null: as the size has."""
    decoder_layers: int | None = Field(default=None, ge=2, le=12)
    """Decoder layers; null: as the size has."""

    @model_validator(mode="after")
    def _known(self) -> "Architecture":
        try:
            size_of(self.family, self.size)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class Data(BaseModel):
    """How images reach the detectors."""

    model_config = _STRICT

    image_size: int | None = Field(default=None, ge=32, le=2048, multiple_of=32)
    """Side in pixels of the student's square input; null: that of the student checkpoint, or 640 for a new
    detector. A teacher keeps the input size of its own checkpoint."""
    horizontal_flip: bool = True
    """Mirror half of the training images."""
    photometric: bool = True
    """Random brightness, contrast, saturation and hue."""
    crop: bool = True
    """Random crops that keep some box (the SSD scheme), for half of the training images."""
    workers: int | None = Field(default=None, ge=0, le=64)
    """Loader processes; null: up to 8 with a GPU, none without."""


class Training(BaseModel):
    """Optimisation of the student, and identically of the control."""

    model_config = _STRICT

    epochs: int = Field(default=24, ge=1, le=10_000)
    batch_size: int = Field(default=16, ge=1, le=1024)
    """Images per optimiser step."""
    lr: float = Field(default=2e-4, gt=0, le=1)
    """Peak learning rate of AdamW."""
    backbone_lr_factor: float = Field(default=1.0, ge=0, le=1)
    """Multiplies `lr` for the backbone; 0.1 is customary when the backbone is pre-trained, 0 freezes it."""
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    """Decay of matrices; biases and normalisation parameters are not decayed."""
    warmup_steps: int = Field(default=500, ge=0)
    """Steps of linear warm-up; at most a tenth of the run is used."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """After warm-up: cosine to zero; x0.1 at four fifths of the run; or constant."""
    clip_norm: float = Field(default=0.1, gt=0)
    """Largest L2 norm of the gradient."""
    ema_decay: float | None = Field(default=0.9998, gt=0, lt=1)
    """Decay of the exponential moving average that is evaluated and exported; null: no average."""
    freeze_batch_norm: bool = False
    """Keep every batch norm in evaluation mode, as checkpoints with folded statistics need."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Autocast type of the forward pass; auto: bf16 on GPUs that have it. Losses are always fp32."""
    seed: int = Field(default=0, ge=0, lt=2**31)


class Criterion(BaseModel):
    """Detection loss against the ground truth, at every decoder layer."""

    model_config = _STRICT

    classification: ClassificationLoss | None = None
    """null: what the student's family was published with."""
    class_weight: float | None = Field(default=None, ge=0)
    """null: 2 for focal, else 1."""
    l1_weight: float = Field(default=5.0, ge=0)
    giou_weight: float = Field(default=2.0, ge=0)
    class_cost: float | None = Field(default=None, ge=0)
    """Weight of the classification term in the matching cost; null: 2 with sigmoid scores, 1 with softmax scores."""
    l1_cost: float = Field(default=5.0, ge=0)
    giou_cost: float = Field(default=2.0, ge=0)


class Evaluation(BaseModel):
    """COCO evaluation on the validation split."""

    model_config = _STRICT

    every_epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=16, ge=1, le=1024)


class TeacherGate(BaseModel):
    """What a teacher must show before any training starts."""

    model_config = _STRICT

    min_ap: float = Field(default=0.1, ge=0, le=1)
    """Lowest AP on the run's own validation set; below it the run fails and says why."""


def _check_fit(student: Architecture | None, data: Data) -> None:
    if student is None:
        return
    size, image_size = size_of(student.family, student.size), data.image_size or DEFAULT_IMAGE_SIZE
    try:
        check_side(image_size, size.side_multiple)
        check_queries(student.family, student.queries or size.queries, image_size, size.levels)
    except ConfigError as error:
        raise ValueError(str(error)) from error


class TrainConfig(BaseModel):
    """Train one detector: fine-tune a checkpoint, or train a new one. Makes teachers and plain students."""

    model_config = _STRICT

    kind: Literal["train"]
    student: Architecture | None = None
    """The detector to train; null: architecture and weights of the given checkpoint."""
    data: Data = Data()
    training: Training = Training()
    criterion: Criterion = Criterion()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        _check_fit(self.student, self.data)
        return self


class DistillConfig(BaseModel):
    """Distil a teacher into a student."""

    model_config = _STRICT

    kind: Literal["distill"]
    student: Architecture | None = None
    """The student; null: architecture and weights of the given student checkpoint."""
    teacher: TeacherGate = TeacherGate()
    methods: tuple[Method, ...] = Field(default=(MatchedLogits(), TargetFeatures(), QueryPrior()), min_length=1)
    """Distillation methods, each at most once; their terms are added to the detection loss."""
    control: bool = False
    """Also train the same student without distillation (same seed, data order and schedule) and report the
    difference in AP, the KD gain."""
    data: Data = Data()
    training: Training = Training()
    criterion: Criterion = Criterion()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _fits(self) -> "DistillConfig":
        kinds = [method.kind for method in self.methods]
        if len(set(kinds)) < len(kinds):
            raise ValueError("each method may be listed once")
        _check_fit(self.student, self.data)
        return self


RunConfig = Annotated[TrainConfig | DistillConfig, Field(discriminator="kind")]
RUN_CONFIG: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)
"""Parses and validates: `RUN_CONFIG.validate_json(text)`."""
