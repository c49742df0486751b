"""Classes of a dataset found among those of a teacher, by name. Torch-free.

Names that differ in case, spaces, underscores and hyphens alone are one name. Names that are known to mean the same
(VOC, COCO, Open Images, Objects365, LVIS) are suggested in the refusal and never taken without a word; nor is the order
of placeholders (LABEL_0, ...). What is taken is a `class_map` in the configuration.
"""

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from detrdistill.errors import ClassNamesDiffer, ConfigError

_ALIASES = (
    "person, human, people, pedestrian",
    "bicycle, bike, cycle, pushbike",
    "car, automobile, auto",
    "motorcycle, motorbike, motor bike, moto",
    "airplane, aeroplane, plane, aircraft",
    "train, railway train",
    "truck, lorry",
    "boat, ship, vessel",
    "traffic light, traffic signal, stoplight, traffic lights",
    "fire hydrant, hydrant, fireplug",
    "parking meter",
    "stop sign",
    "bird, wild bird",
    "cow, cattle",
    "backpack, rucksack",
    "handbag, purse, handbag/satchel",
    "tie, necktie",
    "suitcase, luggage",
    "frisbee, flying disc",
    "skis, ski",
    "sports ball, ball",
    "baseball glove, baseball mitt",
    "surfboard, surf board",
    "tennis racket, tennis racquet, racket",
    "wine glass, wineglass",
    "cup, mug",
    "bowl, bowl/basin, basin",
    "orange, orange/tangerine",
    "hot dog, hotdog, frankfurter",
    "donut, doughnut",
    "couch, sofa, studio couch, loveseat",
    "potted plant, houseplant, plant",
    "dining table, kitchen & dining room table, table, dinning table",
    "tv, tv monitor, television, television set, monitor, monitor/tv, moniter/tv",
    "laptop, laptop computer, notebook computer",
    "mouse, computer mouse",
    "remote, remote control",
    "keyboard, computer keyboard",
    "cell phone, cellular telephone, mobile phone, cellphone, smartphone, telephone",
    "microwave, microwave oven",
    "refrigerator, fridge",
    "teddy bear, teddy, stuffed toy",
    "hair drier, hair dryer, blow dryer",
    "toothbrush, tooth brush",
)
"""Names of one thing; the first is COCO's."""
_PLACEHOLDER = re.compile(r"label_?\d+|class_?\d+|\d+", re.IGNORECASE)
_MOST_SHOWN = 500
"""Entries of a suggested map."""


@dataclass(frozen=True)
class ClassMatch:
    """Where each class of a dataset is among the outputs of a teacher."""

    columns: tuple[int | None, ...]
    """Output index of each class of the dataset; None: the teacher does not know it, and it has no box."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Names (of the teacher, of the dataset) that were matched although they are spelled otherwise."""

    def said(self) -> str:
        """What was matched that is not the same text, for a log; empty where all names are equal."""
        return ", ".join(f"{teacher!r} as {dataset!r}" for teacher, dataset in self.renamed)


def match_classes(
    teacher: Sequence[str],
    dataset: Sequence[str],
    *,
    given: Mapping[str, str],
    without_boxes: Collection[str] = (),
    path_pointer: str = "",
    pointer: str = "",
) -> ClassMatch:
    """Find every class of a dataset among those of a teacher.

    Args:
        teacher: names by output index.
        dataset: names by class index.
        given: the teacher's names for the dataset's, where they are not the same (`class_map`).
        without_boxes: classes of the dataset that no box has; a teacher need not know them.
        path_pointer: of the teacher, for errors.
        pointer: of `given`, for errors.

    Raises:
        ConfigError: `given` names a class that the teacher or the dataset lacks, or one class twice.
        ClassNamesDiffer: a class of the dataset is not found, or found more than once; with a suggested `class_map`.
    """
    found = _given_columns(teacher, dataset, given, pointer)
    for key in (str, _folded, spelling):
        _match_by(key, teacher, dataset, found, path_pointer)
    columns = [found.get(index) for index in range(len(dataset))]
    unknown = [name for name, column in zip(dataset, columns, strict=True) if column is None]
    unknown = [name for name in unknown if name not in without_boxes]
    if unknown:
        raise _differ(teacher, dataset, columns, unknown, path_pointer)
    pairs = [(teacher[column], name) for column, name in zip(columns, dataset, strict=True) if column is not None]
    return ClassMatch(tuple(columns), tuple(pair for pair in pairs if _differs(*pair)))


def spelling(name: str) -> str:
    """A name without what writers differ in: case, spaces, underscores, hyphens, forms of one letter in Unicode."""
    return re.sub(r"[\s_-]+", "", _folded(name)) or _folded(name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def _match_by(
    key: Callable[[str], str], teacher: Sequence[str], dataset: Sequence[str], found: dict[int, int], path_pointer: str
) -> None:
    """Add to `found` each class that is the only one of its key, where the teacher has an output of that key, too."""
    taken = set(found.values())
    columns: dict[str, list[int]] = {}
    for column, name in enumerate(teacher):
        if column not in taken:
            columns.setdefault(key(name), []).append(column)
    classes = Counter(key(name) for index, name in enumerate(dataset) if index not in found)
    for index, name in enumerate(dataset):
        there = columns.get(key(name), [])
        if index in found or not there or classes[key(name)] > 1:
            continue
        if len(there) > 1:
            raise ClassNamesDiffer(
                f"The teacher has {len(there)} outputs called {name!r}: {', '.join(map(str, there[:5]))}.",
                hint="Give each of its classes a name of its own in id2label of its config.json.",
                path_pointer=path_pointer,
            )
        found[index] = there[0]


def _differs(one: str, other: str) -> bool:
    return _folded(one) != _folded(other)


def _given_columns(
    teacher: Sequence[str], dataset: Sequence[str], given: Mapping[str, str], pointer: str
) -> dict[int, int]:
    """Teacher's output index by class index of the dataset, of those that `given` names."""
    if not given:
        return {}
    sides = _Names(teacher, "the teacher"), _Names(dataset, "the dataset")
    chosen: dict[int, int] = {}
    taken: set[int] = set()
    for theirs, ours in given.items():
        place = f"{pointer}/{theirs.replace('~', '~0').replace('/', '~1')}"
        column, index = sides[0].index_of(theirs, place), sides[1].index_of(ours, place)
        if index in chosen:
            raise ConfigError(
                f"class_map gives two classes of the teacher for {ours!r}.",
                hint="Name each class of the dataset once.",
                pointer=place,
            )
        if column in taken:
            raise ConfigError(
                f"class_map names the class {theirs!r} of the teacher twice.",
                hint="Name each class of the teacher once.",
                pointer=place,
            )
        chosen[index] = column
        taken.add(column)
    return chosen


class _Names:
    """The classes of one side, found by what `class_map` calls them."""

    def __init__(self, names: Sequence[str], whose: str):
        self._names, self._whose = names, whose
        self._exact, self._spelled = _index(names, str), _index(names, spelling)

    def index_of(self, name: str, pointer: str) -> int:
        found = self._exact.get(name) or self._spelled.get(spelling(name), [])
        if len(found) == 1:
            return found[0]
        if found:
            message = f"class_map names {name!r}, of which {self._whose} has {len(found)}."
        else:
            message = f"class_map names {name!r}, which is no class of {self._whose}."
        close = difflib.get_close_matches(name, list(self._names), n=3) or list(self._names[:10])
        raise ConfigError(message, hint=f"Classes of {self._whose}: {', '.join(close)[:300]}, ...", pointer=pointer)


def _index(names: Sequence[str], key: Callable[[str], str]) -> dict[str, list[int]]:
    """Positions of the names of each key."""
    found: dict[str, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(key(name), []).append(position)
    return found


def _differ(
    teacher: Sequence[str], dataset: Sequence[str], columns: Sequence[int | None], unknown: list[str], path_pointer: str
) -> ClassNamesDiffer:
    message = (
        f"The teacher has {len(teacher)} classes and does not know {len(unknown)} of the {len(dataset)} classes "
        f"of the dataset: {', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}."
    )
    if all(_PLACEHOLDER.fullmatch(name) for name in teacher):
        message += f" Its names say nothing: {', '.join(teacher[:3])}, ..."
        if len(teacher) != len(dataset):
            return ClassNamesDiffer(
                message,
                hint="Write the names of its classes into id2label of its config.json, or fine-tune the teacher on "
                "this dataset with a train job first.",
                path_pointer=path_pointer,
            )
        suggested = dict(zip(teacher, dataset, strict=True))
        lead = "If its classes are in the order of the dataset, say so with"
    else:
        suggested = _suggestion(teacher, dataset, columns, unknown)
        lead = "If these are the same, say so with"
    remaining = [name for name in unknown if name not in suggested.values()]
    hint = "Fine-tune the teacher on this dataset with a train job first, or give a class_map in the configuration."
    if suggested and not remaining:
        hint = f'{lead} "class_map": {_json(suggested)}.'
    elif suggested:
        hint = (
            f'{lead} "class_map": {_json(suggested)}; nothing is known for {", ".join(remaining[:5])}'
            f"{', ...' if len(remaining) > 5 else ''}. {hint}"
        )
    return ClassNamesDiffer(message, hint=hint, path_pointer=path_pointer)


def _suggestion(
    teacher: Sequence[str], dataset: Sequence[str], columns: Sequence[int | None], unknown: Sequence[str]
) -> dict[str, str]:
    """The teacher's names for those of the dataset: those spelled otherwise, and those known to mean the same.

    A name is suggested only where one output alone could be meant.
    """
    taken = {column for column in columns if column is not None}
    suggested = {
        teacher[column]: name
        for column, name in zip(columns, dataset, strict=True)
        if column is not None and _differs(teacher[column], name)
    }
    given = set(suggested.values())
    for keys in (_things, _numbers):
        columns_of: dict[str, set[int]] = {}
        for column, theirs in enumerate(teacher):
            if column not in taken and theirs not in suggested:
                for key in keys(theirs):
                    columns_of.setdefault(key, set()).add(column)
        for name in unknown:
            found = {
                column for key in keys(name) for column in columns_of.get(key, ()) if teacher[column] not in suggested
            }
            if name not in given and len(found) == 1:
                suggested[teacher[found.pop()]] = name
                given.add(name)
    return suggested


_GROUP = {spelling(name): group for group in _ALIASES for name in group.split(", ")}
"""The group of each name."""


def _things(name: str) -> set[str]:
    """What a name means: its group, and itself without words in brackets, as in `train_(railroad_vehicle)`."""
    bare = spelling(re.sub(r"\([^()]*\)", "", name))
    return {found for found in (bare, _GROUP.get(bare)) if found}


def _numbers(name: str) -> set[str]:
    """A word of at least three letters, and what it may be the plural of."""
    word = spelling(name)
    forms = {word}
    for ending, singulars in (("s", ("",)), ("es", ("",)), ("ies", ("y",)), ("ves", ("f", "fe"))):
        if word.endswith(ending):
            forms |= {word.removesuffix(ending) + singular for singular in singulars}
    return {form for form in forms if len(form) >= 3}


def _json(suggested: Mapping[str, str]) -> str:
    text = json.dumps(dict(list(suggested.items())[:_MOST_SHOWN]), ensure_ascii=False)
    return text if len(suggested) <= _MOST_SHOWN else f"{text[:-1]}, ... ({len(suggested)} in all)}}"
