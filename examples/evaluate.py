"""Evaluate a downloaded student with nothing of this project: transformers and pycocotools alone.

    python -m examples.evaluate path/to/student path/to/dataset

Prints AP and AP50 on the validation split. The service reports the same numbers.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
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
    categories = {row["index"]: row["category_id"] for row in json.loads((model_folder / "label_map.json").read_text())}
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO(str(annotations))
    found: list[dict[str, Any]] = []
    entries = truth.loadImgs(truth.getImgIds())
    for number, entry in enumerate(entries, start=1):
        image = Image.open(images / entry["file_name"]).convert("RGB")
        with torch.inference_mode():
            outputs = model(**processor(images=image, return_tensors="pt"))
        if not (outputs.logits.isfinite().all() and outputs.pred_boxes.isfinite().all()):
            raise ValueError(f"the detector gives NaN or infinity for {entry['file_name']}")
        size = (entry["height"], entry["width"])
        result = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[size])[0]
        for score, label, (x0, y0, x1, y1) in zip(
            result["scores"].tolist(), result["labels"].tolist(), result["boxes"].tolist(), strict=True
        ):
            box = [x0, y0, x1 - x0, y1 - y0]
            found.append({"image_id": entry["id"], "category_id": categories[label], "bbox": box, "score": score})
        if number % 50 == 0:
            say(f"{number} of {len(entries)} images")
    with contextlib.redirect_stdout(io.StringIO()):
        scored = COCOeval(truth, truth.loadRes(found), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[0]), float(scored.stats[1])


if __name__ == "__main__":
    main()
