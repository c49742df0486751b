"""Gate, verification and the example that a user runs measure the same, on a dataset with everything odd in it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detrdistill.data.dataset import DetectionDataset, evaluation_batches, read_image
from detrdistill.data.transforms import DetectorInput
from detrdistill.detectors.weights import load_detector
from detrdistill.engine.evaluate import CocoEvaluator
from detrdistill.engine.verify import evaluate_folder
from detrdistill.files.coco import read_splits
from examples.digits import make_dataset as digits
from examples.evaluate import evaluate

TEACHER = Path(digits.__file__).with_name("teacher")
_STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits: turned, of 16 bits, with ids as text, other category ids in val, and boxes of no use."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "SIZES", {"train": 2, "val": 14})
        digits.make_dataset(folder)
    document = json.loads((folder / "val.json").read_text())
    for number, entry in enumerate(document["images"]):
        path = folder / "images" / entry["file_name"]
        image = Image.open(path).convert("RGB")
        if orientation := (None, 3, 6)[number % 3]:
            exif = Image.Exif()
            exif[0x0112] = orientation
            image.transpose(_STORED[orientation]).save(path, quality=95, exif=exif)
        elif number % 2:
            entry["file_name"] = f"{path.stem}.png"
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path.with_suffix(".png"))
        entry |= {"id": f"image {entry['id']}", "file_name": f"images\\{entry['file_name']}"}
        if number == 4:
            del entry["width"], entry["height"]
    for category in document["categories"]:
        category["id"] += 10**18
    for row in document["annotations"]:
        row |= {"image_id": f"image {row['image_id']}", "category_id": row["category_id"] + 10**18, "area": None}
    document["annotations"][0]["bbox"][2] = 0
    document["annotations"][1]["bbox"][0] -= 100
    (folder / "val.json").write_text(json.dumps(document))
    return folder


def test_the_three_measurements_agree(odd: Path):
    split = read_splits(odd, check_files=True)["val"]
    evaluator = CocoEvaluator(split)
    verified, _ = evaluate_folder(TEACHER, evaluator, torch.device("cpu"), batch_size=4)
    detector, _ = load_detector(TEACHER, 128)
    prepare = DetectorInput(detector.preprocessing)
    batches = evaluation_batches(DetectionDataset(split, [prepare], None), batch_size=4, workers=0)
    gate = evaluator.run(lambda pixels: detector.detections(detector(pixels)), prepare, batches, torch.device("cpu"))
    assert verified.ap > 0.5
    assert gate.metrics.ap == pytest.approx(verified.ap, abs=2e-3)
    ap, ap50 = evaluate(TEACHER, odd / "val.json", odd / "images")
    assert (ap, ap50) == pytest.approx((verified.ap, verified.ap50), abs=1e-6)


def test_the_example_sees_the_pixels_of_the_engine(odd: Path):
    from examples.evaluate import open_image

    entries = json.loads((odd / "val.json").read_text())["images"]
    for record, entry in zip(read_splits(odd)["val"].images, entries, strict=True):
        seen = np.asarray(open_image(record.path, entry, []))
        assert np.array_equal(np.moveaxis(read_image(record).numpy(), 0, 2), seen), record.path.name
