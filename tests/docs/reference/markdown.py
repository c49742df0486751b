"""Pieces of Markdown."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any


def document(title: str, *parts: str) -> str:
    """A page of a title and parts, each of whole lines."""
    return "\n\n".join([f"# {title}", *(part.strip("\n") for part in parts if part.strip())]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; empty where it has no rows."""
    body = [_row(row) for row in rows]
    return "\n".join([_row(head), "|" + "---|" * len(head), *body]) if body else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def one_line(text: str | None) -> str:
    """A text of the source without its line breaks."""
    return " ".join((text or "").split())


def code(value: Any) -> str:
    """A value as it stands in JSON; a text without quotes."""
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def anchor(heading: str) -> str:
    """What GitHub makes of a heading for links to it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
