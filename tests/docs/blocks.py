"""The pages of the documentation, and the blocks of code in them.

What happens to a block, unless a comment in the line before it says otherwise:

    ```sh, bash, shell, console    its page's commands are run from top to bottom, in one shell
    ```python                      it is run
    ```json                        it is a valid configuration (or a part of one), run file or job

    <!-- run: slow -->                       run by `make test-all` alone, after the page's other commands
    <!-- run: quickstart -->                 run by the test of that name
    <!-- not run: why -->                    its syntax is checked
    <!-- not a configuration: what it is --> its syntax is checked
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SHELLS = ("sh", "bash", "shell", "zsh", "console", "shell-session")
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[\w+-]*).*$")
_COMMENT = re.compile(r"^\s*<!-- (?P<text>.*) -->\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: str
    """Path below the repository."""
    line: int
    """Of its fence."""
    language: str
    text: str
    comment: str
    """What the comment before it says; empty: there is none."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def slow(self) -> bool:
        return self.comment == "run: slow"

    @property
    def left_out(self) -> bool:
        """It is not run here."""
        return self.comment.startswith("not ") or self.comment == "run: quickstart"

    @property
    def commands(self) -> str:
        """What to type; of a console, what stands behind the prompt."""
        if self.language not in ("console", "shell-session"):
            return self.text
        return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line.startswith(("$ ", "> ")))


def name_of(page: Path) -> str:
    """The path of a page below the repository."""
    return str(page.relative_to(ROOT))


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The blocks of a page."""
    comment, opened, lines = "", None, []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is not None:
            if fence and fence["fence"].startswith(opened[0]["fence"]) and not fence["language"]:
                body = "".join(f"{one.removeprefix(opened[0]['indent'])}\n" for one in lines)
                yield Block(page, opened[1], opened[0]["language"], body, comment)
                comment, opened, lines = "", None, []
            else:
                lines.append(line)
        elif fence:
            opened = fence, number
        elif found := _COMMENT.match(line):
            comment = found["text"]
        elif line.strip():
            comment = ""
    assert opened is None, f"{page}:{opened[1]}: the block has no end"


def all_blocks(*languages: str) -> list[Block]:
    """Every block in one of these languages, in the order of pages and lines."""
    every = (block for page in PAGES for block in blocks_of(name_of(page), page.read_text()))
    return [block for block in every if block.language in languages]


def prose_of(text: str) -> Iterator[tuple[int, str]]:
    """Lines outside of blocks, with their numbers and without code."""
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found["fence"]
        elif found and found["fence"].startswith(fence) and not found["language"]:
            fence = ""
        elif not fence:
            yield number, re.sub(r"`[^`]*`", lambda code: "`" * len(code[0]), line)
