"""Columns of a list of datasets or checkpoints, whose rows are small whatever the number of classes."""

from typing import Any

from sqlalchemy import ColumnElement, cast, func
from sqlalchemy.dialects.postgresql import JSONB, JSONPATH

from api.checkpoints.models import Checkpoint
from api.datasets.models import Dataset

MOST_CLASSES_LISTED = 100


def first_classes(model: type[Dataset] | type[Checkpoint]) -> ColumnElement[Any]:
    """The first class names, cut by the database."""
    path = cast(f"$[0 to {MOST_CLASSES_LISTED - 1}]", JSONPATH)
    return func.jsonb_path_query_array(model.classes, path, type_=JSONB)


def number_of_classes(model: type[Dataset] | type[Checkpoint]) -> ColumnElement[int]:
    """How many classes there are."""
    return func.jsonb_array_length(model.classes)
