"""The files of a dataset, and which of them an annotation file means.

Systems write names in many ways: with backslashes, URL-encoded, as absolute paths of another machine, composed or
decomposed letters, another case, or the code page of a system that an archive does not name. A name is
looked for as it stands first; then by as much of its end as is found, down to the base name, if that says which file is
meant.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

from detrdistill.errors import DatasetError
from detrdistill.files.coco.fields import folded
from detrdistill.files.coco.images import IMAGE_SUFFIXES
from detrdistill.files.coco.records import Split

SPLIT_WORDS: dict[str, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn", "trainset"}),
    "val": frozenset(
        {"val", "valid", "validation", "validate", "valset", "minival", "dev", "devel", "development", "eval"}
        | {"evaluation", "holdout"}
    ),
    "test": frozenset({"test", "testing", "tst", "testset"}),
}
_IMAGE_FOLDERS = {"images", "image", "imgs", "data", "jpegimages", "img"}
_MOST_FILES = 2_000_000
_MOST_FOLDERS_DEEP = 16
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SEPARATORS = re.compile(r"[\\/]+")
_OF_URL = re.compile(r"^(.*[?&]d=|[a-z][a-z0-9+.-]+://[^/]*/)", re.IGNORECASE)
_CODE_PAGES = ("cp936", "cp932", "cp949", "cp950", "cp866", "cp1251", "cp1252", "cp850", "cp1250")
"""Of Chinese, Japanese, Korean, Russian and western systems."""

Parts = tuple[str, ...]


def find_root(folder: Path) -> Path:
    """Descend through folders that hold nothing but one folder, as archives often begin."""
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        folder = entries[0]


def words_of(name: str) -> tuple[str, ...]:
    """`instances_Train2017` to `instances`, `train`; `ValSet` to `val`, `set`."""
    return tuple(word.lower() for word in _WORDS.findall(name))


def splits_of(name: str) -> frozenset[str]:
    """The splits that a name speaks of."""
    words = set(words_of(name))
    return frozenset(split for split, meant in SPLIT_WORDS.items() if words & meant)


@dataclass(frozen=True)
class Found:
    """A file, and how much of its name it was found by."""

    path: Path
    whole: bool
    """All folders in the name were found, too."""


class Folder:
    """All files below a folder, without hidden ones; links that lead out of it are not seen.

    Raises:
        DatasetError: there are millions.
    """

    def __init__(self, root: Path):
        self.root = root
        self.files = list(self._walk(root.resolve()))
        self._by_name: defaultdict[str, list[Parts]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[Parts]] = defaultdict(list)
        for parts in self.files:
            self._by_name[folded(parts[-1])].append(parts)
            if parts[-1].lower().endswith(IMAGE_SUFFIXES):
                self._by_stem[folded(parts[-1].rpartition(".")[0])].append(parts)

    def path(self, parts: Parts) -> Path:
        """Where it lies."""
        return self.root.joinpath(*parts)

    def find(self, file_name: str, split: Split | None, home: Parts) -> Found | list[Path]:
        """The file that an annotation file in the folder `home` means for this split.

        Returns:
            The file; or all files that could be meant equally well, none if there is nothing.
        """
        for wanted in _readings(file_name):
            if candidates := self._by_name.get(folded(wanted[-1])):
                return self._best(candidates, wanted, split, home)
        for wanted in _garbled(file_name):
            if candidates := self._by_name.get(folded(wanted[-1])):
                found = self._best(candidates, wanted, split, home)
                return Found(found.path, whole=False) if isinstance(found, Found) else found
        stem = _readings(file_name)[0][-1]
        candidates = self._by_stem.get(folded(stem.rpartition(".")[0] or stem), [])
        found = self._best(candidates, (stem,), split, home) if candidates else []
        return Found(found.path, whole=False) if isinstance(found, Found) else found

    def _best(self, candidates: list[Parts], wanted: Parts, split: Split | None, home: Parts) -> Found | list[Path]:
        ranked = [(_fit(parts, wanted, split, home), parts) for parts in candidates]
        best = max(fit for fit, _ in ranked)
        meant = [parts for fit, parts in ranked if fit == best]
        if len(meant) > 1:
            return [self.path(parts) for parts in meant]
        return Found(self.path(meant[0]), whole=best[1] == len(_plain(wanted)))

    def _walk(self, resolved: Path) -> Iterator[Parts]:
        waiting: list[Parts] = [()]
        count = 0
        while waiting:
            parents = waiting.pop()
            with os.scandir(self.root.joinpath(*parents)) as entries:
                for entry in sorted(entries, key=lambda found: found.name):
                    parts = (*parents, entry.name)
                    if entry.name.startswith((".", "__MACOSX", "@eaDir")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if len(parts) < _MOST_FOLDERS_DEEP:
                            waiting.append(parts)
                        continue
                    if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(resolved):
                        continue
                    count += 1
                    if count > _MOST_FILES:
                        raise DatasetError(
                            f"The folder holds more than {_MOST_FILES} files.", hint="Keep the dataset alone in it."
                        )
                    yield parts


def _readings(file_name: str) -> list[Parts]:
    """A name split into folders and file, in the ways in which it may be meant; the most literal first."""
    unquoted = unquote(file_name)
    texts = [file_name, unquoted, _OF_URL.sub("", unquoted), _OF_URL.sub("", file_name).partition("?")[0]]
    readings = [tuple(file_name.strip().split("/"))]
    readings += [tuple(part for part in _SEPARATORS.split(text.strip()) if part) for text in texts]
    found = [reading for reading in dict.fromkeys(readings) if reading and reading[-1]]
    return found or [(file_name,)]


def _garbled(file_name: str) -> Iterator[Parts]:
    """A name as an archive shows it whose packer wrote it in the code page of its system, and did not say which."""
    if file_name.isascii():
        return
    reading = _readings(file_name)[-1]
    for page in _CODE_PAGES:
        for taken_for in ("cp437", "utf-8"):
            with suppress(UnicodeError):
                yield tuple(part.encode(page).decode(taken_for) for part in reading)


def _plain(parts: Parts) -> Parts:
    """Without `.`, `..`, drives and empty parts."""
    return tuple(part for part in parts if part not in ("", ".", "..") and not part.endswith(":"))


def _fit(parts: Parts, wanted: Parts, split: Split | None, home: Parts) -> tuple[bool, int, int, int, int, int]:
    """How well a file fits the wanted name; the greater, the better."""
    names = _plain(wanted)
    same = [folded(own) == folded(other) for own, other in zip(reversed(parts), reversed(names), strict=False)]
    matched = same.index(False) if False in same else len(same)
    composed = [unicodedata.normalize("NFC", part) for part in parts[-matched:]]
    literal = composed == [unicodedata.normalize("NFC", part) for part in names[-matched:]]
    there = any(parts == tuple(os.path.normpath("/".join((*start, *wanted))).split("/")) for start in (home, ()))
    folders = [word for part in parts[:-1] for word in words_of(part)]
    spoken = {name for name, meant in SPLIT_WORDS.items() if meant.intersection(folders)}
    near = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parts, home, strict=False)))
    images = sum(word in _IMAGE_FOLDERS for word in folders)
    return there, matched, literal, (split in spoken) - bool(spoken - {split}), near, min(images, 1)
