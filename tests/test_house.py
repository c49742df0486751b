"""The written rules of the house, counted."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("api", "detrdistill", "worker", "examples", "tests", "migrations")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DASHBOARD = sorted(path for path in (ROOT / "frontend" / "src").rglob("*.ts*") if ".gen." not in path.name)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LONGEST_FILE, LONGEST_DASHBOARD_FILE, LONGEST_FUNCTION = 400, 250, 60


def test_no_file_is_too_long():
    assert DASHBOARD
    limits = dict.fromkeys(SOURCES, LONGEST_FILE) | dict.fromkeys(DASHBOARD, LONGEST_DASHBOARD_FILE)
    long = {
        str(path.relative_to(ROOT)): lines
        for path, limit in limits.items()
        if (lines := len(path.read_text().splitlines())) > limit
    }
    assert long == {}


def test_no_function_is_too_long():
    long = []
    for path in SOURCES:
        if "versions" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines")
    assert long == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_nothing_is_left_open(word: str):
    this = Path(__file__)
    assert [str(path) for path in [*SOURCES, *DASHBOARD] if path != this and word in path.read_text()] == []


_OLD = """
    Guide Lesson Moment at_work Asked wish wishes answer taught beside instead views Source Input input_of
    copies groups found_BQ real_BHW start_as_published start_class_head draw_by_xavier reset_vit box_start
    Learner evaluated own_average knobs Signals origin further_teachers further_teacher_ids pairing beat
    last_words look Complaints Dot picture trunk
"""
OLD_IDENTIFIERS = frozenset(_OLD.split())
"""Private words that were replaced by those of the field; `docs/glossary.md` has those."""
PUBLISHED = {"groups": ROOT / "detrdistill" / "detectors" / "adamixer"}
"""Names that a paper gives: AdaMixer's groups of channels, g."""


def identifiers_of(tree: ast.AST) -> Iterator[str]:
    """Names of classes, functions, arguments and fields; not those of local variables."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name, body=body):
                yield name
                yield from (field.target.id for field in body if isinstance(field, ast.AnnAssign))  # pyright: ignore
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case _:
                pass


@pytest.mark.parametrize("package", PACKAGES)
def test_no_identifier_is_a_private_word(package: str):
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        if path.is_relative_to(ROOT / package)
        for name in identifiers_of(ast.parse(path.read_text()))
        if name in OLD_IDENTIFIERS and not path.is_relative_to(PUBLISHED.get(name, ROOT / "nowhere"))
    }
    assert found == set()


def test_no_class_name_exists_twice():
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] != "tests":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_module_imports_itself_through_others():
    graph = grimp.build_graph("api", "detrdistill", "worker", cache_dir=None)
    order = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    order.prepare()  # raises CycleError
    assert len(graph.modules) > 150


BANNED = re.compile(
    r"\b([Pp]ictures?|[Tt]runks?|[Cc]ent(?:re|red|res)|[Dd]ata sets?|[Tt]he library|is no multiple of|who is to take)\b"
)
"""One word for one thing: image, backbone, center, dataset, transformers; and sentences in plain order."""


def test_texts_use_one_word_for_one_thing():
    lists = (Path(__file__), ROOT / "CONTRIBUTING.md")
    texts = [path for path in [*SOURCES, *DASHBOARD, *DOCUMENTS] if path not in lists]
    found = {
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in texts
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for match in BANNED.finditer(line)
    }
    assert found == set()


def test_docstrings_of_tests_say_what_holds():
    """In a sentence, not by the number of a list that is not here."""
    numbered = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and re.match(r"T\d+|Section \(", ast.get_docstring(node) or "")
    ]
    assert numbered == []
