"""Evaluate a downloaded student with nothing of this project: transformers and pycocotools alone.

    python -m examples.evaluate path/to/student path/to/dataset

Prints AP and AP50 on the validation split. The service reports the same numbers: classes are matched by name, images
are turned as their EXIF orientation says where that is the annotated size, more than 8 bits are scaled to 8, and boxes
below one pixel are left out.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from transformers import AutoImageProcessor, AutoModelForObjectDetection


def main() -> None:
    """Evaluate what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the student")
    parser.add_argument("dataset", type=Path, help="folder with val.json and images/")
    options = parser.parse_args()
    ap, ap50 = evaluate(options.model, options.dataset / "val.json", options.dataset / "images", print)
    print(f"AP {ap:.4f}  AP50 {ap50:.4f}")


def evaluate(
    model_folder: Path, annotations: Path, images: Path, say: Callable[[str], Any] = lambda _: None
) -> tuple[float, float]:
    """AP and AP50 of a detector folder on COCO annotations."""
    processor = AutoImageProcessor.from_pretrained(model_folder)
    model = AutoModelForObjectDetection.from_pretrained(model_folder).eval()
    labels = {row["name"].casefold(): row["index"] for row in json.loads((model_folder / "label_map.json").read_text())}
    document = json.loads(annotations.read_bytes())
    entries: list[dict[str, Any]] = document["images"]
    boxes = _boxes_of_images(document, labels)
    files = {path.name.casefold(): path for path in images.rglob("*")}
    truth: Any = COCO()
    truth.dataset = {"images": [], "annotations": [], "categories": [{"id": label} for label in labels.values()]}
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, start=1):
        rows = boxes.get(str(entry["id"]), [])
        image = open_image(_find(images, files, entry["file_name"]), entry, rows)
        truth.dataset["images"].append({"id": number})
        for row in rows:
            if (kept := _ground_truth(row, *image.size)) is not None:
                identifier = len(truth.dataset["annotations"]) + 1
                truth.dataset["annotations"].append({"id": identifier, "image_id": number} | kept)
        with torch.inference_mode():
            outputs = model(**processor(images=image, return_tensors="pt"))
        if not (outputs.logits.isfinite().all() and outputs.pred_boxes.isfinite().all()):
            raise ValueError(f"the detector gives NaN or infinity for {entry['file_name']}")
        size = (image.height, image.width)
        result = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[size])[0]
        for score, label, (x0, y0, x1, y1) in zip(
            result["scores"].tolist(), result["labels"].tolist(), result["boxes"].tolist(), strict=True
        ):
            box = [x0, y0, x1 - x0, y1 - y0]
            found.append({"image_id": number, "category_id": label, "bbox": box, "score": score})
        if number % 50 == 0:
            say(f"{number} of {len(entries)} images")
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        scored = COCOeval(truth, truth.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[0]), float(scored.stats[1])


def open_image(path: Path, entry: dict[str, Any], rows: list[dict[str, Any]]) -> Image.Image:
    """8-bit RGB, upright unless size and boxes are those of the stored pixels."""
    with Image.open(path) as image:
        stored = image.size
        pixels = ImageOps.exif_transpose(image)
        annotated = tuple(int(float(entry.get(side) or 0)) for side in ("width", "height"))
        fits = all(row["bbox"][0] + row["bbox"][2] <= stored[0] + 1 for row in rows) and all(
            row["bbox"][1] + row["bbox"][3] <= stored[1] + 1 for row in rows
        )
        chosen = image if annotated == stored != pixels.size and fits else pixels
        if chosen.mode.startswith(("I", "F")):
            values = np.asarray(chosen)
            top = float(values.max())
            depth = next(depth for depth in (8, 10, 12, 14, 16, 20, 24, 32) if top < 2**depth)
            scaled = (values * 255).round() if values.dtype.kind == "f" and top <= 1 else values / 2 ** (depth - 8)
            chosen = Image.fromarray(scaled.astype(np.uint8))
        return chosen.convert("RGB")


def _find(images: Path, files: dict[str, Path], file_name: str) -> Path:
    """As it is named, else by its base name."""
    named = images / file_name
    return named if named.is_file() else files[file_name.replace("\\", "/").rpartition("/")[2].casefold()]


def _boxes_of_images(document: dict[str, Any], labels: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each image, by its id as text, with numbers as numbers and class indices for category ids."""
    names = {str(category["id"]): category["name"].strip().casefold() for category in document["categories"]}
    boxes: dict[str, list[dict[str, Any]]] = {}
    for row in document["annotations"]:
        label = labels[names[str(row["category_id"])]]
        bbox = [float(value) for value in row["bbox"]]
        crowd = str(row.get("iscrowd") or 0).lower() in ("1", "1.0", "true")
        kept = {"bbox": bbox, "category_id": label, "iscrowd": int(crowd), "area": row.get("area")}
        boxes.setdefault(str(row["image_id"]), []).append(kept)
    return boxes


def _ground_truth(row: dict[str, Any], width: int, height: int) -> dict[str, Any] | None:
    """A box as it is evaluated: clipped if it reaches out by more than a pixel; None if less than a pixel is left."""
    x, y, w, h = row["bbox"]
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    if min(x1 - x0, y1 - y0) < 1:
        return None
    out = max(-x, -y, x + w - width, y + h - height) > 1
    bbox = [x0, y0, x1 - x0, y1 - y0] if out else row["bbox"]
    area = row["area"] if isinstance(row["area"], int | float) and row["area"] > 0 else bbox[2] * bbox[3]
    return row | {"bbox": bbox, "area": area}


if __name__ == "__main__":
    main()
