"""Fixtures that every part of the tests may use."""

from pathlib import Path

import pytest

from tests.support.rectangles import write_rectangles

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real data sets and weights beside a developer's checkout; absent elsewhere."""


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of coloured rectangles: 12 training and 6 validation images of 64 px, two classes."""
    return write_rectangles(tmp_path_factory.mktemp("data") / "rectangles", images={"train": 12, "val": 6})


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data sets and weights."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data sets and weights of ../shared")
    return SHARED
