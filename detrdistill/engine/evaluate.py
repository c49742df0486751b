"""COCO evaluation with pycocotools, the reference implementation."""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from detrdistill.boxes import to_xyxy
from detrdistill.data.dataset import Batch, InputTransform
from detrdistill.engine.finite import Detections, NonFinite, non_finite_detections
from detrdistill.events import CocoMetrics
from detrdistill.files.coco import CocoSet, Id, key_of

Detect = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""Normalised pixels `[B, 3, H, W]`, or what else an input shows, to scores `[B, R]`, class indices `[B, R]` and boxes
`[B, R, 4]` (cx, cy, w, h)."""


class Evaluation(NamedTuple):
    """What one detector scores, and whether its detections are numbers at all."""

    metrics: CocoMetrics
    non_finite: NonFinite | None
    """Where there is one, every AP is 0."""


def _do_nothing() -> None: ...


class CocoEvaluator:
    """Scores detections of one split against its annotations, crowd regions included."""

    def __init__(self, split: CocoSet):
        self.split = split
        self.sizes = {image.id: (image.width, image.height) for image in split.images}
        self.ground_truth: Any = COCO()
        self.ground_truth.dataset = _with_dense_ids(split)
        self.dense_ids = {image.id: index for index, image in enumerate(split.images, start=1)}
        with _silence():
            self.ground_truth.createIndex()

    def score(self, detections: Detections, alive: Callable[[], None] = _do_nothing) -> CocoMetrics:
        """Compute the COCO numbers; of a detector with a score or box that is NaN or infinite they are 0.

        Args:
            detections: for each image id, scores `[R]`, class indices `[R]` and boxes `[R, 4]` (x0, y0, x1, y1) in
                pixels of the original image.
            alive: called as the images are scored.
        """
        return self.evaluate(detections, alive).metrics

    def evaluate(self, detections: Detections, alive: Callable[[], None] = _do_nothing) -> Evaluation:
        """As `score`, with the count of detections that are NaN or infinite."""
        non_finite = non_finite_detections(detections)
        if non_finite is not None:
            return Evaluation(self.nothing_found(), non_finite)
        return Evaluation(self._score(detections, alive), None)

    def nothing_found(self) -> CocoMetrics:
        """The COCO numbers of a detector that finds nothing."""
        none = (torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 4))
        return self._score({image.id: none for image in self.split.images})

    def _score(self, detections: Detections, alive: Callable[[], None] = _do_nothing) -> CocoMetrics:
        rows = [_rows(self.dense_ids[image_id], *values) for image_id, values in detections.items()]
        with _silence():
            found = np.concatenate(rows)
            results = self.ground_truth.loadRes(found) if len(found) else COCO()  # a dead detector finds nothing
            evaluation = _Scoring(self.ground_truth, results, alive)
            evaluation.params.imgIds = [self.dense_ids[image_id] for image_id in detections]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        stats = [float(value) for value in evaluation.stats]
        precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class], all areas, 100 detections
        return CocoMetrics(
            **dict(zip(_STATS, stats, strict=False)),
            per_class={name: _mean(precision[:, :, label]) for label, name in enumerate(self.split.classes)},
        )

    def run(
        self,
        detect: Detect,
        transform: InputTransform,
        batches: Iterator[Batch],
        device: torch.device,
        alive: Callable[[], None] = _do_nothing,
    ) -> Evaluation:
        """Detect on all batches and score. Each batch must hold one input, made by `transform`.

        `alive` is called after every batch, and as the images are scored.
        """
        found: dict[Id, tuple[Tensor, Tensor, Tensor]] = {}
        with torch.inference_mode():
            for batch in batches:
                pixels_BCHW = transform.normalise(batch.inputs[0].to(device, non_blocking=True))
                scores_BR, labels_BR, boxes_BR4 = (value.cpu() for value in detect(pixels_BCHW))
                for index, image_id in enumerate(batch.image_ids):
                    width, height = self.sizes[image_id]
                    boxes_px = to_xyxy(boxes_BR4[index]) * torch.tensor([width, height, width, height])
                    found[image_id] = (scores_BR[index], labels_BR[index], boxes_px)
                alive()
        return self.evaluate(found, alive)


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


def _rows(image_id: int, scores_R: Tensor, labels_R: Tensor, boxes_R4: Tensor) -> np.ndarray:
    """Rows (image, x, y, width, height, score, category) as `COCO.loadRes` takes them, with dense ids."""
    category_R = labels_R.double() + 1
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


def _with_dense_ids(split: CocoSet) -> dict[str, Any]:
    """The ground truth with ids 1, 2, 3, ...: pycocotools passes ids through float64, which holds no others safely."""
    images = {key_of(image.id): index for index, image in enumerate(split.images, start=1)}
    labels = range(1, len(split.classes) + 1)
    categories = {key_of(category): label for label, category in zip(labels, split.category_ids, strict=True)}
    annotations = [
        row
        | {
            "id": index,
            "image_id": images[key_of(row["image_id"])],
            "category_id": categories[key_of(row["category_id"])],
        }
        for index, row in enumerate(split.annotations["annotations"], start=1)
    ]
    return {
        "images": [{"id": index} for index in images.values()],
        "categories": [{"id": label} for label in labels],
        "annotations": annotations,
    }


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """pycocotools prints its progress."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
