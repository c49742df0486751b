"""The pages of `docs/reference` are what the code says today."""

import pytest

from detrdistill.schema.method_table import METHODS, MethodKind
from tests.docs.reference import FOLDER, PAGES
from tests.docs.reference.equations import Mention
from tests.docs.reference.methods import own_equations

pytestmark = pytest.mark.docs


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str):
    assert (FOLDER / name).read_text() == PAGES[name](), "run: make docs"


def test_every_page_of_the_folder_is_written_from_the_code():
    assert {page.name for page in FOLDER.iterdir()} == PAGES.keys()


@pytest.mark.parametrize("name", ["configuration.md", "methods.md"])
def test_no_field_is_left_without_a_word(name: str):
    rows = [line for line in PAGES[name]().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("kind", METHODS)
def test_every_equation_of_a_method_is_found_at_a_function(kind: MethodKind):
    """Those that the table of the methods names."""
    info = METHODS[kind]
    named = Mention("", f"Eq{info.paper.rpartition(', Eq')[2]}", "", "").numbers if ", Eq" in info.paper else []
    found = {number for one in own_equations(info) if not one.paper for number in one.numbers}
    assert found >= set(named)


def test_spans_of_equations_are_counted():
    assert Mention("", "Eqs. 3 to 5, and 7", "", "").numbers == [3, 4, 5, 7]
    assert Mention("", "Eqs. 1 and 2", "", "").numbers == [1, 2]
