"""Every link from page to page leads somewhere."""

import re

import pytest

from tests.docs.blocks import PAGES, ROOT, name_of, prose_of
from tests.docs.reference.markdown import anchor

pytestmark = pytest.mark.docs
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)|^\s*\[[^\]]+\]: (?P<defined>\S+)")


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings; equal ones are numbered."""
    fenced = re.sub(r"^ *(`{3,}).*?^ *\1", "", text, flags=re.DOTALL | re.MULTILINE)
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} (.+)$", fenced, re.MULTILINE):
        name = anchor(heading)
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def test_every_relative_link_and_anchor_exists():
    anchors = {page: anchors_of(page.read_text()) for page in PAGES}
    broken = []
    for page in PAGES:
        for number, line in prose_of(page.read_text()):
            for found in _LINK.finditer(line):
                path, _, fragment = (found["target"] or found["defined"]).partition("#")
                if re.match(r"[a-z]+:", path):
                    continue
                target = (page.parent / path).resolve() if path else page
                inside = target.is_relative_to(ROOT) and target.exists()
                if not inside or (fragment and fragment not in anchors.get(target, set())):
                    broken.append(f"{name_of(page)}:{number} {found[0]}")
    assert broken == []


def test_anchors_are_those_of_github():
    text = "# A `code` word\n\n## Twice\n\n```sh\n# no heading\n```\n\n## Twice\n\n### methods[].schedule (all)\n"
    assert anchors_of(text) == {"a-code-word", "twice", "twice-1", "methodsschedule-all"}
