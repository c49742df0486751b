"""A detection dataset that needs no download: real handwritten digits on real photographs.

scikit-learn ships 1,797 digits of 8x8 pixels (UCI, CC BY 4.0) and two photographs (china.jpg and flower.jpg, CC BY).
Each image is a random crop of a photograph with two to six digits pasted on it, enlarged, turned and coloured at
random; a box is the tight frame around the ink. The digits of the validation split are never used for training.

    python -m examples.digits.make_dataset .run/demo/digits
"""

import argparse
import colorsys
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_images

SIDE = 128
SIZES = {"train": 1500, "val": 200}
_DIGIT_SIDE = (24, 52)
_VALIDATION_SHARE = 0.2


def main() -> None:
    """Write the dataset named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    make_dataset(options.folder, options.seed)
    print(f"{options.folder}: " + ", ".join(f"{size} {split}" for split, size in SIZES.items()) + " images")


def make_dataset(folder: Path, seed: int = 0) -> None:
    """Write `images/`, `train.json` and `val.json`. The same seed writes the same bytes."""
    rng = np.random.default_rng(seed)
    bunch: Any = load_digits()
    order = rng.permutation(len(bunch.target))
    held_out = int(len(order) * _VALIDATION_SHARE)
    pools = {"val": order[:held_out], "train": order[held_out:]}
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]  # pyright: ignore
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id in range(1, size + 1):
            canvas = _background(rng, photographs)
            boxes = _paste_digits(rng, canvas, bunch.images, pools[split])
            file_name = f"{split}_{image_id:05d}.jpg"
            canvas.save(folder / "images" / file_name, quality=92)
            images.append({"id": image_id, "file_name": file_name, "width": SIDE, "height": SIDE})
            annotations += [
                {
                    "id": len(annotations) + index,
                    "image_id": image_id,
                    "category_id": int(bunch.target[digit]) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
                for index, (digit, (x0, y0, x1, y1)) in enumerate(boxes, start=1)
            ]
        categories = [{"id": digit + 1, "name": str(digit)} for digit in range(10)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(document))


def _background(rng: np.random.Generator, photographs: list[Image.Image]) -> Image.Image:
    """A square crop of a photograph, mirrored or not, more or less darkened."""
    photograph = photographs[rng.integers(len(photographs))]
    side = int(rng.integers(SIDE, min(photograph.size)))
    left, top = (int(rng.integers(length - side + 1)) for length in photograph.size)
    crop = photograph.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return ImageEnhance.Brightness(crop).enhance(float(rng.uniform(0.25, 0.65)))


def _paste_digits(
    rng: np.random.Generator, canvas: Image.Image, digits: np.ndarray, pool: np.ndarray
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Paste two to six digits without overlap; returns the index and the box in pixels of each."""
    placed: list[tuple[int, tuple[int, int, int, int]]] = []
    for _ in range(rng.integers(2, 7)):
        digit = int(rng.choice(pool))
        ink = _ink(rng, digits[digit])
        for _ in range(20):
            left, top = (int(rng.integers(SIDE - length + 1)) for length in ink.size)
            box = (left, top, left + ink.width, top + ink.height)
            if not any(_overlap(box, other) for _, other in placed):
                canvas.paste(_bright_colour(rng), (left, top), ink)
                placed.append((digit, box))
                break
    return placed


def _bright_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """Any hue, more or less saturated, at full brightness."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.9), 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ink(rng: np.random.Generator, digit: np.ndarray) -> Image.Image:
    """Opacity of an enlarged and slightly turned digit, cropped to where there is ink."""
    side = int(rng.integers(*_DIGIT_SIDE))
    ink = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    ink = ink.rotate(float(rng.uniform(-15, 15)), Image.Resampling.BICUBIC, expand=True)
    opacity = np.asarray(ink, dtype=np.float32)
    ink = Image.fromarray(np.where(opacity < 40, 0, np.minimum(opacity * 1.5, 255)).astype(np.uint8))
    return ink.crop(ink.getbbox())


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


if __name__ == "__main__":
    main()
