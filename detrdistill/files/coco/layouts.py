"""Which annotation file is which split, in the layouts that tools write.

Understood, at any depth: a file that names its split (`train.json`, `instances_train2017.json`,
`annotations_train.json`, `train_annotations.json`), or one in a folder that does (`train/_annotations.coco.json`,
`train/labels.json`, `train/annotations/instances_default.json`). `val`, `valid`, `validation`, `dev` and `eval` are one
word; `test` takes their place if there is none of them. One file for all images is split by
`DatasetOptions.val_fraction`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from detrdistill.errors import DatasetError
from detrdistill.files.coco.damage import kind_of_file
from detrdistill.files.coco.fields import listed, shown
from detrdistill.files.coco.folder import SPLIT_WORDS, Folder, Parts, splits_of, words_of
from detrdistill.files.coco.records import SPLITS, DatasetOptions, Split

_COMMON = frozenset(
    {"instances", "annotations", "annotation", "annos", "anno", "coco", "labels", "label", "data", "dataset", "json"}
    | {"det", "detection", "detections", "bbox", "boxes", "gt", "images", "result", "results", "set", "split"}
    | {"default", "export", "objects"}
)
_OTHER_TASKS = frozenset(
    {"captions", "caption", "keypoints", "panoptic", "stuff", "info", "predictions", "prediction", "preds", "config"}
    | {"stats"}
)
_NEEDED = ("images", "annotations", "categories")
_UNNAMED = "only"
_LOOKED_INTO = 8
_UNWANTED = 1000
COCO_HINT = "A COCO detection file has the lists images, annotations and categories."
_OTHER_FORMATS: dict[str, tuple[str, ...]] = {
    "LabelMe": ("shapes",),
    "VGG Image Annotator": ("_via_img_metadata",),
    "Datumaro": ("items", "infos"),
    "FiftyOne": ("samples",),
}
_OTHER_SUFFIXES = {".xml": "Pascal VOC or CVAT (.xml)", ".yaml": "YOLO (data.yaml, labels/*.txt)", ".csv": "a table"}


@dataclass(frozen=True)
class Layout:
    """The annotation files of a dataset."""

    train: Parts
    val: Parts | None
    """None: `train` holds all images, and is to be split."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    parts: Parts
    splits: frozenset[str]
    rank: int
    """Words of the name that nothing explains; the fewer, the likelier it is an annotation file."""

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def find_annotations(root: Path, split: Split) -> Path:
    """The annotation file of a split, in any of the usual layouts.

    Raises:
        DatasetError: no file, or more than one, could be meant.
    """
    folder = Folder(root)
    layout = find_layout(folder, DatasetOptions())
    return folder.path(layout.train if split == "train" or layout.val is None else layout.val)


def find_layout(folder: Folder, options: DatasetOptions) -> Layout:
    """The annotation files of a folder.

    Raises:
        DatasetError: none, or more than one, could be meant; or there is one for all images, and it is no COCO file or
            nothing says how to split it.
    """
    candidates = [_candidate(parts) for parts in folder.files if parts[-1].lower().endswith(".json")]
    train, own_val = (_choose(folder, split, _naming(candidates, split)) for split in SPLITS)
    val = own_val or _choose(folder, "test", _naming(candidates, "test"))
    if train and val:
        warnings = [*_passed_over(folder, candidates, train), *_passed_over(folder, candidates, val)]
        if not own_val:
            warnings.append(f"There is no val split; {val.name} (test) takes its place.")
        if options.val_fraction is not None:
            warnings.append(f"val_fraction is not used: the dataset has a split to validate on, {val.name}.")
        return Layout(train.parts, val.parts, tuple(warnings))
    alone = train or _choose(folder, _UNNAMED, [item for item in candidates if not item.splits])
    if alone is None or val is not None:
        split = "train" if train is None else "val"
        raise DatasetError(
            f"No annotation file of the {split} split was found; JSON files there are: "
            f"{listed(sorted(item.name for item in candidates)) if candidates else 'none'}.{_other_format(folder)}",
            hint=f"Put COCO annotations at {split}.json or annotations/instances_{split}2017.json."
            + ("" if candidates else " YOLO, Pascal VOC and other formats are not read; export as COCO."),
        )
    if options.val_fraction is None:
        read_document(folder, alone.parts)  # what it is wanting in is said before how it might be split
        raise DatasetError(
            f"No annotation file of the val split was found; {alone.name} is the only annotation file.",
            hint="Send val_fraction (for example 0.2) to validate on a part of its images chosen by seed, or add "
            "val.json.",
        )
    return Layout(alone.parts, None, tuple(_passed_over(folder, candidates, alone)))


def read_document(folder: Folder, parts: Parts) -> dict[str, list[dict[str, Any]]]:
    """The three lists of an annotation file.

    Raises:
        DatasetError: it is no COCO file.
    """
    where = "/".join(parts)
    path = folder.path(parts)
    try:
        content: Any = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if (kind := kind_of_file(path)) is not None:
            raise DatasetError(f"{where} is not JSON, but {kind}.", hint="Export the annotations again.") from error
        reason = str(error).encode("ascii", "backslashreplace").decode()[:200]
        hint = "Save it as UTF-8." if isinstance(error, UnicodeError) else "Export the annotations again."
        raise DatasetError(f"{where} is not valid JSON: {reason}.", hint=hint) from error
    if not isinstance(content, dict):
        raise DatasetError(f"{where} is not a COCO file: the top level is not an object.", hint=COCO_HINT)
    document = cast("dict[str, Any]", content)
    for key in _NEEDED:
        items: Any = document.get(key)
        if not isinstance(items, list):
            instead = f", but {_json_kind(items)}" if key in document else ""
            other = next((name for name, keys in _OTHER_FORMATS.items() if all(map(document.__contains__, keys))), None)
            raise DatasetError(
                f"{where} is not a COCO file: it has no list {key!r}{instead}."
                + (f" It looks like {other}; export as COCO." if other else ""),
                hint=COCO_HINT,
            )
        bad = [index for index, item in enumerate(cast("list[Any]", items)) if not isinstance(item, dict)]
        if bad:
            raise DatasetError(
                f"{where}: {len(bad)} of {key} are not objects, first at /{key}/{bad[0]} "
                f"({shown(cast('list[Any]', items)[bad[0]])}).",
                hint=COCO_HINT,
            )
    return {key: document[key] for key in _NEEDED}


def _json_kind(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case None:
            return "null"
        case _:
            return shown(value)


def _candidate(parts: Parts) -> _Candidate:
    """What a file is, by its name; or if that does not say, by the nearest folder that does."""
    stem = parts[-1].rpartition(".")[0]
    words = words_of(stem)
    split_words = frozenset[str]().union(*SPLIT_WORDS.values())
    rank = sum(word not in _COMMON | split_words for word in words) + _UNWANTED * any(w in _OTHER_TASKS for w in words)
    named = next((spoken for part in (stem, *reversed(parts[:-1])) if (spoken := splits_of(part))), frozenset[str]())
    return _Candidate(parts, named, rank)


def _naming(candidates: list[_Candidate], split: str) -> list[_Candidate]:
    return [candidate for candidate in candidates if candidate.splits == frozenset({split})]


def _choose(folder: Folder, split: str, candidates: list[_Candidate]) -> _Candidate | None:
    """The likeliest of several.

    Raises:
        DatasetError: several are equally likely, and look like annotations of different images.
    """
    best = [item for item in candidates if item.rank == min(other.rank for other in candidates)]
    if len(best) < 2:
        return best[0] if best else None
    best = [item for item in best if _may_be_coco(folder.path(item.parts))] or best
    contents = {folder.path(item.parts).read_bytes(): item for item in best[:_LOOKED_INTO]}
    usable = [item for item in contents.values() if _is_coco(folder, item.parts)]
    if len(usable) == 1 and len(best) <= _LOOKED_INTO:
        return usable[0]
    if not usable and split not in SPLITS:
        return None
    names = f"{listed(sorted(item.name for item in best))}.{'' if usable else _format_of(folder, best[0].parts)}"
    if split == _UNNAMED:
        raise DatasetError(
            f"There are several annotation files, and nothing in their names tells the split: {names}",
            hint="Name them train.json and val.json, or keep one and send val_fraction.",
        )
    raise DatasetError(f"Several files could be the {split} split: {names}", hint=f"Keep one {split} annotation file.")


def _passed_over(folder: Folder, candidates: list[_Candidate], chosen: _Candidate) -> list[str]:
    """Say which annotation files of the same split were less likely by their names."""
    others = [item for item in candidates if item.splits == chosen.splits and item != chosen and item.rank < _UNWANTED]
    likeliest = sorted(others, key=lambda item: item.rank)[:_LOOKED_INTO]
    names = [item.name for item in likeliest if _is_coco(folder, item.parts)]
    return [f"{chosen.name} is taken, and not {listed(names)}; keep one file if that is wrong."] if names else []


def _may_be_coco(path: Path) -> bool:
    """A quick look, as images may have a JSON file each: the words are there, or it is no UTF-8."""
    content = path.read_bytes()
    return all(f'"{key}"'.encode() in content for key in _NEEDED) or b"\0" in content[:4]


def _is_coco(folder: Folder, parts: Parts) -> bool:
    try:
        return bool(read_document(folder, parts)["images"])
    except DatasetError:
        return False


def _format_of(folder: Folder, parts: Parts) -> str:
    try:
        read_document(folder, parts)
    except DatasetError as error:
        return f" {error.message}"
    return ""


def _other_format(folder: Folder) -> str:
    suffixes = {f".{parts[-1].lower().rpartition('.')[2]}" for parts in folder.files}
    found = next((name for suffix, name in _OTHER_SUFFIXES.items() if suffix in suffixes), None)
    return f" The files look like {found}; export them as COCO." if found else ""
