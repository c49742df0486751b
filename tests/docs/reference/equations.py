"""Where the equations of the papers stand in the code, from the docstrings that name them."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.source import trees

_MENTION = re.compile(
    r"(?:arXiv (?P<arxiv>\d{4}\.\d{5}), |(?P<paper>\w+)'s )?"
    r"(?P<equations>Eqs?\. \d+(?:(?: to |, | and |, and )\d+)*)"
)


@dataclass(frozen=True)
class Mention:
    """Equations that a docstring names."""

    paper: str
    """`arXiv ...`, or its name; empty: the paper of the module."""
    equations: str
    """`Eq. 8`, or `Eqs. 3 and 4`."""
    path: str
    place: str
    """Qualified name; empty: the module."""

    @property
    def label(self) -> str:
        """Paper and equations."""
        return ", ".join(part for part in (self.paper, self.equations) if part)

    @property
    def numbers(self) -> list[int]:
        """`Eqs. 3 to 5, and 7`: 3, 4, 5, 7."""
        found: list[int] = []
        for span in re.split(r", and |, | and ", self.equations.partition(" ")[2]):
            first, *last = map(int, span.split(" to "))
            found += range(first, (last or [first])[0] + 1)
        return found

    @property
    def link(self) -> str:
        """To the file, with the name of the place."""
        file = f"[{self.path.removeprefix('detrdistill/')}](../../{self.path})"
        return f"{file}: `{self.place}`" if self.place else file


def mentions(path: str) -> list[Mention]:
    """Every mention of equations in the docstrings of a module."""
    return [
        Mention(f"arXiv {found['arxiv']}" if found["arxiv"] else found["paper"] or "", found["equations"], path, place)
        for place, text in _docstrings(trees()[path])
        for found in _MENTION.finditer(" ".join(text.split()))
    ]


def _docstrings(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    yield prefix.rstrip("."), ast.get_docstring(node) or ""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _docstrings(child, f"{prefix}{child.name}.")
