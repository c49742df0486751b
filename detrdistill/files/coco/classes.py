"""The classes of a dataset: those of train, to which val's are matched by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from detrdistill.errors import DatasetError
from detrdistill.files.coco.document import Category, Document
from detrdistill.files.coco.fields import folded, listed, shown
from detrdistill.files.coco.records import Id

_BACKGROUND = frozenset({"background", "__background__", "_background_", "__ignore__", "_ignore_"})


@dataclass(frozen=True)
class Classes:
    """Names in the order of class indices, and what each file calls them."""

    names: tuple[str, ...]
    ids: tuple[tuple[Id | None, ...], ...]
    """For each document the id of each class; see `CocoSet.category_ids`."""
    labels: tuple[tuple[int | None, ...], ...]
    """For each document the class index of each category; None: it is left out, and has no annotations."""


def match_classes(documents: Sequence[Document]) -> Classes:
    """The classes of the first document, and the categories of the others by name.

    Raises:
        DatasetError: another document uses a category that the first does not list.
    """
    train = documents[0]
    unused = _not_classes(documents)
    chosen = [category for category in train.categories if folded(category.name) not in unused]
    if all(isinstance(category.key, int) for category in chosen):
        chosen.sort(key=lambda category: category.key)  # pyright: ignore[reportArgumentType]
    if gone := [category.name for category in train.categories if folded(category.name) in unused]:
        train.warn(f"supercategories and backgrounds without annotations are no classes: {listed(gone)}.")
    labels = [_labels(document, train, chosen, unused) for document in documents]
    ids = [_ids(document, chosen, own) for document, own in zip(documents, labels, strict=True)]
    return Classes(tuple(category.name for category in chosen), tuple(ids), tuple(labels))


def _not_classes(documents: Sequence[Document]) -> set[str]:
    """Names of categories that stand for others, or for nothing, and that no annotation uses."""
    categories = [category for document in documents for category in document.categories]
    used = {folded(category.name) for category in categories if category.annotations}
    parents = {
        folded(category.supercategory)
        for category in categories
        if folded(category.supercategory) != folded(category.name)
    }
    return {name for item in categories if (name := folded(item.name)) in parents | _BACKGROUND} - used


def _labels(
    document: Document, train: Document, chosen: Sequence[Category], unused: set[str]
) -> tuple[int | None, ...]:
    exact = {category.name: label for label, category in enumerate(chosen)}
    names = [folded(category.name) for category in chosen]
    loose = {name: label for label, name in enumerate(names) if names.count(name) == 1} if document is not train else {}
    labels = [exact.get(item.name, loose.get(folded(item.name))) for item in document.categories]
    unknown = [
        category
        for category, label in zip(document.categories, labels, strict=True)
        if label is None and folded(category.name) not in unused
    ]
    if strange := [category.name for category in unknown if category.annotations]:
        raise DatasetError(
            f"The splits name different categories: {document.where} uses {listed(strange)}, but {train.where} lists "
            f"only {listed([category.name for category in chosen])}.",
            hint="Use the same names of categories in both files; their ids may differ.",
        )
    if unknown:
        document.warn(f"categories that {train.where} does not list are left out: {listed([c.name for c in unknown])}.")
    if close := [
        item.name for item, i in zip(document.categories, labels, strict=True) if i not in (None, exact.get(item.name))
    ]:
        document.warn(f"categories are taken for those of {train.where} with another spelling: {listed(close)}.")
    found = [label for label in labels if label is not None]
    if len(set(found)) < len(found):
        twice = next(label for label in found if found.count(label) > 1)
        raise DatasetError(
            f"{document.where}: several categories are {shown(chosen[twice].name)} of {train.where}.",
            hint="Names must be unique.",
        )
    return tuple(labels)


def _ids(document: Document, chosen: Sequence[Category], labels: Sequence[int | None]) -> tuple[Id | None, ...]:
    own = {label: category.id for category, label in zip(document.categories, labels, strict=True)}
    taken = {category.key for category in document.categories}
    return tuple(own.get(label, None if c.key in taken else c.id) for label, c in enumerate(chosen))
