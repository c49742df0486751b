"""Which methods are well defined between which families. Torch-free, so that a job is refused before it is stored.

The engine builds the same methods from what it measures of the loaded detectors and refuses what does not fit there,
too; this is what is known from the names of the families alone.
"""

from collections.abc import Mapping
from typing import Literal, assert_never

from detrdistill.catalog import CATALOG, Family, FamilyName
from detrdistill.errors import BackboneUntrained, ConfigError
from detrdistill.files.black_boxes import BlackBox
from detrdistill.schema.method_table import METHODS
from detrdistill.schema.methods import (
    DistillationPointsConfig,
    FeatureMapsConfig,
    ForegroundMemoryConfig,
    MatchedLogitsConfig,
    MethodConfig,
    QueryPriorConfig,
    TargetFeaturesConfig,
)
from detrdistill.schema.recipes import RECIPES
from detrdistill.schema.run import CriterionConfig, DistillConfig, TeacherConfig, TrainConfig


def check_start(config: TrainConfig | DistillConfig) -> None:
    """Refuse to train the backbone of a new student as one that is trained already.

    A slower rate keeps what a backbone knows, and a frozen batch norm the statistics it has seen. A new student has
    neither: its weights are random, its statistics zero and one.

    Args:
        config: of the run; its student is new where it names an architecture.

    Raises:
        BackboneUntrained: pointing at the recipe, or at the field.
    """
    factor, recipe = config.training.backbone_lr_factor, config.recipe
    wrong: dict[str, tuple[object, str]] = {}
    if factor < 1:
        slow = f"trains the backbone at {factor:g} of the rate" if factor else "freezes the backbone"
        wrong["backbone_lr_factor"] = (factor, slow)
    if config.training.freeze_batch_norm:
        wrong["freeze_batch_norm"] = (True, "freezes the batch norms")
    if config.student is None or not wrong:
        return
    published: Mapping[str, object] = {} if recipe is None else RECIPES[recipe].config["training"]
    of_recipe = any(published.get(name) == value for name, (value, _) in wrong.items())
    who = f"The recipe {recipe}" if of_recipe else "This training"
    raise BackboneUntrained(
        f"{who} {' and '.join(what for _, what in wrong.values())}, but the student is new: its weights are random.",
        hint="Start from the checkpoint of a detector with a trained backbone: give it as student_id (in a run file as "
        'paths.student), with "student": null in the configuration. Or train everything from random weights: set '
        "training.backbone_lr_factor to 1 and training.freeze_batch_norm to false.",
        pointer="/recipe" if of_recipe else f"/training/{next(iter(wrong))}",
    )


def check_pair(teacher: TeacherConfig, identity: FamilyName | BlackBox, student: FamilyName, pointer: str) -> None:
    """Refuse methods that are not defined for these families, or that ask more of a black box than it says.

    Args:
        teacher: its settings and methods.
        identity: family of the teacher, or the black box that it is.
        student: family of the student.
        pointer: where the teacher is declared in the configuration.

    Raises:
        ConfigError: with the reason, a pointer into the configuration, and what to do instead.
    """
    methods = [(method, f"{pointer}/methods/{index}") for index, method in enumerate(teacher.methods)]
    if isinstance(identity, BlackBox):
        for method, place in methods:
            _check_black_box(method, identity, CATALOG[student], place)
        return
    families = CATALOG[identity], CATALOG[student]
    for method, place in methods:
        match method:
            case MatchedLogitsConfig() | DistillationPointsConfig():
                _check_scores(method.class_weight, *families, f"{place}/class_weight")
            case TargetFeaturesConfig():
                _check_masks(method, families[0], f"{place}/source")
                _check_strides(method.source, *families, f"{place}/source")
            case FeatureMapsConfig():
                _check_strides(method.source, *families, f"{place}/source")
            case ForegroundMemoryConfig():
                _check_strides("memory", *families, place)
            case QueryPriorConfig():
                pass
            case _:
                assert_never(method)


def check_criterion(criterion: CriterionConfig, student: FamilyName) -> None:
    """Refuse terms of the detection loss that are not defined for the student.

    Raises:
        ConfigError: with a pointer below `/criterion`.
    """
    family = CATALOG[student]
    for name, weight in (("fgl_weight", criterion.fgl_weight), ("ddf_weight", criterion.ddf_weight)):
        if weight and family.bin_weights is None:
            raise ConfigError(
                f"The boxes of a {family.title} are numbers; {name} belongs to boxes that are distributions over bins.",
                hint="Leave it out.",
                pointer=f"/criterion/{name}",
            )
    if criterion.classification is None:
        return
    if (criterion.classification == "cross_entropy") != (family.scores == "softmax"):
        raise ConfigError(
            f"{family.title} has {family.scores} scores; {criterion.classification} is not defined for them.",
            hint=f"Leave it out to train with {family.classification}, as published.",
            pointer="/criterion/classification",
        )


def refuse_class_map(teacher: TeacherConfig, pointer: str) -> None:
    """Recorded detections name the dataset's own category ids, so that there are no names to map.

    Args:
        teacher: settings of a teacher that is recorded detections.
        pointer: where the teacher is declared in the configuration.

    Raises:
        ConfigError: a class map is given.
    """
    if teacher.class_map:
        raise ConfigError(
            "Recorded detections have the category ids of the dataset; there are no class names to map.",
            hint="Leave class_map out.",
            pointer=f"{pointer}/class_map",
        )


def _check_black_box(method: MethodConfig, teacher: BlackBox, student: Family, pointer: str) -> None:
    """Of a black box only boxes and scores are known."""
    if METHODS[method.kind].needs != ("boxes and scores",):
        enough = ", ".join(kind for kind, info in METHODS.items() if info.needs == ("boxes and scores",))
        raise ConfigError(
            f"Of a {teacher.title} teacher only boxes and scores are known; {method.kind} needs features or queries.",
            hint=f"Use {enough} alone with this teacher, or give its weights as a checkpoint.",
            pointer=pointer,
        )
    if not isinstance(method, MatchedLogitsConfig):
        return
    if method.contrastive_weight > 0:
        raise ConfigError(
            f"Of a {teacher.title} teacher only boxes and scores are known; there are no embeddings to contrast.",
            hint='Set contrastive_weight to 0, as the variants "recommended" and "paper" do.',
            pointer=f"{pointer}/contrastive_weight",
        )
    _check_scores(method.class_weight, teacher, student, f"{pointer}/class_weight")


def _check_scores(class_weight: float, teacher: Family | BlackBox, student: Family, pointer: str) -> None:
    if class_weight > 0 and (teacher.scores, student.scores) == ("sigmoid", "softmax"):
        raise ConfigError(
            f"A {teacher.title} teacher scores each class by itself; that is no distribution over the classes and "
            f"'no object' of a {student.title} student.",
            hint="Set class_weight to 0 to distil boxes only, or choose a student with sigmoid scores.",
            pointer=pointer,
        )


def _check_masks(method: TargetFeaturesConfig, teacher: Family, pointer: str) -> None:
    if method.source == "neck" and not teacher.neck_is_query_wide:
        raise ConfigError(
            f"The neck features of a {teacher.title} teacher are not as wide as its queries, so that no mask can be "
            "computed.",
            hint='Use source "memory", or the method feature_maps, which needs no mask.',
            pointer=pointer,
        )


def _check_strides(source: Literal["neck", "memory"], teacher: Family, student: Family, pointer: str) -> None:
    strides = (
        (teacher.neck_strides, student.neck_strides)
        if source == "neck"
        else (teacher.memory_strides, student.memory_strides)
    )
    if not set(strides[0]) & set(strides[1]):
        raise ConfigError(
            f"A {teacher.title} teacher has {source} features at the strides {strides[0]}, a {student.title} student "
            f"at {strides[1]}: no level is shared.",
            hint="Choose another source of features, or leave this method out.",
            pointer=pointer,
        )
