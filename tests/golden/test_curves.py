import json
from typing import get_args

import pytest

from detrdistill.schema import methods as method_configs
from tests.golden.curves import CASES, FILE, STEPS, curve

GOLDEN: dict[str, list[float]] = json.loads(FILE.read_text())
CLOSE_STEPS, CLOSE, LATER = 5, 2e-4, 5e-3
"""Relative tolerances of the first steps, where formulas decide, and of the later ones, where rounding adds up.

Changing the initial weights by 1e-6 changes the first five losses by 3e-5 and the later ones by 2e-3; torch 2.11 in
place of 2.15 by 5e-7 and 2e-4.
"""


def test_every_method_and_variant_has_a_curve():
    cases = {(config["kind"], config.get("variant", config.get("form"))) for config in CASES.values()}
    for schema in get_args(get_args(method_configs.MethodConfig)[0]):
        fields = schema.model_fields
        switch = fields.get("variant", fields.get("form"))
        variants = (None,) if switch is None else get_args(switch.annotation)
        for variant in variants:
            default = switch is not None and variant == switch.default
            kind = fields["kind"].default
            assert (kind, variant) in cases or (default and (kind, None) in cases), f"{kind}, {variant}"
    assert GOLDEN.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_go_as_they_went(name: str):
    golden, found = GOLDEN[name], curve(CASES[name])
    assert found[:CLOSE_STEPS] == pytest.approx(golden[:CLOSE_STEPS], rel=CLOSE)
    assert found[CLOSE_STEPS:] == pytest.approx(golden[CLOSE_STEPS:], rel=LATER)
    assert len(golden) == STEPS
