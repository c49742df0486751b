"""The pages of `docs/reference`, written from the code. `python -m tests.docs.reference` (`make docs`) writes them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.docs.reference import configuration, errors, events, families, methods, settings

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"
PAGES: Mapping[str, Callable[[], str]] = {
    "configuration.md": configuration.page,
    "errors.md": errors.page,
    "events.md": events.page,
    "families.md": families.page,
    "methods.md": methods.page,
    "settings.md": settings.page,
}
"""What writes each page."""
