"""Floating-point operations of a distillation step: `python -m tests.benchmarks.flops FAMILY TEACHER STUDENT [SIDE]`.

Counts one image through the teacher's forward pass, and through forward and backward of the student with the three
components of the paper. The count is of matrix products and convolutions, as PyTorch's counter sees them.
"""

import sys
from typing import Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from detrdistill.catalog import FamilyName, size_of
from detrdistill.data.dataset import Batch
from detrdistill.data.transforms import DetectorInput
from detrdistill.detectors.build import build_detector, make_trainable
from detrdistill.engine.components import build_criterion, build_methods, shape_of
from detrdistill.engine.step import LossStep
from detrdistill.engine.supervision import ScheduledMethod, StepPosition, TeacherSupervision
from detrdistill.engine.teacher import Teacher
from detrdistill.outputs import Targets
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from tests.support.factories import methods_in

CLASSES = 80


def main() -> None:
    """Count one pair."""
    family, teacher_size, student_size = sys.argv[1:4]
    side = int(sys.argv[4]) if len(sys.argv) > 4 else 640
    teacher, student = (_build(cast("FamilyName", family), size, side) for size in (teacher_size, student_size))
    make_trainable(student)
    frozen = Teacher(teacher, tuple(range(CLASSES)))
    inputs = [DetectorInput(student.preprocessing)]
    cpu = torch.device("cpu")
    criterion = build_criterion(_config().criterion, student)
    methods = build_methods(methods_in(_config()), shape_of(teacher), shape_of(student), criterion, 0)
    batch = Batch(
        (torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8),),
        (Targets(torch.randint(0, CLASSES, (7,)), torch.rand(7, 4) * 0.3 + 0.2),),
        (1,),
    )
    pixels = inputs[0].normalise(batch.inputs[0])
    student.train()
    forward = _count(lambda: frozen(pixels))

    def step(*supervisions: TeacherSupervision) -> None:
        LossStep(student, criterion, supervisions, inputs, None, cpu)(
            batch, StepPosition(step=0, total_steps=1)
        ).total.backward()

    plain = _count(step)
    distilled = _count(lambda: step(TeacherSupervision(frozen, [ScheduledMethod(method) for method in methods])))
    print(
        f"{family}, {teacher_size} to {student_size}, {side} px, GFLOP an image: teacher forward {forward:.0f}, "
        f"plain step {plain:.0f}, distilled step {distilled:.0f}"
    )


def _build(family: FamilyName, size: str, side: int) -> Any:
    return build_detector(family, size_of(family, size), [str(label) for label in range(CLASSES)], side, 0)


def _config() -> DistillConfig:
    kinds = ("matched_logits", "target_features", "query_prior")
    methods = [{"kind": kind, "variant": "paper"} for kind in kinds]
    config = RUN_CONFIG.validate_python({"kind": "distill", "methods": methods})
    assert isinstance(config, DistillConfig)
    return config


def _count(act: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops() / 1e9


if __name__ == "__main__":
    main()
