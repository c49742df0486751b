"""Boxes to train on and to evaluate against: clipped, without those that nothing could find, and in pixels."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from detrdistill.coco.document import Annotation, Document, Entry
from detrdistill.coco.outlines import Box
from detrdistill.coco.records import MIN_BOX_PX
from detrdistill.errors import DatasetError

_FEW = 3
_SHARE = 0.05
_ALMOST_ALL = 0.99
_FRACTION = 1.5
"""No more than one, and a little for rounding."""
_PER_CENT = 100.5


@dataclass(frozen=True, slots=True)
class Truth:
    """A box of the ground truth."""

    category: int
    """Position in `Document.categories`."""
    xyxy: Box
    """Clipped to the image."""
    xywh: Box
    """As annotated, but clipped if it reaches more than a pixel out of the image."""
    area: float
    crowd: bool


def settle_boxes(document: Document) -> list[list[Truth]]:
    """The boxes of every entry, in order.

    Raises:
        DatasetError: the numbers look like something else than [x, y, width, height] in pixels, or there is no box.
    """
    _refuse_other_forms(document)
    clipped = thin = outside = crowds = 0
    settled: list[list[Truth]] = []
    for entry in document.entries:
        kept: list[Truth] = []
        for annotation in entry.annotations:
            truth, reach = _truth(annotation, *_size(entry))
            if truth is None:
                outside += reach == float("inf")
                thin += reach != float("inf")
                continue
            clipped += reach > MIN_BOX_PX and not truth.crowd
            crowds += truth.crowd
            kept.append(truth)
        settled.append(kept)
    if clipped:
        document.warn(f"{clipped} boxes reach outside their image and were clipped.")
    if thin:
        document.warn(f"{thin} boxes are thinner than one pixel, or negative, and are left out.")
    if outside:
        document.warn(f"{outside} boxes lie outside their image and are left out.")
    if not any(not truth.crowd for kept in settled for truth in kept):
        raise DatasetError(
            f"{document.where} has no boxes to learn from{'; all are crowd regions' if crowds else ''}.",
            hint="Annotate the images of this split.",
        )
    return settled


def _truth(annotation: Annotation, width: int, height: int) -> tuple[Truth | None, float]:
    """A box of use, and how far it reaches out of its image: infinitely if it does not touch it."""
    x, y, box_width, box_height = annotation.bbox
    x1, y1 = x + box_width, y + box_height
    reach = max(-x, -y, x1 - width, y1 - height)
    if box_width > 0 and box_height > 0 and (x1 <= 0 or y1 <= 0 or x >= width or y >= height):
        return None, float("inf")
    xyxy = (max(x, 0.0), max(y, 0.0), min(x1, float(width)), min(y1, float(height)))
    sides = xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]
    if min(sides) < MIN_BOX_PX:
        return None, reach
    xywh = (xyxy[0], xyxy[1], *sides) if reach > MIN_BOX_PX else annotation.bbox
    area = annotation.area if annotation.area is not None else xywh[2] * xywh[3]
    return Truth(annotation.category, xyxy, xywh, area, annotation.crowd), reach


def _size(entry: Entry) -> tuple[int, int]:
    assert entry.width is not None
    assert entry.height is not None
    return entry.width, entry.height


def _refuse_other_forms(document: Document) -> None:
    """Numbers that make no sense as [x, y, width, height] in pixels, but do as something else that tools write."""
    boxes = [(item.bbox, _size(entry)) for entry in document.entries for item in entry.annotations if not item.crowd]
    if not boxes:
        return
    fractions = [box for box, _ in boxes if max(map(abs, box)) <= _FRACTION]
    if 2 * len(fractions) > len(boxes):
        raise DatasetError(
            f"{document.where}: {len(fractions)} of {len(boxes)} boxes lie between 0 and 1, first "
            f"{list(fractions[0])}; are these fractions?",
            hint="Give [x, y, width, height] in pixels: multiply by the image's width and height.",
        )
    _warn_of_per_cent(document, boxes)
    out = _count(boxes, lambda x, y, w, h, width, height: x + w > width + MIN_BOX_PX or y + h > height + MIN_BOX_PX)
    if out < max(_FEW, _SHARE * len(boxes)):
        return
    readings = {"x, y, x2, y2": _is_corners, "center x, center y, width, height": _is_centred}
    for form, fits in readings.items():
        if _count(boxes, fits) >= _ALMOST_ALL * len(boxes):
            raise DatasetError(
                f"{document.where}: {out} of {len(boxes)} boxes reach outside their image, but all fit as [{form}], "
                f"first {list(boxes[0][0])}; are they {form}?",
                hint="Give [x, y, width, height] in pixels, x and y of the upper left corner.",
            )


def _warn_of_per_cent(document: Document, boxes: Sequence[tuple[Box, tuple[int, int]]]) -> None:
    ends = [max(x + w, y + h) for (x, y, w, h), _ in boxes]
    smallest = min(min(size) for _, size in boxes)
    if len(boxes) >= 10 and max(ends) <= _PER_CENT < 2 * max(ends) and smallest > 2 * _PER_CENT:
        document.warn(f"all boxes lie within the upper left 100 pixels, first {list(boxes[0][0])}; are these per cent?")


def _is_corners(x: float, y: float, x1: float, y1: float, width: int, height: int) -> bool:
    return min(x, y, width - x1, height - y1) >= -MIN_BOX_PX and x <= x1 and y <= y1


def _is_centred(x: float, y: float, w: float, h: float, width: int, height: int) -> bool:
    return min(x - w / 2, y - h / 2, width - x - w / 2, height - y - h / 2) >= -MIN_BOX_PX


def _count(
    boxes: Iterable[tuple[Box, tuple[int, int]]], test: Callable[[float, float, float, float, int, int], bool]
) -> int:
    return sum(test(*box, *size) for box, size in boxes)
