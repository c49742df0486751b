"""Boxes to train on and to evaluate against: clipped, without those that nothing could find, and in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

from detrdistill.errors import DatasetError
from detrdistill.files.coco.document import Annotation, Document
from detrdistill.files.coco.fields import shown
from detrdistill.files.coco.forms import refuse_other_forms
from detrdistill.files.coco.outlines import Box
from detrdistill.files.coco.records import MIN_BOX_PX

_THIN = "boxes are thinner than one pixel, or negative, and are left out"
_OUTSIDE = "boxes lie outside their image and are left out"


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
    refuse_other_forms(document)
    crowds = 0
    clipped, thin, outside = list[Annotation](), list[Annotation](), list[Annotation]()
    settled: list[list[Truth]] = []
    for entry in document.entries:
        kept: list[Truth] = []
        for annotation in entry.annotations:
            truth, reach = _truth(annotation, *entry.size)
            if truth is None:
                (outside if reach == float("inf") else thin).append(annotation)
                continue
            if reach > MIN_BOX_PX and not truth.crowd:
                clipped.append(annotation)
            crowds += truth.crowd
            kept.append(truth)
        settled.append(kept)
    _warn(document, clipped, "boxes reach outside their image and were clipped")
    _warn(document, thin, _THIN)
    _warn(document, outside, _OUTSIDE)
    if not any(not truth.crowd for kept in settled for truth in kept):
        reasons = {
            f"are thinner than one pixel, or negative (first {_first(thin)})": len(thin),
            f"lie outside their image (first {_first(outside)})": len(outside),
            "are crowd regions": crowds,
        }
        why = ", ".join(
            f"{'all' if count == sum(reasons.values()) else count} {reason}"
            for reason, count in reasons.items()
            if count
        )
        raise DatasetError(
            f"{document.where} has no boxes to learn from{f'; {why}' if why else ''}.",
            hint="Give [x, y, width, height] in pixels." if thin or outside else "Annotate the images of this split.",
        )
    return settled


def _warn(document: Document, found: Sequence[Annotation], what: str) -> None:
    document.warn_of(what, [(annotation.index, list(annotation.bbox)) for annotation in found])


def _first(found: Sequence[Annotation]) -> str:
    return f"/annotations/{found[0].index} ({shown(list(found[0].bbox))})" if found else ""


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
