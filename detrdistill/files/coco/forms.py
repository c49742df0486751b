"""Numbers that make no sense as [x, y, width, height] in pixels, but do as something else that tools write."""

from collections.abc import Callable, Sequence

from detrdistill.errors import DatasetError
from detrdistill.files.coco.document import Annotation, Document
from detrdistill.files.coco.fields import shown
from detrdistill.files.coco.records import MIN_BOX_PX

_FEW = 3
_SOME = 10
_SHARE = 0.05
_ALMOST_ALL = 0.99
_FRACTION = 1.5
"""No more than one, and a little for rounding."""
_PER_CENT = 100.5
_SAME_AREA = 0.02
_OTHER_AREA = 0.1
_IN_PIXELS = "Give [x, y, width, height] in pixels, x and y of the upper left corner."

_Placed = tuple[Annotation, tuple[int, int]]
"""A box, and the size of its image."""
_Test = Callable[[float, float, float, float, int, int], bool]


def refuse_other_forms(document: Document) -> None:
    """Ask about boxes that are fractions, corners, centers, or of images of another size.

    Raises:
        DatasetError: they are that, as far as numbers can tell.
    """
    boxes = [(item, entry.size) for entry in document.entries for item in entry.annotations if not item.crowd]
    if not boxes:
        return
    _refuse_fractions(document, boxes)
    _refuse_areas_of_corners(document, boxes)
    _refuse_outside(document, boxes)
    _warn_of_upper_left(document, boxes)


def _refuse_fractions(document: Document, boxes: Sequence[_Placed]) -> None:
    fractions = [item for item, _ in boxes if max(map(abs, item.bbox)) <= _FRACTION]
    if 2 * len(fractions) > len(boxes):
        raise DatasetError(
            f"{document.where}: {len(fractions)} of {len(boxes)} boxes lie between 0 and 1, first at "
            f"{_shown(fractions[0])}; are these fractions?",
            hint="Give [x, y, width, height] in pixels: multiply by the image's width and height.",
        )


def _refuse_areas_of_corners(document: Document, boxes: Sequence[_Placed]) -> None:
    """The field area is a witness: it is that of the box if this is read as two corners."""
    told: list[tuple[Annotation, bool]] = []
    for item, _ in boxes:
        x, y, x2, y2 = item.bbox
        corners, plain = (x2 - x) * (y2 - y), x2 * y2
        if item.area is not None and abs(corners - plain) > _OTHER_AREA * item.area + 1:
            told.append((item, x2 > x and y2 > y and abs(corners - item.area) <= _SAME_AREA * item.area))
    meant = [item for item, is_corners in told if is_corners]
    if len(meant) >= max(_FEW, _ALMOST_ALL * len(told)):
        raise DatasetError(
            f"{document.where}: {len(meant)} of {len(boxes)} boxes have the area that [x, y, x2, y2] would have, first "
            f"at {_shown(meant[0])} with area {meant[0].area:g}; are they x, y, x2, y2?",
            hint=_IN_PIXELS,
        )


def _refuse_outside(document: Document, boxes: Sequence[_Placed]) -> None:
    """Boxes that reach out of their images, and the reason that fits all of them."""
    out = [placed for placed in boxes if _fits(placed, _is_outside)]
    if not out:
        return
    first = f"first at {_shown(out[0][0])} in an image of {out[0][1][0]}x{out[0][1][1]}"
    readings: dict[str, _Test] = {"x, y, x2, y2": _is_corners, "center x, center y, width, height": _is_centered}
    for form, test in readings.items():
        share = sum(_fits(placed, test) for placed in boxes) / len(boxes)
        if share >= _ALMOST_ALL and len(out) >= max(_FEW, _SHARE * len(boxes)):
            raise DatasetError(
                f"{document.where}: {len(out)} of {len(boxes)} boxes reach outside their image, but all fit as "
                f"[{form}], {first}; are they {form}?",
                hint=_IN_PIXELS,
            )
        if share == 1 and len(boxes) >= _SOME:
            document.warn(
                f"{len(out)} boxes reach outside their image, and all fit as [{form}]; are they that? {first}."
            )
    if len(out) >= _FEW and 2 * len(out) > len(boxes):
        raise DatasetError(
            f"{document.where}: {len(out)} of {len(boxes)} boxes reach outside their image, {first}; do they belong to "
            "images of another size?",
            hint="Upload the images that were annotated, or scale the boxes to the files.",
        )


def _warn_of_upper_left(document: Document, boxes: Sequence[_Placed]) -> None:
    if len(boxes) < _SOME:
        return
    end = max(max(item.bbox[0] + item.bbox[2], item.bbox[1] + item.bbox[3]) for item, _ in boxes)
    smallest = min(min(size) for _, size in boxes)
    if end <= _PER_CENT < 2 * end and smallest > 2 * _PER_CENT:
        document.warn(
            f"all boxes lie within the upper left 100 pixels, first at {_shown(boxes[0][0])}; are these per cent?"
        )
    elif all(_fits(placed, _is_upper_left) for placed in boxes):
        document.warn(
            f"all {len(boxes)} boxes lie within the upper left quarter of their images, first at {_shown(boxes[0][0])} "
            f"in an image of {boxes[0][1][0]}x{boxes[0][1][1]}; do they belong to images of another size?"
        )


def _is_outside(x: float, y: float, w: float, h: float, width: int, height: int) -> bool:
    return min(x, y, width - x - w, height - y - h) < -MIN_BOX_PX


def _is_corners(x: float, y: float, x1: float, y1: float, width: int, height: int) -> bool:
    return min(x, y, width - x1, height - y1) >= -MIN_BOX_PX and x <= x1 and y <= y1


def _is_centered(x: float, y: float, w: float, h: float, width: int, height: int) -> bool:
    return min(x - w / 2, y - h / 2, width - x - w / 2, height - y - h / 2) >= -MIN_BOX_PX


def _is_upper_left(x: float, y: float, w: float, h: float, width: int, height: int) -> bool:
    return 2 * (x + w) <= width and 2 * (y + h) <= height


def _fits(placed: _Placed, test: _Test) -> bool:
    item, (width, height) = placed
    x, y, w, h = item.bbox
    return test(x, y, w, h, width, height)


def _shown(item: Annotation) -> str:
    return f"/annotations/{item.index} ({shown(list(item.bbox))})"
