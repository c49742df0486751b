"""COCO evaluation with pycocotools, the reference implementation."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from detrdistill.boxes import to_xyxy
from detrdistill.coco import CocoSet
from detrdistill.data.dataset import Batch, Input
from detrdistill.events import CocoMetrics

Detect = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Normalised pixels `[B, 3, H, W]`, or what else an input shows, to scores `[B, R]`, class indices `[B, R]` and boxes
`[B, R, 4]` (cx, cy, w, h)."""


class CocoEvaluator:
    """Scores detections of one split against its annotations, crowd regions included."""

    def __init__(self, split: CocoSet):
        self.split = split
        self.sizes = {image.id: (image.width, image.height) for image in split.images}
        self.ground_truth: Any = COCO()
        self.ground_truth.dataset = _complete(split.annotations)
        with _silence():
            self.ground_truth.createIndex()

    def score(
        self, detections: Mapping[int, tuple[Tensor, Tensor, Tensor]], alive: Callable[[], None] = lambda: None
    ) -> CocoMetrics:
        """Compute the COCO numbers.

        Args:
            detections: for each image id, scores `[R]`, class indices `[R]` and boxes `[R, 4]` (x0, y0, x1, y1) in
                pixels of the original image.
            alive: called as the images are scored.
        """
        rows = [_rows(image_id, *values, self.split.category_ids) for image_id, values in detections.items()]
        with _silence():
            found = np.concatenate(rows)
            results = self.ground_truth.loadRes(found) if len(found) else COCO()  # a dead detector finds nothing
            evaluation = _Scoring(self.ground_truth, results, alive)
            evaluation.params.imgIds = list(detections)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        stats = [float(value) for value in evaluation.stats]
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class], all areas, 100 detections
        category_ids = evaluation.params.catIds
        return CocoMetrics(
            **dict(zip(_STATS, stats, strict=False)),
            per_class={
                name: _mean(precision[:, :, category_ids.index(category)])
                for name, category in zip(self.split.classes, self.split.category_ids, strict=True)
            },
        )

    def run(
        self,
        detect: Detect,
        prepare: Input,
        batches: Iterator[Batch],
        device: torch.device,
        alive: Callable[[], None] = lambda: None,
    ) -> CocoMetrics:
        """Detect on all batches and score. Each batch must hold one input, prepared by `prepare`.

        `alive` is called after every batch, and as the images are scored.
        """
        found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        with torch.inference_mode():
            for batch in batches:
                pixels_BCHW = prepare.normalise(batch.images[0].to(device, non_blocking=True))
                scores_BR, labels_BR, boxes_BR4 = (value.cpu() for value in detect(pixels_BCHW))
                for index, image_id in enumerate(batch.image_ids):
                    width, height = self.sizes[image_id]
                    boxes_px = to_xyxy(boxes_BR4[index]) * torch.tensor([width, height, width, height])
                    found[image_id] = (scores_BR[index], labels_BR[index], boxes_px)
                alive()
        return self.score(found, alive)


class _Scoring(COCOeval):
    """COCO evaluation of boxes that says when it gets on; a large split takes it many minutes."""

    def __init__(self, truth: COCO, results: COCO, alive: Callable[[], None]):
        super().__init__(truth, results, "bbox")
        self._alive = alive

    def evaluateImg(self, imgId: int, catId: int, aRng: Any, maxDet: int) -> Any:  # noqa: N802  pycocotools' name
        """Match the detections of one image, class and range of areas."""
        self._alive()
        return super().evaluateImg(imgId, catId, aRng, maxDet)


def milliseconds_per_image(model: nn.Module, pixels_BCHW: Tensor, repeats: int = 20) -> float:
    """Median time of one forward pass of a batch of one, after a warm-up, on the device of the pixels."""

    def once() -> float:
        start = time.perf_counter()
        model(pixel_values=pixels_BCHW)
        if pixels_BCHW.is_cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1000

    with torch.inference_mode():
        for _ in range(3):
            once()
        return median(once() for _ in range(repeats))


_STATS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100")


def _mean(precision: np.ndarray) -> float:
    """Average over IoU and recall; -1 where the class has no ground truth."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else -1.0


def _rows(image_id: int, scores_R: Tensor, labels_R: Tensor, boxes_R4: Tensor, ids: Sequence[int]) -> np.ndarray:
    """Rows (image, x, y, width, height, score, category) as `COCO.loadRes` takes them."""
    category_R = torch.tensor(ids, dtype=torch.float64)[labels_R]
    size_R2 = boxes_R4[:, 2:] - boxes_R4[:, :2]
    image_R = torch.full_like(category_R, image_id)
    columns = [
        image_R[:, None],
        boxes_R4[:, :2].double(),
        size_R2.double(),
        scores_R[:, None].double(),
        category_R[:, None],
    ]
    return torch.cat(columns, dim=1).numpy()


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """Annotations with the fields pycocotools needs and COCO exports often lack."""
    annotations = [
        {
            **annotation,
            "id": index,
            "iscrowd": int(bool(annotation.get("iscrowd", 0))),
            "area": annotation.get("area", annotation["bbox"][2] * annotation["bbox"][3]),
        }
        for index, annotation in enumerate(document["annotations"], start=1)
    ]
    return {"images": document["images"], "categories": document["categories"], "annotations": annotations}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """pycocotools prints its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
