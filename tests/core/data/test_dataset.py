from pathlib import Path

import pytest
import torch

from detrdistill.data.dataset import DetectionDataset
from detrdistill.data.transforms import DetectorInput, augmentation
from detrdistill.files.coco import read_splits
from detrdistill.files.preprocessing import Preprocessing

SQUARE = DetectorInput(Preprocessing.square(64, normalised=False))
"""The size of the images themselves, so that resizing changes nothing."""


def dataset(rectangles: Path, inputs: list[DetectorInput], **changes: bool) -> DetectionDataset:
    wanted = {"horizontal_flip": False, "photometric": False, "crop": False} | changes
    return DetectionDataset(read_splits(rectangles)["train"], inputs, augmentation(**wanted))


def test_colours_change_alike_for_every_detector(rectangles: Path):
    changed = dataset(rectangles, [SQUARE, SQUARE], photometric=True)
    plain = dataset(rectangles, [SQUARE])
    differs = 0
    for seed in range(12):
        (first, second), _, _ = changed[(seed, 0)]
        assert torch.equal(first, second)
        differs += not torch.equal(first, plain[(seed, 0)][0][0])
    assert differs > 6


@pytest.mark.parametrize("change", ["horizontal_flip", "crop", "photometric"])
def test_random_choices_come_from_the_seed_of_the_picture_alone(rectangles: Path, change: str):
    data = dataset(rectangles, [SQUARE], **{change: True})
    before = torch.get_rng_state()
    (first,), targets, _ = data[(5, 1)]
    torch.rand(3)
    (again,), same, _ = data[(5, 1)]
    assert torch.equal(first, again)
    assert torch.equal(targets.boxes_N4, same.boxes_N4)
    torch.set_rng_state(before)


def test_a_mirrored_picture_has_mirrored_boxes(rectangles: Path):
    plain, mirrored = dataset(rectangles, [SQUARE]), dataset(rectangles, [SQUARE], horizontal_flip=True)
    (pixels,), targets, _ = plain[(0, 0)]
    flipped = [sample for seed in range(8) if not torch.equal((sample := mirrored[(seed, 0)])[0][0], pixels)]
    assert flipped
    for (turned,), found, _ in flipped:
        assert torch.equal(turned, pixels.flip(-1))
        torch.testing.assert_close(found.boxes_N4[:, 0], 1 - targets.boxes_N4[:, 0])
