"""What registration finds out about a checkpoint folder that its headers do not say.

A detector's shape is built without memory and compared with the names and shapes in the file; a black box is opened
and run once. What would fail or be wrong in every job is refused here, with what is wrong; the rest is said.
"""

from pathlib import Path

import torch
from safetensors import safe_open

from detrdistill.catalog import check_side
from detrdistill.detectors.weights import measure
from detrdistill.engine.black_box import OnnxTeacher
from detrdistill.errors import CheckpointError, ConfigError
from detrdistill.files.black_boxes import Kind, inspect_black_box, kind_of
from detrdistill.files.checkpoints import (
    LEAST_COVERAGE,
    CheckpointFacts,
    CoverageFacts,
    inspect_checkpoint,
    repeated_names,
    weight_files,
)
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.schema.run import DEFAULT_IMAGE_SIZE

_LARGEST_COORDINATE = 10.0
"""Boxes are fractions of the image; some families leave it, but not by so much."""


def check_checkpoint(folder: Path) -> CheckpointFacts:
    """Check a folder as thoroughly as can be without data, and describe it.

    Raises:
        CheckpointError: it is no checkpoint that the project can use.
    """
    try:
        kind = kind_of(folder)
        return _check_detector(folder) if kind is None else _check_black_box(folder, kind)
    except ConfigError as error:
        raise CheckpointError(error.message, hint=error.hint) from error


def _check_detector(folder: Path) -> CheckpointFacts:
    card = inspect_checkpoint(folder)
    coverage, side_multiple = measure(folder)
    preprocessing = Preprocessing.read(folder, DEFAULT_IMAGE_SIZE)
    for side in card.image_size or ():
        check_side(card.family, side, side_multiple)
    return CheckpointFacts(
        kind="detector",
        family=card.family,
        classes=card.classes,
        parameters=card.parameters,
        queries=card.queries,
        two_stage=card.two_stage,
        decoder_layers=card.decoder_layers,
        width=card.width,
        image_size=card.image_size,
        coverage=coverage.facts,
        warnings=(
            *_of_coverage(coverage.facts),
            *_of_input(preprocessing),
            *_of_names(card.classes),
            *_of_values(folder),
        ),
    )


def _check_black_box(folder: Path, kind: Kind) -> CheckpointFacts:
    card = inspect_black_box(folder, kind)
    if kind == "detections":
        return CheckpointFacts(kind=kind, scores=card.scores)
    teacher = OnnxTeacher(folder, card, DEFAULT_IMAGE_SIZE)
    size = teacher.input_spec
    assert isinstance(size, Preprocessing), "it looks at images"
    _run_once(teacher, size.height, size.width)
    return CheckpointFacts(
        kind=kind,
        scores=card.scores,
        classes=card.classes,
        image_size=(size.height, size.width),
        warnings=(*_of_input(size), *_of_names(card.classes)),
    )


def _run_once(teacher: OnnxTeacher, height: int, width: int) -> None:
    """Run a model on noise and on grey, as one batch.

    Raises:
        CheckpointError: it cannot be run, or gives what no detector does.
    """
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    output = teacher(torch.cat([noise, torch.full_like(noise, 0.5)]))
    for name, values in (("logits", output.logits_LBQC), ("pred_boxes", output.boxes_LBQ4)):
        if not bool(values.isfinite().all()):
            count = int((~values.isfinite()).sum())
            raise CheckpointError(
                f"The model gives {count} of {values.numel()} {name} that are NaN or infinite, on noise.",
                hint="Export it again from weights that detect.",
            )
    furthest = float(output.boxes_LBQ4.abs().max())
    if furthest > _LARGEST_COORDINATE:
        raise CheckpointError(
            f"The model gives a pred_boxes of {furthest:.4g}; boxes are (cx, cy, w, h) in [0, 1].",
            hint="Divide boxes in pixels by width and height of the input within the model.",
        )


def _of_coverage(coverage: CoverageFacts) -> list[str]:
    said = list(coverage.renamed)
    if coverage.unexpected and coverage.loaded == coverage.total:
        more = " and more" if len(coverage.unexpected) > 5 else ""
        said.append(f"Tensors of the file have no place and are not used: {', '.join(coverage.unexpected[:5])}{more}.")
    if coverage.loaded < coverage.total:
        taken = "" if coverage.loaded >= LEAST_COVERAGE * coverage.total else " It is taken with allow_partial alone."
        said.append(f"{coverage}; what is missing starts at random values.{taken}")
    return said


def _of_input(preprocessing: Preprocessing) -> list[str]:
    if not preprocessing.unlike_training:
        return []
    side = f"{preprocessing.width} x {preprocessing.height}"
    lower = f"Its AP here can be lower than published; {side} is what a job takes unless it says otherwise."
    return [f"{preprocessing.unlike_training} {lower}"]


def _of_names(classes: tuple[str, ...]) -> list[str]:
    repeated = repeated_names(classes)
    if not repeated:
        return []
    shown = ", ".join(f"{name!r} ({count} times)" for name, count in list(repeated.items())[:5])
    return [f"Several outputs have one name: {shown}; a dataset that has it cannot be matched."]


def _of_values(folder: Path) -> list[str]:
    """Weights that are no numbers: such a detector finds nothing."""
    broken: list[str] = []
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_tensor(name)
                if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                    broken.append(name)
    if not broken:
        return []
    shown = ", ".join(broken[:5])
    return [f"{len(broken)} tensors hold NaN or infinite values: {shown}. Such a detector finds nothing."]
