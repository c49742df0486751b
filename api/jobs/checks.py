"""Whether the parts of a job fit together: all that is known without a GPU, from the rows of its resources alone."""

from collections.abc import Collection, Mapping
from typing import Any, cast

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset
from api.errors import ApiError
from api.jobs.pointers import request_pointer, teacher_pointer
from detrdistill.catalog import FamilyName, Scores, check_queries
from detrdistill.compatibility.checks import check_criterion, check_pair, check_start, refuse_class_map
from detrdistill.compatibility.class_names import match_classes
from detrdistill.errors import CheckpointError, ConfigError, DetrDistillError
from detrdistill.files.black_boxes import BlackBox, Kind
from detrdistill.files.checkpoints import CoverageFacts, check_coverage
from detrdistill.schema.run import DEFAULT_IMAGE_SIZE, DistillConfig, TeacherConfig, TrainConfig

_NO_STUDENT = (
    'Set config.student to a family and a size, as {"family": "rt-detr-v2", "size": "r18"}, '
    "or student_id to a checkpoint."
)
_TWO_STUDENTS = "Set config.student to null (a recipe fills it) to start from the checkpoint, or leave student_id out."


def check_job(
    config: TrainConfig | DistillConfig,
    dataset: Dataset,
    teachers: Mapping[str, Checkpoint],
    student: Checkpoint | None,
) -> None:
    """Refuse a job whose parts do not fit together.

    Args:
        config: what to do.
        dataset: to train and evaluate on.
        teachers: checkpoints by the name of the teacher.
        student: checkpoint that the student starts from.

    Raises:
        ApiError: with the pointer into the request.
    """
    check_parts(config, teachers, has_student=student is not None)
    _check_student(config, student)
    _check_coverage(config, teachers, student)
    _check_teachers(config, teachers, dataset)
    _check_families(config, teachers, student)


def check_parts(config: TrainConfig | DistillConfig, teachers: Collection[str], *, has_student: bool) -> None:
    """Refuse a job that names too few or too many checkpoints; what they are need not be known yet.

    Args:
        config: what to do.
        teachers: names of the teachers that have a checkpoint.
        has_student: there is a checkpoint that the student starts from.

    Raises:
        ApiError: with the pointer into the request.
    """
    if (config.student is None) != has_student:
        raise ApiError(
            f"A job needs an architecture or a checkpoint for its student; it has {'both' if has_student else 'none'}.",
            pointer="/student_id" if has_student else "/config/student",
            hint=_TWO_STUDENTS if has_student else _NO_STUDENT,
            code="student_ambiguous",
        )
    try:
        check_start(config)
    except ConfigError as error:
        raise _of_core(error) from error
    named = config.teachers if isinstance(config, DistillConfig) else {}
    for name in teachers:
        if name not in named:
            raise ApiError(
                f"The configuration has no teacher {name!r}." if named else "A train job has no teacher.",
                pointer=teacher_pointer(name),
                hint=f"Names in config.teachers: {', '.join(named)}. Name it there, or leave it out."
                if named
                else 'Use kind "distill", or give the checkpoint as student_id to fine-tune it.',
            )
    for name, teacher in named.items():
        _check_source(teacher, teacher_pointer(name), has_checkpoint=name in teachers)


def _check_student(config: TrainConfig | DistillConfig, student: Checkpoint | None) -> None:
    if student is not None:
        if student.family is None or student.queries is None:
            raise ApiError(
                "A black box has no weights that a student could start from.",
                pointer="/student_id",
                hint='Choose a checkpoint of the kind "detector".',
            )
        size = config.data.image_size or student.image_width or DEFAULT_IMAGE_SIZE
        try:
            check_queries(_family(student), student.queries, size, two_stage=bool(student.two_stage))
        except ConfigError as error:
            error.pointer = "/data/image_size"  # the number of queries is the checkpoint's
            raise _of_core(error) from error


def _check_coverage(
    config: TrainConfig | DistillConfig, teachers: Mapping[str, Checkpoint], student: Checkpoint | None
) -> None:
    """Refuse checkpoints that leave too much of their detector at random values; older rows do not know it."""
    named = [(student, "/student"), *((teacher, f"/teachers/{name}") for name, teacher in teachers.items())]
    for checkpoint, path_pointer in named:
        if checkpoint is None or checkpoint.coverage is None:
            continue
        try:
            coverage = CoverageFacts.model_validate(checkpoint.coverage)
            check_coverage(coverage, allow_partial=config.allow_partial, path_pointer=path_pointer)
        except CheckpointError as error:
            raise _of_core(error) from error


def _check_teachers(config: TrainConfig | DistillConfig, teachers: Mapping[str, Checkpoint], dataset: Dataset) -> None:
    """The classes of every teacher fit the dataset."""
    for name, teacher in config.teachers.items() if isinstance(config, DistillConfig) else ():
        if name in teachers:
            _check_teacher(teacher, teachers[name], dataset, f"/teachers/{name}")


def _check_source(teacher: TeacherConfig, pointer: str, *, has_checkpoint: bool) -> None:
    if teacher.source == "ema" and has_checkpoint:
        raise ApiError(
            "The moving average of the student teaches; there is no place for a checkpoint.",
            pointer=pointer,
            hint=f'Leave {pointer} out, or set the source of this teacher to "checkpoint".',
        )
    if teacher.source == "checkpoint" and not has_checkpoint:
        raise ApiError("A distill job needs a teacher.", pointer=pointer, hint="Upload one with POST /checkpoints.")


def _check_teacher(teacher: TeacherConfig, checkpoint: Checkpoint, dataset: Dataset, declared: str) -> None:
    """A checkpoint knows the classes; its teacher is declared at the same place of configuration and paths."""
    try:
        if checkpoint.kind == "detections":  # they have the ids of a dataset, which the training process checks
            refuse_class_map(teacher, declared)
            return
        match_classes(
            tuple(checkpoint.classes),
            tuple(dataset.classes),
            given=teacher.class_map,
            without_boxes=_without_boxes(dataset),
            path_pointer=declared,
            pointer=f"{declared}/class_map",
        )
    except (CheckpointError, ConfigError) as error:
        raise _of_core(error) from error


def _without_boxes(dataset: Dataset) -> frozenset[str]:
    """Classes that no split has a box of; none where the boxes of each class were not counted."""
    splits: list[dict[str, Any]] = list(dataset.splits.values())
    counts: list[dict[str, int]] = [split["boxes_per_class"] for split in splits if "boxes_per_class" in split]
    if not counts:
        return frozenset()
    return frozenset(name for name in dataset.classes if not any(count.get(name) for count in counts))


def _check_families(
    config: TrainConfig | DistillConfig, teachers: Mapping[str, Checkpoint], student: Checkpoint | None
) -> None:
    """Refuse what is not defined for the families of teachers and student."""
    if config.student is not None:
        student_family = config.student.family
    else:
        assert student is not None, "checked before"
        student_family = _family(student)
    try:
        check_criterion(config.criterion, student_family)
        if isinstance(config, DistillConfig):
            for name, teacher in config.teachers.items():
                identity = _identity(teachers[name]) if name in teachers else student_family  # its own moving average
                check_pair(teacher, identity, student_family, f"/teachers/{name}")
    except ConfigError as error:
        raise _of_core(error) from error


def _identity(checkpoint: Checkpoint) -> FamilyName | BlackBox:
    if checkpoint.family is not None:
        return _family(checkpoint)
    return BlackBox(cast("Kind", checkpoint.kind), cast("Scores", checkpoint.scores))


def _family(checkpoint: Checkpoint) -> FamilyName:
    return cast("FamilyName", checkpoint.family)  # the column is filled by `check_checkpoint` alone


def _of_core(error: DetrDistillError) -> ApiError:
    """A user error of the core, seen as a fault of one field of the request for a job."""
    return ApiError(error.message, pointer=request_pointer(error), hint=error.hint, code=error.code)
