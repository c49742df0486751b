"""The image file of every entry of an annotation file."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from detrdistill.errors import DatasetError
from detrdistill.files.coco.document import Document
from detrdistill.files.coco.fields import EXAMPLES, listed, refuse, shown
from detrdistill.files.coco.folder import Folder, Found
from detrdistill.files.coco.images import IMAGE_SUFFIXES, ImageFacts
from detrdistill.files.coco.records import Split

_OTHER_KINDS = frozenset(
    {".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jxl", ".jxr", ".svg", ".pdf", ".psd", ".tga", ".ico", ".exr"}
    | {".hdr", ".dcm", ".nii", ".fits", ".npy", ".npz", ".mat", ".bin", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng"}
    | {".mp4", ".avi", ".mov", ".mkv", ".webm"}
)
"""Endings of images and films that are not read."""


def locate(document: Document, folder: Folder, split: Split | None) -> None:
    """Find all images of a file.

    Raises:
        DatasetError: some are not there, or could be several files.
    """
    missing: list[tuple[int, str]] = []
    unclear: list[tuple[int, str]] = []
    for entry in document.entries:
        found = folder.find(entry.file_name, split, document.parts[:-1])
        if isinstance(found, Found):
            entry.path, entry.whole_name = found.path, found.whole
        elif found:
            unclear.append((entry.index, entry.file_name))
        else:
            missing.append((entry.index, entry.file_name))
    hint = "Pack the images with the annotations, and name them in file_name relative to the annotation file."
    refuse(document.where, "images", missing, "name a file that is not there", _hint_of_kind(missing) or hint)
    refuse(document.where, "images", unclear, "name a file that is there several times, in different folders", hint)
    if loosely := [entry for entry in document.entries if not entry.whole_name]:
        example = f"{shown(loosely[0].file_name)} as {shown(str(loosely[0].path.relative_to(folder.root)))}"
        document.warn(f"{len(loosely)} images were found by a part of their file_name only: {example}.")


def refuse_merged(documents: Sequence[Document]) -> None:
    """Entries with different names that end in one file would give it the boxes of several images.

    Raises:
        DatasetError: some were found by a part of their name only, and another name means the same file.
    """
    names: defaultdict[Path, set[str]] = defaultdict(set)
    for document in documents:
        for entry in document.entries:
            names[entry.path].add(entry.file_name)
    for document in documents:
        merged = [entry for entry in document.entries if not entry.whole_name and len(names[entry.path]) > 1]
        refuse(
            document.where,
            "images",
            [(entry.index, entry.file_name) for entry in merged],
            f"share one file although their names differ ({listed(sorted(names[merged[0].path])) if merged else ''})",
            "Keep the folders that file_name speaks of, and pack the images of every split.",
        )


def warn_of_unused(documents: Sequence[Document], folder: Folder) -> list[str]:
    """Count the images that lie in the folder and are in no split."""
    used = {entry.path for document in documents for entry in document.entries}
    unused = [
        "/".join(parts)
        for parts in folder.files
        if parts[-1].lower().endswith(IMAGE_SUFFIXES) and folder.path(parts) not in used
    ]
    if not unused:
        return []
    return [f"{len(unused)} image files are in none of the annotation files that are used: {listed(unused)}."]


def _hint_of_kind(missing: Sequence[tuple[int, str]]) -> str:
    """What to do if the files were left out because of their kind."""
    endings = Counter(suffix.lower() for _, name in missing if (suffix := PurePath(name.replace("\\", "/")).suffix))
    ending, count = endings.most_common(1)[0] if endings else ("", 0)
    if 2 * count <= len(missing) or ending not in _OTHER_KINDS:
        return ""
    return (
        f"Files that end in {shown(ending)} are not taken; convert them to JPEG or PNG, and name them so in file_name."
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
    wide = [entry for entry in document.entries if facts[entry.path].wide]
    faint = [entry for entry in wide if facts[entry.path].faint]
    if 2 * len(faint) > len(wide):
        complaints = listed([entry.path.name for entry in faint])
        raise DatasetError(
            f"{document.where}: {len(faint)} images have colours of 16 bits (mode {facts[faint[0].path].mode}), but "
            f"use 14 or fewer of them, and would be all but black: {complaints}.",
            hint="Save these images with 8 bits a colour, scaled so that white is 255.",
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
    if wide := [path.name for path, fact in held.items() if fact.wide]:
        document.warn(f"{len(wide)} images have colours of 16 bits; the upper 8 bits are taken: {listed(wide)}.")
    if pages := [path.name for path, fact in held.items() if fact.animated]:
        document.warn(f"{len(pages)} images have several pages or frames; the first is taken: {listed(pages)}.")
    if flat := [path.name for path, fact in held.items() if fact.one_colour]:
        document.warn(f"{len(flat)} images have a single colour: {listed(flat)}.")
