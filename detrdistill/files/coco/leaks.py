"""What makes a measurement say less than it seems to: images in both splits, images and boxes twice."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from detrdistill.errors import DatasetError
from detrdistill.files.coco.boxes import Truth
from detrdistill.files.coco.document import Document
from detrdistill.files.coco.fields import listed
from detrdistill.files.coco.images import ImageFacts
from detrdistill.files.coco.records import ImageRecord

_FEW = 3


def warn_of_doubles(document: Document, facts: Mapping[Path, ImageFacts], truths: Sequence[Sequence[Truth]]) -> None:
    """Images that a file lists twice, under other ids or names, and boxes that it has twice."""
    count = Counter(entry.path for entry in document.entries)
    if several := [path for path, times in count.items() if times > 1]:
        document.warn(
            f"{len(several)} image files are listed under several ids: {listed([path.name for path in several])}. "
            "Each is trained on once for each of them, with the boxes of that id alone."
        )
    contents: defaultdict[bytes, list[str]] = defaultdict(list)
    for path in count:
        if digest := facts[path].digest:
            contents[digest].append(path.name)
    if same := [names for names in contents.values() if len(names) > 1]:
        examples = listed([" = ".join(names[:3]) for names in same])
        document.warn(f"{sum(map(len, same))} image files have the content of another: {examples}.")
    doubled: dict[str, int] = {}
    for entry, kept in zip(document.entries, truths, strict=True):
        boxes = Counter((truth.category, truth.xyxy, truth.crowd) for truth in kept)
        if more := len(kept) - len(boxes):
            doubled[entry.file_name] = more
    if doubled:
        document.warn(
            f"{sum(doubled.values())} boxes are there twice, with the same class and the same corners, in "
            f"{len(doubled)} images: {listed(list(doubled))}. A detector that finds each object once loses AP by them."
        )


def leak_between(
    train: Sequence[ImageRecord], val: Sequence[ImageRecord], facts: Mapping[Path, ImageFacts]
) -> str | None:
    """What to say of images of val that are in train, too: the same file, or another with the same content.

    Raises:
        DatasetError: the images of one split seem to stand in for those of the other.
    """
    paths = {image.path for image in train}
    digests = {digest for path in paths if (digest := facts[path].digest)}
    leaked = [image.path.name for image in val if image.path in paths or facts[image.path].digest in digests]
    if not leaked:
        return None
    _refuse_stand_ins(train, val)
    part = "all" if len(leaked) == len(val) else str(len(leaked))
    return (
        f"{part} of {len(val)} validation images are training images, too: {listed(leaked)}. The AP on them does not "
        "tell how well new images are understood."
    )


def _refuse_stand_ins(train: Sequence[ImageRecord], val: Sequence[ImageRecord]) -> None:
    """Names that both splits use (0001.jpg), and the images of one only: each would have the other's boxes, too."""
    boxes = {image.path: image.boxes_xyxy_px for image in train}
    others = [image for image in val if image.path in boxes and set(boxes[image.path]).isdisjoint(image.boxes_xyxy_px)]
    differ = [image for image in others if image.boxes_xyxy_px or boxes[image.path]]
    if len(differ) >= _FEW and 2 * len(differ) > len(val) and all(image.path in boxes for image in val):
        names = listed([image.path.name for image in differ])
        raise DatasetError(
            f"All {len(val)} files of val are files of train, but {len(differ)} have no box in common with it: {names}"
            "; are the images of one split missing?",
            hint="Pack the images of both splits, in folders that file_name names where their names are the same.",
        )
