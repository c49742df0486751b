"""Boxes of annotations that give an outline only: polygons, and run lengths as pycocotools writes them."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

from detrdistill.files.coco.fields import number

Box = tuple[float, float, float, float]
_MAX_RUNS = 1_000_000


def box_of(segmentation: Any) -> Box | None:
    """Box (x, y, width, height) around a segmentation; None: it has no extent, or is none that is known."""
    if isinstance(segmentation, dict):
        return _box_of_runs(cast("dict[str, Any]", segmentation))
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = cast("list[Any]", segmentation)
    if all(isinstance(part, list) for part in parts):
        parts = list(chain.from_iterable(cast("list[list[Any]]", parts)))
    values = [number(part) for part in parts]
    points = [value for value in values if value is not None]
    if len(points) != len(values) or len(points) < 6 or len(points) % 2:
        return None
    x, y = points[::2], points[1::2]
    return _extent(min(x), min(y), max(x), max(y))


def _extent(x0: float, y0: float, x1: float, y1: float) -> Box | None:
    return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None


def _box_of_runs(runs: dict[str, Any]) -> Box | None:
    """From lengths of background and object by turns, down one column after the other."""
    size: Any = runs.get("size")
    if not isinstance(size, list) or not size or (height := number(cast("list[Any]", size)[0])) is None or height < 1:
        return None
    rows, position, inside = int(height), 0, False
    x0 = y0 = float("inf")
    x1 = y1 = 0.0
    for length in _lengths(runs.get("counts")):
        if length < 0 or position > 1e9:
            return None
        if inside and length:
            first, last = divmod(position, rows), divmod(position + length - 1, rows)
            top, bottom = (first[1], last[1]) if first[0] == last[0] else (0, rows - 1)
            x0, y0 = min(x0, first[0]), min(y0, top)
            x1, y1 = max(x1, last[0] + 1), max(y1, bottom + 1)
        position, inside = position + length, not inside
    return _extent(x0, y0, x1, y1)


def _lengths(counts: Any) -> Iterator[int]:
    """Run lengths of a list, or of the text in which pycocotools packs them."""
    if isinstance(counts, list):
        for count in cast("list[Any]", counts)[:_MAX_RUNS]:
            value = number(count)
            yield -1 if value is None else int(value)
        return
    if not isinstance(counts, str):
        return
    lengths: list[int] = []
    value = shift = 0
    for letter in counts[:_MAX_RUNS]:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 40:
            yield -1
            return
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            yield lengths[-1]
            value = shift = 0
