"""Which way up images are: the EXIF orientation of photographs against the sizes and boxes of their annotations.

Annotation tools show photographs upright; some write sizes or boxes of the stored pixels. The rule:

1. Where the orientation turns width and height, the annotated size says which are meant. Sizes of the stored pixels
   whose boxes fit only the image as it is shown are taken for an error of the sizes.
2. Where no size is annotated, the boxes say it, if most of those that tell fit one way only.
3. Where the size is the same either way (mirrored, upside down, square), or no box tells, the images of 1 decide;
   without any, the orientation is applied, as `transformers`, browsers and OpenCV do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detrdistill.errors import DatasetError
from detrdistill.files.coco.document import Annotation, Document, Entry
from detrdistill.files.coco.fields import EXAMPLES, listed, shown
from detrdistill.files.coco.images import ImageFacts
from detrdistill.files.coco.records import MIN_BOX_PX

Size = tuple[int, int]


@dataclass
class _Sorted:
    """The turned images of a file by what their annotated size says."""

    shown: list[Entry] = field(default_factory=list["Entry"])
    stored: list[Entry] = field(default_factory=list["Entry"])
    open: list[Entry] = field(default_factory=list["Entry"])
    unsized: list[Entry] = field(default_factory=list["Entry"])


def settle_sizes(documents: Sequence[Document], facts: Mapping[Path, ImageFacts]) -> None:
    """Set width, height and `upright` of every entry.

    Raises:
        DatasetError: an annotated size is neither that of the stored pixels nor that of the image as it is shown.
    """
    groups = [_sort(document, facts) for document in documents]
    stored = [entry for group in groups for entry in group.stored]
    mistaken = _leaning(stored, facts) > 0
    leaning = _leaning([entry for group in groups for entry in group.unsized], facts)
    upright = mistaken or len(stored) <= sum(len(group.shown) for group in groups)
    if not stored and not any(group.shown for group in groups):
        upright = leaning >= 0
    unsized = leaning > 0 if leaning else upright
    for document, group in zip(documents, groups, strict=True):
        for entry in group.stored:
            entry.upright = mistaken
        for entry in group.open:
            entry.upright = upright
        for entry in group.unsized:
            entry.upright = unsized
        for entry in document.entries:
            held = facts[entry.path]
            entry.width, entry.height = held.shown_size if entry.upright else held.size
        _warn(document, group, mistaken=mistaken, upright=upright, unsized=unsized, told=leaning != 0)


def _sort(document: Document, facts: Mapping[Path, ImageFacts]) -> _Sorted:
    group, wrong = _Sorted(), list[tuple[Entry, ImageFacts]]()
    for entry in document.entries:
        held = facts[entry.path]
        size = (entry.width or held.shown_size[0], entry.height or held.shown_size[1])
        if size not in (held.size, held.shown_size):
            wrong.append((entry, held))
        elif held.orientation == 1:
            continue
        elif held.size == held.shown_size:
            group.open.append(entry)
        elif entry.width is None and entry.height is None:
            group.unsized.append(entry)
        else:
            (group.shown if size == held.shown_size else group.stored).append(entry)
    if wrong:
        complaints = "; ".join(_complaint(entry, held) for entry, held in wrong[:EXAMPLES])
        raise DatasetError(
            f"{document.where}: {len(wrong)} images have another size than their annotations say: {complaints}.",
            hint=_remedy(wrong),
        )
    return group


def _remedy(wrong: Sequence[tuple[Entry, ImageFacts]]) -> str:
    """What to do about sizes that are wrong: the boxes belong to one of the two, and mostly tell to which."""
    sizes = [((entry.width or held.width, entry.height or held.height), held) for entry, held in wrong]
    if all(size[::-1] == held.size for size, held in sizes):
        fit = all(_reach(item, held.size) <= MIN_BOX_PX for entry, held in wrong for item in entry.annotations)
        return (
            "Swap width and height of these entries; their boxes fit the files."
            if fit
            else "These files were turned after they were annotated; turn them back, or their boxes with them."
        )
    if all(abs(held.width * size[1] - held.height * size[0]) <= max(held.size + size) for size, held in sizes):
        return (
            "These files were resized after they were annotated; upload the images that were annotated, or scale "
            "width, height and boxes to the files."
        )
    return (
        "Upload the images that were annotated. Leave width and height out, to have them read from the files, only if "
        "the boxes belong to the files as they are."
    )


def _complaint(entry: Entry, held: ImageFacts) -> str:
    turned = "" if held.size == held.shown_size else f" ({held.height}x{held.width} as it is shown)"
    swapped = ", width and height are swapped" if (entry.height, entry.width) == held.size else ""
    return (
        f"{shown(entry.path.name)} (/images/{entry.index}) is {held.width}x{held.height}{turned}, "
        f"annotated as {entry.width or '?'}x{entry.height or '?'}{swapped}"
    )


def _leaning(entries: Sequence[Entry], facts: Mapping[Path, ImageFacts]) -> int:
    """By how many images more the boxes fit only as shown than only as stored; negative: the other way round."""
    held = [(entry, facts[entry.path]) for entry in entries]
    fit_shown = sum(_fits_only(entry, fact.shown_size, fact.size) for entry, fact in held)
    return fit_shown - sum(_fits_only(entry, fact.size, fact.shown_size) for entry, fact in held)


def _fits_only(entry: Entry, size: Size, other: Size) -> bool:
    """All boxes lie within an image of this size, and some reach out of the other."""
    fits: Callable[[Annotation, Size], bool] = lambda item, within: _reach(item, within) <= MIN_BOX_PX  # noqa: E731
    boxes = entry.annotations
    return all(fits(item, size) for item in boxes) and not all(fits(item, other) for item in boxes)


def _reach(annotation: Annotation, size: Size) -> float:
    """How far a box reaches out of the image to the right or below, in pixels."""
    x, y, width, height = annotation.bbox
    return max(x + width - size[0], y + height - size[1])


def _warn(document: Document, group: _Sorted, *, mistaken: bool, upright: bool, unsized: bool, told: bool) -> None:
    def names(entries: list[Entry]) -> str:
        return listed([entry.path.name for entry in entries])

    if group.shown:
        document.warn(
            f"{len(group.shown)} images are stored turned; their EXIF orientation is applied, as their annotated sizes "
            f"ask: {names(group.shown)}."
        )
    if group.stored and mistaken:
        document.warn(
            f"{len(group.stored)} images are stored turned and annotated with the size of the stored pixels, but boxes "
            f"fit the image as it is shown; their EXIF orientation is applied: {names(group.stored)}."
        )
    elif group.stored:
        document.warn(
            f"{len(group.stored)} images have an EXIF orientation, but are annotated as they are stored; it is not "
            f"applied: {names(group.stored)}. Take the tag out of these files: viewers and pipelines apply it."
        )
    if group.unsized:
        reason = ", as their boxes ask" if told else "; no box tells whether it should be"
        document.warn(
            f"{len(group.unsized)} images are stored turned and have no annotated size; their EXIF orientation is "
            f"{'applied' if unsized else 'not applied'}{reason}: {names(group.unsized)}."
        )
    if group.open:
        done = "it is applied" if upright else "it is not applied, as with the images whose size tells"
        document.warn(
            f"{len(group.open)} images have an EXIF orientation that leaves their size as it is; {done}: "
            f"{names(group.open)}."
        )
