"""Evaluate an exported folder exactly as its user will: with nothing but `transformers`.

The number this gives is the one the project publishes, so that the reported AP is the AP of the file.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from detrdistill.engine.evaluate import CocoEvaluator, milliseconds_per_image
from detrdistill.engine.finite import check_finite, non_finite_tensors
from detrdistill.events import CocoMetrics
from detrdistill.files.coco import Id, load_image
from detrdistill.outputs import non_finite_queries


def evaluate_folder(
    folder: Path,
    evaluator: CocoEvaluator,
    device: torch.device,
    batch_size: int,
    alive: Callable[[], None] = lambda: None,
) -> tuple[CocoMetrics, float]:
    """COCO metrics of a saved detector and its median time per image in milliseconds.

    `alive` is called after every batch, and as the images are scored.

    Raises:
        Diverged: its weights, or what it detects, are not finite.
    """
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForObjectDetection.from_pretrained(folder).eval().to(device)
    images = evaluator.split.images
    found: dict[Id, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    pixels_BCHW = torch.empty(0)
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            records = images[start : start + batch_size]
            loaded = [load_image(record) for record in records]
            pixels_BCHW = processor(images=loaded, return_tensors="pt")["pixel_values"].to(device)
            outputs = model(pixel_values=pixels_BCHW)
            sizes = [(record.height, record.width) for record in records]
            results = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=sizes)
            broken_B = non_finite_queries(outputs.logits, outputs.pred_boxes).sum(-1).tolist()
            for record, result, broken in zip(records, results, broken_B, strict=True):
                values = (result["scores"].cpu(), result["labels"].cpu(), result["boxes"].cpu())
                found[record.id] = _with_broken(*values, broken)
            alive()
    metrics, non_finite = evaluator.evaluate(found, alive)
    check_finite(
        f"The exported folder {folder.name}",
        detections=non_finite,
        tensors=non_finite_tensors(model),
        hint="Lower training.lr, or train with precision fp32. Do not use this folder.",
    )
    return metrics, milliseconds_per_image(model, pixels_BCHW[:1])


def _with_broken(
    scores_R: torch.Tensor, labels_R: torch.Tensor, boxes_R4: torch.Tensor, broken: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Detections with a score of NaN for each broken query: NaN is above no threshold, so the processor drops it."""
    return (
        torch.cat([scores_R, scores_R.new_full((broken,), torch.nan)]),
        torch.cat([labels_R, labels_R.new_zeros(broken)]),
        torch.cat([boxes_R4, boxes_R4.new_zeros(broken, 4)]),
    )
