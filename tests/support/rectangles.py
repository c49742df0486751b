"""A tiny dataset of coloured rectangles, drawn once."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64
CLASSES = ("red", "green")


def write_rectangles(folder: Path, *, images: dict[str, int], seed: int = 0) -> Path:
    """One or two rectangles per image; class by colour. The last image of each split has no box."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    for split, count in images.items():
        entries, annotations = [], []
        for image_id in range(1, count + 1):
            pixels = rng.integers(90, 160, (SIDE, SIDE, 3), dtype=np.uint8)
            boxes = 0 if image_id == count else int(rng.integers(1, 3))
            for _ in range(boxes):
                x, y = (int(value) for value in rng.integers(0, 36, 2))
                width, height = (int(value) for value in rng.integers(12, 28, 2))
                label = int(rng.integers(2))
                pixels[y : y + height, x : x + width] = (230, 20, 20) if label == 0 else (20, 230, 20)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": 5 * label + 3,
                        "bbox": [x, y, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                    }
                )
            name = f"{split}_{image_id}.png"
            Image.fromarray(pixels).save(folder / "images" / name)
            entries.append({"id": image_id, "file_name": name, "width": SIDE, "height": SIDE})
        categories = [{"id": 5 * index + 3, "name": name} for index, name in enumerate(CLASSES)]
        document = {"images": entries, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(document))
    return folder
