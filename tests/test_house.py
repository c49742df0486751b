"""The written rules of the house, counted."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("api", "detrdistill", "worker", "examples", "tests", "migrations")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DASHBOARD = sorted(path for path in (ROOT / "frontend" / "src").rglob("*.ts*") if ".gen." not in path.name)
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
