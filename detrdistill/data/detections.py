"""Detections of the past, which follow their image through augmentation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.tv_tensors import KeyPoints

from detrdistill.boxes import to_cxcywh
from detrdistill.files.black_boxes import Detection
from detrdistill.files.coco import MIN_BOX_PX, ImageRecord

_HALF_PX = 0.5
"""Points of torchvision count from the center of the first pixel, boxes from its edge."""


def image_corners(height: int, width: int) -> KeyPoints:
    """The upper left and the lower right corner of an image, as points that follow it through transforms."""
    corners_22 = torch.tensor([[0.0, 0.0], [width, height]]) - _HALF_PX
    return KeyPoints(corners_22, canvas_size=(height, width))  # pyright: ignore[reportCallIssue]


class RecordedDetections:
    """What somebody's detector has found on the images of a run, as an input beside the images themselves.

    Args:
        found: detections of each image by its file, best first; an image that is not there has none.
    """

    def __init__(self, found: Mapping[Path, Sequence[Detection]]):
        self._rows = {path: _rows(detections) for path, detections in found.items()}
        self.most = max(map(len, self._rows.values()), default=0)

    @property
    def spec(self) -> "RecordedDetections":
        """What tells this input from others."""
        return self

    def rows(self, record: ImageRecord, corners: KeyPoints) -> Tensor:
        """The detections of one image, after its transforms.

        As ground truth, a box whose center is outside of the image is dropped, the others are clipped to it, and
        what is then thinner than a pixel is dropped.

        Args:
            record: the image as it was.
            corners: of the image as it was, where the transforms have put them; see `image_corners`.

        Returns:
            `[R, 6]`: box (cx, cy, w, h) as fractions of the image, score, class index. R is the same for all
            images; the rows left over are -1.
        """
        height, width = corners.canvas_size
        first_2, last_2 = corners.as_subclass(Tensor) + _HALF_PX
        scale_2 = (last_2 - first_2) / torch.tensor([record.width, record.height])
        rows_R6 = self._rows.get(record.path, torch.empty(0, 6))
        points_R22 = rows_R6[:, :4].view(-1, 2, 2) * scale_2 + first_2
        size_2 = torch.tensor([width, height], dtype=torch.float32)
        center_R2 = points_R22.mean(1)
        points_R22 = points_R22.clamp(min=torch.zeros(2), max=size_2)
        boxes_xyxy_R4 = torch.cat([points_R22.amin(1), points_R22.amax(1)], dim=1)
        side_R2 = boxes_xyxy_R4[:, 2:] - boxes_xyxy_R4[:, :2]
        kept_R = ((center_R2 > 0) & (center_R2 < size_2) & (side_R2 >= MIN_BOX_PX)).all(1)
        boxes_R4 = to_cxcywh(boxes_xyxy_R4) / size_2.repeat(2)
        kept_K6 = torch.cat([boxes_R4, rows_R6[:, 4:]], dim=1)[kept_R]
        return torch.cat([kept_K6, kept_K6.new_full((self.most - len(kept_K6), 6), -1.0)])

    def normalise(self, rows_BR6: Tensor) -> Tensor:
        """Nothing is left to do for a batch."""
        return rows_BR6


def _rows(detections: Sequence[Detection]) -> Tensor:
    """`[R, 6]`: box (x0, y0, x1, y1) in pixels, score, class index."""
    rows = [(*detection.box_xyxy_px, detection.score, float(detection.label)) for detection in detections]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
