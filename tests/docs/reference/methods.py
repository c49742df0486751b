"""`methods.md`: what each method is, where its equations are, and its fields with their defaults by variant."""

from collections.abc import Iterator
from typing import Any

from detrdistill.schema.method_table import METHODS, VARIANT_TITLES, MethodInfo
from detrdistill.schema.run import DEFAULT_METHODS
from tests.docs.reference import configuration
from tests.docs.reference.equations import Mention, mentions
from tests.docs.reference.markdown import code, document, listed, table
from tests.support.source import trees

INTRODUCTION = """
The entries of `methods` in a [configuration](configuration.md). Written by `make docs` from
`detrdistill/schema/methods.py` and the docstrings of `detrdistill/methods`.
"""
OTHERS = """
## Other equations

Losses and detectors that name the paper of an equation.
"""


def page() -> str:
    """The page."""
    used = {method.kind for method in DEFAULT_METHODS}
    overview = (
        (f"[{kind}](#{kind})", info.title, "yes" if kind in used else "", listed(info.needs), info.summary)
        for kind, info in METHODS.items()
    )
    parts = [INTRODUCTION]
    parts.append(
        table(("method", "title", "default", "needs of its teacher", "what it does and when to use it"), overview)
    )
    for info in METHODS.values():
        parts += _section(info)
    return document("Methods", *parts, OTHERS, table(("equation", "where"), _others()))


def _section(info: MethodInfo) -> list[str]:
    facts = [
        f"- Paper: {info.paper}.",
        f"- Needs of its teacher, with the default fields: {listed(info.needs)}.",
        f"- Loss terms: {listed(code(f'{info.kind}.{term}') for term in info.terms)}.",
    ]
    if info.variants:
        titles = [
            f"`{variant}`" + (f" ({VARIANT_TITLES[variant]})" if VARIANT_TITLES[variant] != variant else "")
            for variant in info.variants
        ]
        facts.append(f"- Variants, by the field `{info.variant_field}`: {listed(titles)}. The first is the default.")
    heads = info.variants or ("default",)
    note = f"An empty cell: as in `{heads[0]}`." if info.variants else ""
    return [
        f"## {info.kind}",
        f"{info.title}. {info.summary}",
        "\n".join(facts),
        table(("equation", "where"), ((one.label, one.link) for one in own_equations(info))),
        note,
        table(("field", "type", *map(code, heads), "what it is"), _fields(info)),
    ]


def own_equations(info: MethodInfo) -> list[Mention]:
    """Equations of a method's paper at the functions that compute them, by their numbers."""
    found = mentions(f"detrdistill/methods/{info.kind}.py")
    own = [one for one in found if one.place and not one.paper.startswith("arXiv")]
    return sorted(own, key=lambda one: one.numbers)


def _fields(info: MethodInfo) -> Iterator[tuple[str, ...]]:
    rows = configuration.fields_of(configuration.definition_of(info.config.__name__), "configuration.md")
    defaults = [info.defaults(variant) for variant in info.variants or (None,)]
    for name, kind, shown, description in rows:
        field = name.strip("`")
        if field == "kind":
            continue
        values = [values[field] for values in defaults]
        yield name, kind, shown, *_where_other(values, field == info.variant_field), description


def _where_other(values: list[Any], is_choice: bool) -> Iterator[str]:
    """The defaults beside the first, where they differ from it."""
    for value in values[1:]:
        yield "" if value == values[0] or is_choice else code(value)


def _others() -> Iterator[tuple[str, str]]:
    for path in trees():
        if path.startswith("detrdistill/"):
            yield from ((one.label, one.link) for one in mentions(path) if one.paper.startswith("arXiv"))
