"""Students with a trained backbone: `python -m tests.benchmarks.students CHECKPOINT --out FOLDER [--only NAME]`.

The papers start from backbones trained on ImageNet. Here the backbone is that of a DEIMv2 trained on COCO, and all that
is behind it is new. Writes a checkpoint folder for each student of the gain study, under the name of its family.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig
from transformers.models.hgnet_v2.modeling_hgnet_v2 import HGNetV2Backbone

from detrdistill.detectors.build import build_detector, wrap
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import load_detector
from detrdistill.export import export_folder
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.schema.run import ArchitectureConfig

CLASSES = ("object",)
"""Replaced by those of the dataset that a student is trained on."""
STRIDES = {"stage1": 4, "stage2": 8, "stage3": 16}
STUDENTS: Mapping[str, tuple[ArchitectureConfig, tuple[str, ...]]] = {
    "conditional-detr": (ArchitectureConfig(family="conditional-detr", size="nano"), ("stage3",)),
    "deformable-detr": (ArchitectureConfig(family="deformable-detr", size="nano"), ("stage2", "stage3")),
    "adamixer": (ArchitectureConfig(family="adamixer", size="nano"), ("stage1", "stage2", "stage3")),
    "deimv2": (ArchitectureConfig(family="deimv2", size="atto"), ("stage3",)),
}
"""Architecture, and the stages of the backbone that it reads."""


def build_student(name: str, checkpoint: Path, side: int) -> Detector:
    """A new detector on the backbone of a checkpoint.

    Args:
        name: one of `STUDENTS`.
        checkpoint: folder of a DEIMv2 with a convolutional backbone.
        side: of the square input in pixels.
    """
    architecture, stages = STUDENTS[name]
    trained, _ = load_detector(checkpoint, side)
    student = build_detector(architecture.family, architecture.resolve(), CLASSES, side, seed=0)
    if architecture.family != trained.family:
        student = _on_trunk_of(trained, student, stages)
    own, weights = backbone(student).state_dict(), backbone(trained).state_dict()
    backbone(student).load_state_dict(own | {key: weights[key] for key in own if key in weights})
    return student


def _on_trunk_of(trained: Detector, student: Detector, stages: tuple[str, ...]) -> Detector:
    """The same architecture behind another backbone, which takes pixels as in the checkpoint."""
    config = student.model.config
    settings: dict[str, Any] = trained.model.config.backbone_config.to_dict() | {"out_features": list(stages)}
    del settings["out_indices"]
    config.backbone_config = AutoConfig.for_model(**settings)
    if hasattr(config, "feature_strides"):
        config.feature_strides = tuple(STRIDES[stage] for stage in stages)
    torch.manual_seed(0)
    side = student.preprocessing.height
    moved = wrap(type(student.model)(config), Preprocessing.square(side, normalised=trained.info.normalised))
    moved.init_weights()
    return moved


def backbone(detector: Detector) -> nn.Module:
    """The convolutional part, whatever its name."""
    return next(module for module in detector.modules() if isinstance(module, HGNetV2Backbone))


def main() -> None:
    """Write the students."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.students", description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a DEIMv2 with a convolutional backbone")
    parser.add_argument("--out", type=Path, required=True, help="the folders are written below it")
    parser.add_argument("--side", type=int, default=160, help="of the square input in pixels")
    parser.add_argument("--only", action="append", choices=STUDENTS, help="this student; may be repeated")
    options = parser.parse_args()
    for name in options.only or STUDENTS:
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        export_folder(build_student(name, options.checkpoint, options.side), folder, (1,))


if __name__ == "__main__":
    main()
