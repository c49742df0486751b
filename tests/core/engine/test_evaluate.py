"""COCO evaluation at its two ends; the middle is pycocotools' own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from detrdistill.boxes import to_xyxy
from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.files.coco import CocoSet, read_split


@pytest.fixture
def split(rectangles: Path) -> CocoSet:
    return read_split(rectangles, "val")


def truth_of(split: CocoSet) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    """The annotations as detections of score 1."""
    found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
    for image in split.images:
        rows = [row for row in split.annotations["annotations"] if row["image_id"] == image.id]
        boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = torch.tensor([split.category_ids.index(row["category_id"]) for row in rows], dtype=torch.long)
        found[image.id] = (torch.ones(len(rows)), labels, boxes)
    return found


def test_the_annotations_themselves_score_one(split: CocoSet):
    metrics = CocoEvaluator(split).score(truth_of(split))
    assert metrics.ap == pytest.approx(1)
    assert metrics.per_class == pytest.approx(dict.fromkeys(split.classes, 1.0))


def test_a_detector_that_finds_nothing_scores_zero(split: CocoSet):
    nothing = (torch.zeros(0), torch.zeros(0, dtype=torch.long), to_xyxy(torch.zeros(0, 4)))
    metrics = CocoEvaluator(split).score({image.id: nothing for image in split.images})
    assert metrics.ap == 0
    assert metrics.per_class == dict.fromkeys(split.classes, 0.0)
