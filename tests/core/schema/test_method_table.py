"""The table of the methods agrees with the schema, with the methods themselves and with what refuses them."""

import re
from typing import get_args

import pytest

from detrdistill.compatibility.checks import check_pair
from detrdistill.engine.components import build_methods
from detrdistill.errors import ConfigError
from detrdistill.events import CURVES
from detrdistill.files.black_boxes import BlackBox
from detrdistill.methods.method import DetectorShape, Method
from detrdistill.schema.method_table import METHODS, VARIANT_TITLES, MethodKind
from detrdistill.schema.methods import MethodConfig
from detrdistill.schema.run import DETECTION_TERMS, RUN_CONFIG, DistillConfig
from tests.support.factories import criterion_of, methods_in

SHAPE = DetectorShape(
    width=16,
    layers=2,
    image_height=64,
    neck_widths=(16, 16),
    neck_strides=(8, 16),
    memory_strides=(8, 16),
    has_position=True,
    derives_reference=True,
    reference_size=4,
)
EVERY_FORM = [(kind, variant) for kind, info in METHODS.items() for variant in info.variants or (None,)]


def config_of(kind: MethodKind, variant: str | None = None) -> DistillConfig:
    field = METHODS[kind].variant_field
    method = {"kind": kind} | ({field: variant} if field and variant else {})
    config = RUN_CONFIG.validate_python({"kind": "distill", "methods": [method]})
    assert isinstance(config, DistillConfig)
    return config


def built(kind: MethodKind, variant: str | None = None) -> Method:
    [method] = build_methods(methods_in(config_of(kind, variant)), SHAPE, SHAPE, criterion_of(), seed=0)
    return method


def test_the_table_has_the_members_of_the_union_in_their_order():
    union = get_args(get_args(MethodConfig)[0])
    assert [info.config for info in METHODS.values()] == list(union)
    assert list(METHODS) == list(get_args(MethodKind)) == [config.model_fields["kind"].default for config in union]


@pytest.mark.parametrize(("kind", "variant"), EVERY_FORM)
def test_every_method_is_built_under_its_kind_with_its_terms(kind: MethodKind, variant: str | None):
    method = built(kind, variant)
    assert method.name == kind
    assert list(method.weights()) == [f"{kind}.{term}" for term in METHODS[kind].terms]


@pytest.mark.parametrize("kind", METHODS)
def test_only_methods_that_need_boxes_and_scores_alone_take_a_black_box(kind: MethodKind):
    def takes_black_box() -> bool:
        try:
            check_pair(config_of(kind).teachers["teacher"], BlackBox("onnx", "sigmoid"), "rt-detr-v2", "")
        except ConfigError:
            return False
        return True

    assert (METHODS[kind].needs == ("boxes and scores",)) == takes_black_box()


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_that_needs_queries_or_features_reads_them(kind: MethodKind):
    method = built(kind)
    needs = METHODS[kind].needs
    assert ("features" in needs) == hasattr(method, "pairs")
    if hasattr(method, "bridge"):
        assert "queries" in needs


@pytest.mark.parametrize("kind", METHODS)
def test_variants_have_titles_and_the_default_comes_first(kind: MethodKind):
    info = METHODS[kind]
    assert info.default_variant == next(iter(info.variants), None)
    assert set(info.variants) <= VARIANT_TITLES.keys()


@pytest.mark.parametrize("kind", METHODS)
def test_every_field_says_what_it_is(kind: MethodKind):
    fields = METHODS[kind].config.model_fields
    assert [name for name, field in fields.items() if name != "kind" and not field.description] == []


@pytest.mark.parametrize("kind", METHODS)
def test_no_description_repeats_the_default_of_a_variant(kind: MethodKind):
    """The schema has it, and the tables that are made from the schema show it."""
    for name, field in METHODS[kind].config.model_fields.items():
        assert not re.search(r"(official|paper|recommended|mgd): ", field.description or "", re.IGNORECASE), name


def test_the_defaults_of_a_variant_are_those_that_it_is_validated_to():
    info = METHODS["matched_logits"]
    assert [info.defaults(variant)["weight"] for variant in (None, "recommended", "official", "paper")] == [
        0.3,
        0.3,
        1.0,
        1.0,
    ]
    assert METHODS["feature_maps"].defaults("mgd")["weight"] == 2e-5


def test_no_curve_has_the_name_of_a_method_and_those_of_detection_are_known():
    assert not CURVES.keys() & METHODS.keys()
    assert [name for name, curve in CURVES.items() if curve.terms] == list(DETECTION_TERMS)
