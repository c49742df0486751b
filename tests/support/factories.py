"""Small outputs with known numbers, and tiny detectors."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detrdistill.catalog import ClassificationLoss, Scores
from detrdistill.detectors.build import build_detector
from detrdistill.detectors.detector import Detector
from detrdistill.engine.components import build_methods
from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.methods.method import DetectorShape, MethodInputs, TeacherAssignments
from detrdistill.outputs import DetectorOutput, Queries, Targets
from detrdistill.schema.method_table import METHODS, MethodKind
from detrdistill.schema.methods import MethodConfig
from detrdistill.schema.run import ArchitectureConfig, CriterionConfig, DistillConfig

TINY = {
    "detr": "nano",
    "table-transformer": "nano",
    "conditional-detr": "nano",
    "dab-detr": "nano",
    "deformable-detr": "nano",
    "adamixer": "nano",
    "rt-detr": "pico",
    "rt-detr-v2": "pico",
    "deimv2": "atto",
    "d-fine": "pico",
    "lw-detr": "pico",
    "rf-detr": "pico",
    "yolos": "pico",
}
"""The smallest size of each family."""
DETECTORS = (*TINY.items(), ("deformable-detr", "nano-refine"), ("deformable-detr", "nano-two-stage"))
"""Family and size: the smallest, and those that differ from it in more than numbers."""
SIDE = 192


def tiny_detector(
    family: str, size: str | None = None, *, classes: int = 3, queries: int = 10, layers: int = 2, seed: int = 0
) -> Detector:
    architecture = ArchitectureConfig(family=family, size=size or TINY[family], queries=queries, decoder_layers=layers)
    names = [f"class {index}" for index in range(classes)]
    return build_detector(architecture.family, architecture.resolve(), names, SIDE, seed)


def output_of(
    logits: Sequence[object] | Tensor,
    boxes: Sequence[object] | Tensor,
    *,
    hidden: Tensor | None = None,
    neck: tuple[Tensor, ...] = (),
    scores: Scores = "sigmoid",
    pixel_mask_BHW: Tensor | None = None,
) -> DetectorOutput:
    """One image, one layer unless the tensors say otherwise."""
    logits_LBQC, boxes_LBQ4 = (_with_axes(torch.as_tensor(value, dtype=torch.float32)) for value in (logits, boxes))
    if hidden is None:
        hidden = torch.zeros(*logits_LBQC.shape[:3], 2)
    hidden_LBQD = _with_axes(hidden)
    return DetectorOutput(
        logits_LBQC,
        boxes_LBQ4,
        hidden_LBQD,
        Queries(hidden_LBQD[0]),
        scores=scores,
        neck=neck,
        memory=neck,
        pixel_mask_BHW=pixel_mask_BHW,
    )


def targets_of(labels: Sequence[int], boxes: Sequence[Sequence[float]]) -> Targets:
    return Targets(torch.tensor(labels, dtype=torch.int64), torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))


def shape_like(output: DetectorOutput, *, height: int = 2) -> DetectorShape:
    strides = tuple(height // feature.shape[-2] for feature in output.neck)
    return DetectorShape(
        width=output.hidden_LBQD.shape[-1],
        layers=len(output.logits_LBQC),
        image_height=height,
        neck_widths=tuple(feature.shape[1] for feature in output.neck),
        neck_strides=strides,
        memory_strides=strides,
        has_position=False,
        derives_reference=False,
        reference_size=4,
        scores=output.scores,
    )


def methods_in(config: DistillConfig) -> tuple[MethodConfig, ...]:
    """The methods of the only teacher of a configuration."""
    [teacher] = config.teachers.values()
    return teacher.methods


def with_methods(config: DistillConfig, methods: Sequence[MethodConfig]) -> DistillConfig:
    """The same configuration with other methods of its only teacher."""
    [(name, teacher)] = config.teachers.items()
    return config.model_copy(update={"teachers": {name: teacher.model_copy(update={"methods": tuple(methods)})}})


def criterion_of(classification: ClassificationLoss = "focal", **fields: object) -> SetCriterion:
    """A detection loss as a run builds it, of a family without bins; other fields are as the schema has them."""
    given = {"classification": classification, "fgl_weight": 0, "ddf_weight": 0} | fields
    return SetCriterion(**CriterionConfig.model_validate(given).model_dump())


def method_of(
    kind: MethodKind,
    teacher: DetectorShape,
    student: DetectorShape,
    *,
    criterion: SetCriterion | None = None,
    **fields: object,
) -> Any:
    """A method as a run builds it; fields that are not given are as the schema has them."""
    config = METHODS[kind].config.model_validate({"kind": kind} | fields)
    [method] = build_methods([config], teacher, student, criterion or criterion_of(), seed=0)
    return method


def inputs_of(
    student: DetectorOutput,
    teacher: DetectorOutput,
    targets: Sequence[Targets],
    *,
    extra_predictions: tuple[DetectorOutput, ...] = (),
    teacher_predictions: DetectorOutput | None = None,
    criterion: SetCriterion | None = None,
) -> MethodInputs:
    criterion = criterion or criterion_of()
    assignments = TeacherAssignments(criterion, teacher, targets)
    return MethodInputs(student, teacher, targets, criterion, assignments, extra_predictions, teacher_predictions)


def _with_axes(values: Tensor) -> Tensor:
    """`[Q, X]` or `[L, Q, X]` to `[L, 1, Q, X]`."""
    if values.ndim == 2:
        return values[None, None]
    return values[:, None] if values.ndim == 3 else values
