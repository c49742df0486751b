"""Values of annotation files as tools write them: numbers as text, ids of any kind, flags as words."""

import math
import re
import reprlib
import unicodedata
from collections.abc import Sequence
from typing import Any

from detrdistill.errors import DatasetError

Key = int | str
EXAMPLES = 5
MAX_COORDINATE_PX = 1e7
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,400})(\.0+)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True, "": False}
_MAX_NAME = 200
_MAX_SHOWN = 120
_shorten = reprlib.Repr()
_shorten.maxstring, _shorten.maxlong, _shorten.maxother, _shorten.maxlevel = 90, 40, 60, 2


def shown(value: Any) -> str:
    """A value in a message: short, on one line, with nothing that cannot be printed or stored."""
    if isinstance(value, str) and value.isprintable():
        return (
            f"'{value}'" if len(value) <= _MAX_SHOWN else f"'{value[: _MAX_SHOWN // 2]}...{value[-_MAX_SHOWN // 2 :]}'"
        )
    return _shorten.repr(value)


def listed(values: Sequence[Any]) -> str:
    """The first values of many."""
    more = f" and {len(values) - EXAMPLES} more" if len(values) > EXAMPLES else ""
    return ", ".join(map(shown, values[:EXAMPLES])) + more


def refuse(where: str, what: str, bad: Sequence[tuple[int, Any]], complaint: str, hint: str = "") -> None:
    """Raise if any item is wrong, with how many and where the first are (JSON pointers).

    Args:
        where: annotation file.
        what: list in the file.
        bad: index of each wrong item, and the value to show.
        complaint: what is wrong, as the predicate of `what`.
        hint: how to fix it.
    """
    if bad:
        first = ", ".join(f"/{what}/{index} ({shown(value)})" for index, value in bad[:EXAMPLES])
        raise DatasetError(
            f"{where}: {len(bad)} of {what} {complaint}, first at {first}.",
            hint=hint or "Correct these entries and upload again.",
        )


def key_of(value: Any) -> Key | None:
    """What an id is compared by; None: it is no id.

    2, 2.0, "2" and "2.0" are the same id, as tools that read and write a table change one into the other. Any other
    text is an id of its own ("007" is not 7).
    """
    match value:
        case bool() | None:
            return None
        case int():
            return value
        case float():
            return int(value) if value.is_integer() else repr(value) if math.isfinite(value) else None
        case str():
            text = value.strip()
            return int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else text or None
        case _:
            return None


def number(value: Any, limit: float = MAX_COORDINATE_PX) -> float | None:
    """A finite number below the limit in size, also where it is written as text; None: it is none."""
    if isinstance(value, str):
        text = value.strip()
        value = float(text) if len(text) < 100 and _NUMBER.fullmatch(text) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or not -limit < value < limit:
        return None  # NaN fails the comparison, and a huge integer needs no conversion for it
    return float(value)


def is_missing(value: Any) -> bool:
    """Nothing was written: null, empty text, or the NaN of a table."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""


def whole(value: Any) -> int | None:
    """A positive integer, also as 640.0 or "640"; None: it is none."""
    size = number(value)
    return int(size) if size is not None and size >= 1 and size.is_integer() else None


def flag(value: Any) -> bool | None:
    """0, 1, true, false, also as text; null is false; None: it is no flag."""
    if is_missing(value):
        return False
    return _FLAGS.get(str(value).strip().lower()) if isinstance(value, int | float | str) else None


def name_of(value: Any) -> str | None:
    """A name that can be stored and shown, without spaces around it; None: it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and key_of(value) is not None:
        value = shown(value)
    if not isinstance(value, str):
        return None
    name = unicodedata.normalize("NFC", value).strip()
    usable = 0 < len(name) <= _MAX_NAME and not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
    return name if usable else None


def folded(name: str) -> str:
    """A name without case, surrounding spaces and ways of composing its letters."""
    return unicodedata.normalize("NFC", name).strip().casefold()
