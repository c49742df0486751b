"""Evaluate an exported folder exactly as its user will: with nothing but `transformers`.

The number this gives is the one the project publishes, so that the reported AP is the AP of the file.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from detrdistill.engine.evaluate import CocoEvaluator, milliseconds_per_image
from detrdistill.events import CocoMetrics


def evaluate_folder(
    folder: Path,
    evaluator: CocoEvaluator,
    device: torch.device,
    batch_size: int,
    alive: Callable[[], None] = lambda: None,
) -> tuple[CocoMetrics, float]:
    """COCO metrics of a saved detector and its median time per image in milliseconds.

    `alive` is called after every batch, and as the images are scored.
    """
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForObjectDetection.from_pretrained(folder).eval().to(device)
    images = evaluator.split.images
    found: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    pixels_BCHW = torch.empty(0)
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            records = images[start : start + batch_size]
            pictures = [Image.open(record.path).convert("RGB") for record in records]
            pixels_BCHW = processor(images=pictures, return_tensors="pt")["pixel_values"].to(device)
            outputs = model(pixel_values=pixels_BCHW)
            sizes = [(record.height, record.width) for record in records]
            results = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
            for record, result in zip(records, results, strict=True):
                found[record.id] = (result["scores"].cpu(), result["labels"].cpu(), result["boxes"].cpu())
            alive()
    return evaluator.score(found, alive), milliseconds_per_image(model, pixels_BCHW[:1])
