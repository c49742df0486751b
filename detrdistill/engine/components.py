"""From configuration to modules: the builders that flatten a schema into keyword arguments."""

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import nn

from detrdistill.detectors.detector import Detector
from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.methods.distillation_points import DistillationPoints
from detrdistill.methods.feature_maps import FeatureMaps
from detrdistill.methods.foreground_memory import ForegroundMemory
from detrdistill.methods.matched_logits import MatchedLogits
from detrdistill.methods.method import DetectorShape, Method
from detrdistill.methods.query_prior import QueryPrior
from detrdistill.methods.target_features import TargetFeatures
from detrdistill.outputs import strides
from detrdistill.schema import methods as configs
from detrdistill.schema.run import CriterionConfig

_NOT_OF_THE_METHOD = {"kind", "variant", "schedule", "gradient_share"}
"""The variant's defaults are in the other fields by now, and how the weight changes is for the step to keep."""


def build_criterion(criterion: CriterionConfig, detector: Detector) -> SetCriterion:
    """The detection loss; what is not configured is the family's own."""
    fgl_weight, ddf_weight = detector.info.bin_weights or (0.0, 0.0)
    return SetCriterion(
        classification=criterion.classification or detector.info.classification,
        class_weight=criterion.class_weight,
        l1_weight=criterion.l1_weight,
        giou_weight=criterion.giou_weight,
        class_cost=criterion.class_cost,
        l1_cost=criterion.l1_cost,
        giou_cost=criterion.giou_cost,
        fgl_weight=fgl_weight if criterion.fgl_weight is None else criterion.fgl_weight,
        ddf_weight=ddf_weight if criterion.ddf_weight is None else criterion.ddf_weight,
    )


def build_methods(
    wanted: Sequence[configs.MethodConfig],
    teacher: DetectorShape,
    student: DetectorShape,
    criterion: SetCriterion,
    seed: int,
) -> list[Method]:
    """The distillation methods, with projections whose initial weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return [_build_method(config, teacher, student, criterion) for config in wanted]


def _build_method(
    config: configs.MethodConfig,
    teacher: DetectorShape,
    student: DetectorShape,
    criterion: SetCriterion,
) -> Method:
    kwargs = config.model_dump(exclude=_NOT_OF_THE_METHOD)
    method: Method
    match config:
        case configs.MatchedLogitsConfig():
            method = MatchedLogits(teacher, student, **kwargs)
        case configs.TargetFeaturesConfig():
            method = TargetFeatures(teacher, student, **kwargs)
        case configs.QueryPriorConfig():
            method = QueryPrior(teacher, student, criterion, **kwargs)
        case configs.DistillationPointsConfig():
            method = DistillationPoints(teacher, student, **kwargs)
        case configs.FeatureMapsConfig():
            method = FeatureMaps(teacher, student, **kwargs)
        case configs.ForegroundMemoryConfig():
            method = ForegroundMemory(teacher, student, **kwargs)
        case _:
            assert_never(config)
    return method


@torch.no_grad()
def shape_of(detector: Detector) -> DetectorShape:
    """Measure a detector with one forward pass of a blank image, in evaluation mode."""
    was_training = detector.training
    parameter = next(detector.parameters())
    height, width = detector.preprocessing.height, detector.preprocessing.width
    output = detector.eval()(torch.zeros(1, 3, height, width, device=parameter.device))
    detector.train(was_training)
    return DetectorShape(
        width=output.hidden_LBQD.shape[-1],
        layers=len(output.logits_LBQC),
        image_height=height,
        neck_widths=tuple(feature_BDHW.shape[1] for feature_BDHW in output.neck),
        neck_strides=strides(output.neck, height),
        memory_strides=strides(output.memory, height),
        has_position=detector.position_argument is not None,
        derives_reference=detector.derives_reference,
        reference_size=detector.reference_size,
        scores=detector.info.scores,
    )


def parameter_count(module: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())
