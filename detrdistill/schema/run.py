"""The schema of a run: the one place where a hyper-parameter is declared. Torch-free.

`RunConfig` is a union over the job kinds, discriminated by `kind`; the `config` of `POST /jobs` and the one of a
run file are this very object. Paths, ids and secrets are not part of it. The methods' part is `method_configs`.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, Field, StringConstraints, TypeAdapter, model_validator

from detrdistill.catalog import ClassificationLoss, FamilyName, Size, check_queries, check_side, size_of
from detrdistill.errors import ConfigError, FieldError
from detrdistill.files.limits import LONGEST_CLASS_NAME, MOST_CLASSES
from detrdistill.schema.method_table import METHODS
from detrdistill.schema.methods import (
    MAX_COUNT,
    STRICT,
    MatchedLogitsConfig,
    MethodConfig,
    QueryPriorConfig,
    TargetFeaturesConfig,
)
from detrdistill.schema.recipes import RecipeName, with_recipe

DEFAULT_IMAGE_SIZE = 640
MAX_METHODS = 16
MAX_TEACHERS = 9
SINGLE_TEACHER = "teacher"
"""Name of the teacher of the short form."""


def teacher_title(name: str) -> str:
    """A teacher in words; the one of the short form needs no name."""
    return "teacher" if name == SINGLE_TEACHER else f"teacher {name}"


TeacherName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""Also the beginning of the names of loss terms."""
ClassName = Annotated[
    str, StringConstraints(min_length=1, max_length=LONGEST_CLASS_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")
]


class ArchitectureConfig(BaseModel):
    """A new detector with random weights, chosen from the catalog."""

    model_config = STRICT

    family: FamilyName
    """One of the families; see `GET /catalog`."""
    size: str = Field(max_length=32, examples=["pico", "nano", "r18", "r50"])
    """One of the family's sizes; see `GET /catalog`."""
    queries: int | None = Field(default=None, ge=1, le=1000)
    """Object queries; null: as the size has."""
    decoder_layers: int | None = Field(default=None, ge=2, le=12)
    """Decoder layers; null: as the size has."""

    @model_validator(mode="after")
    def _known(self) -> "ArchitectureConfig":
        try:
            self.resolve()
        except ConfigError as error:
            raise FieldError.of(error, "/size") from error
        return self

    def resolve(self) -> Size:
        """The catalog's size with `queries` and `decoder_layers` of this architecture where they are given.

        Raises:
            ConfigError: the family has no such size.
        """
        size = size_of(self.family, self.size)
        return replace(
            size,
            queries=self.queries or size.queries,
            decoder_layers=self.decoder_layers or size.decoder_layers,
        )


class DataConfig(BaseModel):
    """How images reach the detectors."""

    model_config = STRICT

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


class TrainingConfig(BaseModel):
    """Optimisation of the student, and identically of the control."""

    model_config = STRICT

    epochs: int = Field(default=24, ge=1, le=10_000)
    """Passes over the training images."""
    batch_size: int = Field(default=16, ge=1, le=1024)
    """Images per optimiser step."""
    lr: float = Field(default=2e-4, gt=0, le=1)
    """Peak learning rate of AdamW."""
    backbone_lr_factor: float = Field(default=1.0, ge=0, le=1)
    """Multiplies `lr` for the backbone; 0.1 is customary when the backbone is pre-trained, 0 freezes it. Below 1 the
    student must start from a checkpoint."""
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    """Decay of matrices; biases and normalisation parameters are not decayed."""
    warmup_steps: int = Field(default=500, ge=0, le=MAX_COUNT)
    """Steps of linear warm-up; at most a tenth of the run is used."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """After warm-up: cosine to zero; x0.1 at each of `drops`; or constant."""
    drops: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.8,), max_length=100)
    """Where a `step` schedule drops the rate, as fractions of the run."""
    clip_norm: float = Field(default=0.1, gt=0)
    """Largest L2 norm of the gradient."""
    ema_decay: float | None = Field(default=0.9998, gt=0, lt=1)
    """Decay of the exponential moving average that is evaluated and exported; null: no average."""
    freeze_batch_norm: bool = False
    """Keep every batch norm in evaluation mode, as checkpoints with folded statistics need; the student must start from
    one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Autocast type of the forward pass; auto: bf16 on GPUs that have it. Losses are always fp32."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Of initial weights, order of the images and augmentation."""


DETECTION_TERMS = ("detection", "proposal", "denoising")
"""First parts of the names of the detection loss's terms."""


class CriterionConfig(BaseModel):
    """Detection loss against the ground truth, at every decoder layer."""

    model_config = STRICT

    classification: ClassificationLoss | None = None
    """null: what the student's family was published with."""
    class_weight: float | None = Field(default=None, ge=0)
    """null: 2 for focal, else 1."""
    l1_weight: float = Field(default=5.0, ge=0)
    """Weight of the L1 distance of boxes."""
    giou_weight: float = Field(default=2.0, ge=0)
    """Weight of 1 - GIoU."""
    fgl_weight: float | None = Field(default=None, ge=0)
    """Fine-grained localization of boxes that are distributions over bins (D-FINE's); null: D-FINE 0.15, else 0."""
    ddf_weight: float | None = Field(default=None, ge=0)
    """Self-distillation of those distributions, from the last layer to the others; null: D-FINE 1.5, else 0."""
    class_cost: float | None = Field(default=None, ge=0)
    """Weight of the classification term in the matching cost; null: 2 with sigmoid scores, 1 with softmax scores."""
    l1_cost: float = Field(default=5.0, ge=0)
    """Weight of the L1 distance of boxes in the matching cost."""
    giou_cost: float = Field(default=2.0, ge=0)
    """Weight of 1 - GIoU in the matching cost."""


class EvaluationConfig(BaseModel):
    """COCO evaluation on the validation split."""

    model_config = STRICT

    every_epochs: int = Field(default=1, ge=1, le=10_000)
    """Evaluate after so many epochs, and after the last."""
    batch_size: int = Field(default=16, ge=1, le=1024)
    """Images per forward pass."""


class TeacherSourceConfig(BaseModel):
    """Who teaches, and what a teacher must show before any training starts."""

    model_config = STRICT

    source: Literal["checkpoint", "ema"] = "checkpoint"
    """A trained detector, or the moving average of the student itself (self-distillation), which needs
    `training.ema_decay`, is given no checkpoint and passes no gate: at the first step it is the student."""
    min_ap: float = Field(default=0.1, ge=0, le=1)
    """Lowest AP on the run's own validation set; below it the run fails and says why."""
    class_map: dict[ClassName, ClassName] = Field(
        default={}, max_length=MOST_CLASSES, examples=[{"motorbike": "motorcycle", "sofa": "couch"}]
    )
    """The teacher's class names for the dataset's, where they are not the same; each class at most once. Names that
    differ in case, spaces, underscores and hyphens alone need no entry."""

    @model_validator(mode="after")
    def _has_names(self) -> Self:
        if self.class_map and self.source == "ema":
            raise ValueError("the moving average of the student has the classes of the dataset; it takes no class_map")
        return self


Methods = Annotated[tuple[MethodConfig, ...], Field(min_length=1, max_length=MAX_METHODS)]
DEFAULT_METHODS: tuple[MethodConfig, ...] = (MatchedLogitsConfig(), TargetFeaturesConfig(), QueryPriorConfig())
"""What is distilled where no methods are named: the three components of DETRDistill."""


class TeacherConfig(TeacherSourceConfig):
    """A teacher, and what is distilled from it."""

    methods: Methods = DEFAULT_METHODS
    """Distillation methods, each at most once; their terms are added to the detection loss."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _check_once(self.methods)
        return self


def _check_once(methods: tuple[MethodConfig, ...]) -> None:
    kinds = [method.kind for method in methods]
    if len(set(kinds)) < len(kinds):
        raise FieldError("each method may be listed once", pointer="/methods")


def _check_fit(student: ArchitectureConfig | None, data: DataConfig) -> None:
    if student is None:
        return
    size, image_size = student.resolve(), data.image_size or DEFAULT_IMAGE_SIZE
    try:
        check_side(student.family, image_size, size.side_multiple)
        check_queries(student.family, size.queries, image_size, levels=size.levels, two_stage=size.two_stage)
    except ConfigError as error:
        raise FieldError.of(error) from error


def _with_recipe(values: Any, model: type[BaseModel]) -> Any:
    """Lay the given fields over those fields of the recipe they name that this kind of run has.

    The methods of a recipe are those of every teacher that names none.
    """
    if not isinstance(values, dict):
        return values
    given = cast("dict[str, Any]", values)
    try:
        filled = with_recipe(given)
    except ConfigError as error:
        raise FieldError.of(error, "/recipe") from error
    teachers: Any = given.get("teachers")
    if isinstance(teachers, dict) and "methods" in filled and "methods" not in given:
        methods = {"methods": filled.pop("methods")}
        filled["teachers"] = {
            name: methods | cast("dict[str, Any]", teacher) if isinstance(teacher, dict) else teacher
            for name, teacher in cast("dict[str, Any]", teachers).items()
        }
    return {name: value for name, value in filled.items() if name in given or name in model.model_fields}


class TrainConfig(BaseModel):
    """Train one detector: fine-tune a checkpoint, or train a new one. Makes teachers and plain students."""

    model_config = STRICT

    kind: Literal["train"]
    """What to do: train one detector."""
    recipe: RecipeName | None = None
    """A named configuration that fills the fields which are not given; see `GET /catalog`. Its methods are left out."""
    student: ArchitectureConfig | None = None
    """The detector to train; null: architecture and weights of the given checkpoint."""
    allow_partial: bool = False
    """Take checkpoints that leave more than one tensor in a hundred of their detector at random values; else they are
    refused as teacher and as student."""
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    criterion: CriterionConfig = CriterionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, values: Any) -> Any:
        return _with_recipe(values, cls)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_fit(self.student, self.data)
        return self


class DistillConfig(BaseModel):
    """Distil one teacher or several into a student."""

    model_config = STRICT

    kind: Literal["distill"]
    """What to do: distil teachers into a student."""
    recipe: RecipeName | None = None
    """A named configuration that fills the fields which are not given; see `GET /catalog`."""
    student: ArchitectureConfig | None = None
    """The student; null: architecture and weights of the given student checkpoint."""
    teachers: dict[TeacherName, TeacherConfig] = Field(default={}, min_length=1, max_length=MAX_TEACHERS)
    """Every teacher with its methods, under a name of your choice. All terms are added; with several teachers they are
    called `<name>.<method>.<term>`. With schedules one teacher can follow another."""
    teacher: TeacherSourceConfig | None = Field(default=None, exclude=True)
    """Short form for a single teacher, which is then called `teacher`: its settings; its methods are `methods`."""
    methods: Methods | None = Field(default=None, exclude=True)
    """Short form for a single teacher: its methods."""
    control: bool = False
    """Also train the same student without distillation (same seed, data order and schedule) and report the
    difference in AP, the KD gain."""
    allow_partial: bool = False
    """Take checkpoints that leave more than one tensor in a hundred of their detector at random values; else they are
    refused as teacher and as student."""
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    criterion: CriterionConfig = CriterionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, values: Any) -> Any:
        return _with_recipe(values, cls)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self._expand()
        sources = [teacher.source for teacher in self.teachers.values()]
        if "ema" in sources and self.training.ema_decay is None:
            raise FieldError(
                "the moving average can teach only where training.ema_decay is set", pointer="/training/ema_decay"
            )
        for name in {*DETECTION_TERMS, *METHODS} & self.teachers.keys():
            raise FieldError(
                f"losses are called {name!r} already: give this teacher another name", pointer=f"/teachers/{name}"
            )
        _check_fit(self.student, self.data)
        return self

    def _expand(self) -> None:
        """Turn the short form into the mapping, which is all that is kept."""
        if self.teachers and (self.teacher or self.methods):
            raise FieldError(
                "the short form `teacher` and `methods` is for a single teacher; here `teachers` is given, too",
                hint="Move both into teachers, as one more entry with a name.",
                pointer="/teacher" if self.teacher else "/methods",
            )
        if not self.teachers:
            given = {} if self.teacher is None else {name: getattr(self.teacher, name) for name in _SETTINGS}
            methods = DEFAULT_METHODS if self.methods is None else self.methods
            _check_once(methods)
            teacher = TeacherConfig(**given, methods=methods)
            object.__setattr__(self, "teachers", {SINGLE_TEACHER: teacher})  # frozen for everybody else
        object.__setattr__(self, "teacher", None)
        object.__setattr__(self, "methods", None)

    @property
    def is_short(self) -> bool:
        """The document that this was read from has the short form."""
        return "teachers" not in self.model_fields_set

    def as_given(self, pointer: str) -> str:
        """A pointer into this configuration as one into the document that it was read from."""
        prefix = f"/teachers/{SINGLE_TEACHER}"
        if not self.is_short or not f"{pointer}/".startswith(f"{prefix}/"):
            return pointer
        below = pointer.removeprefix(prefix)
        return below if below.startswith("/methods") else f"/teacher{below}"


_SETTINGS = tuple(TeacherSourceConfig.model_fields)

RunConfig = Annotated[TrainConfig | DistillConfig, Field(discriminator="kind")]
RUN_CONFIG: TypeAdapter[RunConfig] = TypeAdapter(RunConfig)
"""Parses and validates: `RUN_CONFIG.validate_json(text)`."""
