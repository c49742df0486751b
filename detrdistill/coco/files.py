"""The image file of every entry of an annotation file."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from detrdistill.coco.document import Document, Entry
from detrdistill.coco.fields import EXAMPLES, listed, refuse, shown
from detrdistill.coco.folder import Folder, Found
from detrdistill.coco.images import ImageFacts
from detrdistill.coco.records import Split
from detrdistill.errors import DatasetError


def locate(document: Document, folder: Folder, split: Split | None) -> None:
    """Find all images of a file.

    Raises:
        DatasetError: some are not there, or could be several files.
    """
    missing: list[tuple[int, str]] = []
    unclear: list[tuple[int, str]] = []
    loosely: list[Entry] = []
    for entry in document.entries:
        found = folder.find(entry.file_name, split, document.parts[:-1])
        if isinstance(found, Found):
            entry.path = found.path
            if not found.whole:
                loosely.append(entry)
        elif found:
            unclear.append((entry.index, entry.file_name))
        else:
            missing.append((entry.index, entry.file_name))
    hint = "Pack the images with the annotations, and name them in file_name relative to the annotation file."
    refuse(document.where, "images", missing, "name a file that is not there", hint)
    refuse(document.where, "images", unclear, "name a file that is there several times, in different folders", hint)
    _refuse_merged(document, loosely)
    if loosely:
        example = f"{shown(loosely[0].file_name)} as {shown(str(loosely[0].path.relative_to(folder.root)))}"
        document.warn(f"{len(loosely)} images were found by a part of their file_name only: {example}.")


def _refuse_merged(document: Document, loosely: list[Entry]) -> None:
    """Entries with different names that end in one file would give it the boxes of several images."""
    names: defaultdict[Path, set[str]] = defaultdict(set)
    for entry in document.entries:
        names[entry.path].add(entry.file_name)
    merged = [entry for entry in loosely if len(names[entry.path]) > 1]
    refuse(
        document.where,
        "images",
        [(entry.index, entry.file_name) for entry in merged],
        f"share one file although their names differ ({shown(merged[0].path.name) if merged else ''})",
        "Keep the folders that file_name speaks of.",
    )


def refuse_unreadable(document: Document, facts: Mapping[Path, ImageFacts]) -> None:
    """Name the files that cannot be used.

    Raises:
        DatasetError: there are some.
    """
    wrong = [(entry, problem) for entry in document.entries if (problem := facts[entry.path].problem)]
    if wrong:
        complaints = "; ".join(
            f"{shown(entry.path.name)} (/images/{entry.index}): {problem}" for entry, problem in wrong[:EXAMPLES]
        )
        raise DatasetError(
            f"{document.where}: {len(wrong)} image files cannot be used: {complaints}.",
            hint="Replace these files, or take them out of the annotations.",
        )


def warn_of_images(document: Document, facts: Mapping[Path, ImageFacts]) -> None:
    """Say what is made of images that are not simply 8-bit RGB."""
    held = {entry.path: facts[entry.path] for entry in document.entries}
    deep = [path.name for path, fact in held.items() if fact.deep]
    if deep:
        modes = ", ".join(sorted({fact.mode for fact in held.values() if fact.deep}))
        document.warn(
            f"{len(deep)} images have more than 8 bits ({modes}) and are scaled to 8 by the smallest depth that holds "
            f"their largest value: {listed(deep)}. Scale images the same way for the student."
        )
    if pages := [path.name for path, fact in held.items() if fact.animated]:
        document.warn(f"{len(pages)} images have several pages or frames; the first is taken: {listed(pages)}.")
    if flat := [path.name for path, fact in held.items() if fact.one_colour]:
        document.warn(f"{len(flat)} images have a single colour: {listed(flat)}.")
