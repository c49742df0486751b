"""Recorded detections follow their image, and change nothing else."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from detrdistill.data.dataset import DetectionDataset
from detrdistill.data.detections import RecordedDetections, image_corners
from detrdistill.data.transforms import DetectorInput, augmentation
from detrdistill.files.black_boxes import Detection, read_detections
from detrdistill.files.coco import ImageRecord, read_splits
from detrdistill.files.preprocessing import Preprocessing
from tests.support.black_boxes import perfect_detections, write_detections

SQUARE = DetectorInput(Preprocessing.square(64, normalised=False))
RECORD = ImageRecord(1, Path("image.png"), 100, 50, (), ())


def view_of(
    boxes: list[tuple[float, float, float, float]], corners: list[list[float]], canvas: tuple[int, int]
) -> Tensor:
    """Detections of the 100 x 50 image, whose corners have gone to these places of a canvas (height, width)."""
    found = {RECORD.path: [Detection(box, 0.5, 2) for box in boxes]}
    moved = image_corners(*canvas)
    moved[:] = torch.tensor(corners) - 0.5
    return RecordedDetections(found).rows(RECORD, moved)


def test_a_picture_left_alone_by_hand():
    [row] = view_of([(10, 10, 30, 20)], [[0, 0], [100, 50]], (50, 100))
    torch.testing.assert_close(row, torch.tensor([0.2, 0.3, 0.2, 0.2, 0.5, 2.0]))


def test_a_mirrored_picture_by_hand():
    [row] = view_of([(10, 10, 30, 20)], [[100, 0], [0, 50]], (50, 100))
    torch.testing.assert_close(row, torch.tensor([0.8, 0.3, 0.2, 0.2, 0.5, 2.0]))


def test_a_crop_by_hand():
    """40 x 20 px from (10, 10): one box is clipped at the left, one has its center outside, one is outside."""
    boxes = [(0, 10, 30, 20), (0, 10, 18, 20), (60, 30, 80, 40)]
    rows = view_of(boxes, [[-10, -10], [90, 40]], (20, 40))
    torch.testing.assert_close(rows[0], torch.tensor([0.25, 0.25, 0.5, 0.5, 0.5, 2.0]))
    assert torch.equal(rows[1:], torch.full((2, 6), -1.0))


@pytest.mark.parametrize(
    "changes", [{"horizontal_flip": True}, {"crop": True}, {"horizontal_flip": True, "crop": True}]
)
def test_detections_equal_to_the_ground_truth_stay_equal_to_it(
    rectangles: Path, tmp_path: Path, changes: dict[str, bool]
):
    """Whatever happens to the image: clipped, dropped and mirrored as the targets are."""
    sets = read_splits(rectangles)
    recorded = RecordedDetections(read_detections(write_detections(tmp_path, perfect_detections(rectangles)), sets))
    wanted = augmentation(**({"horizontal_flip": False, "photometric": False, "crop": False} | changes))
    extra_queries = DetectionDataset(sets["train"], [SQUARE, recorded], wanted)
    alone = DetectionDataset(sets["train"], [SQUARE], wanted)
    cropped = 0
    for seed in range(8):
        for position in range(len(extra_queries)):
            (pixels, rows_R6), targets, _ = extra_queries[(seed, position)]
            (expected,), _, _ = alone[(seed, position)]
            assert torch.equal(pixels, expected), "the student sees what it sees without this teacher"
            found_K6 = rows_R6[rows_R6[:, 5] >= 0]
            torch.testing.assert_close(found_K6[:, :4], targets.boxes_N4)
            assert torch.equal(found_K6[:, 5].long(), targets.labels_N)
            cropped += len(found_K6) < len(sets["train"].images[position].labels)
    assert cropped > 0 or not changes.get("crop"), "some crop has dropped a box"
