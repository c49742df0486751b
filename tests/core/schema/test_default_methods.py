"""One default: whoever names no variant gets `recommended`, in schema, demo, dashboard and benchmark."""

import argparse
import inspect
from pathlib import Path
from typing import get_args

import pytest

from detrdistill.losses.set_criterion import SetCriterion
from detrdistill.methods.distillation_points import DistillationPoints
from detrdistill.methods.feature_maps import FeatureMaps
from detrdistill.methods.foreground_memory import ForegroundMemory
from detrdistill.methods.matched_logits import MatchedLogits
from detrdistill.methods.query_prior import QueryPrior
from detrdistill.methods.target_features import TargetFeatures
from detrdistill.schema import methods as method_configs
from detrdistill.schema.run import RUN_CONFIG, CriterionConfig, DistillConfig
from examples import demo
from tests.benchmarks import bench
from tests.support.factories import methods_in
from tests.support.rectangles import write_rectangles

ROOT = Path(__file__).resolve().parents[3]
RECOMMENDED = {
    "matched_logits": {"weight": 0.3, "pair_weight": "teacher_confidence", "split": False, "contrastive_weight": 0.0},
    "target_features": {"weight": 0.3, "source": "memory", "mask": "cosine_sum", "mask_padding": True},
    "query_prior": {"weight": 1.0, "assignment": "teacher_layer", "group": "concat", "reference": "teacher"},
    "distillation_points": {"general": 0, "specific": True, "class_form": "binary", "layers": "paired"},
}
OFFICIAL = {
    "matched_logits": {"weight": 1.0, "pair_weight": "none", "split": False, "contrastive_weight": 0.2},
    "target_features": {"weight": 1.0, "source": "neck", "mask": "cosine_sum", "mask_padding": False},
    "query_prior": {"weight": 1.0, "assignment": "student", "group": "second_pass", "reference": "student"},
}
PAPER = {
    "matched_logits": {"weight": 1.0, "pair_weight": "none", "split": True, "contrastive_weight": 0.0},
    "target_features": {"weight": 1.0, "source": "memory", "mask": "dot_product", "gamma": 0.5, "queries": None},
    "query_prior": {"weight": 1.0, "assignment": "teacher_layer", "group": "concat", "reference": "teacher"},
    "distillation_points": {"general": 300, "class_form": "softmax_kl", "layers": "teacher_last"},
}


def distill(values: object) -> DistillConfig:
    config = RUN_CONFIG.validate_python(values)
    assert isinstance(config, DistillConfig)
    return config


@pytest.mark.parametrize("kind", RECOMMENDED)
def test_a_method_without_a_variant_is_the_recommended_one(kind: str):
    """Validated from nothing but its kind, and as the fields' own defaults, which the API's description shows."""
    [plain] = methods_in(distill({"kind": "distill", "methods": [{"kind": kind}]}))
    [named] = methods_in(distill({"kind": "distill", "methods": [{"kind": kind, "variant": "recommended"}]}))
    assert plain == named
    assert plain.model_dump().items() >= ({"variant": "recommended"} | RECOMMENDED[kind]).items()
    fields = {name: field.default for name, field in type(plain).model_fields.items()}
    assert {name: fields[name] for name in RECOMMENDED[kind]} == RECOMMENDED[kind]


@pytest.mark.parametrize(
    ("variant", "kind", "values"),
    [("official", *item) for item in OFFICIAL.items()] + [("paper", *item) for item in PAPER.items()],
)
def test_the_other_variants_fill_their_own_values(variant: str, kind: str, values: dict[str, object]):
    [method] = methods_in(distill({"kind": "distill", "methods": [{"kind": kind, "variant": variant}]}))
    assert method.model_dump().items() >= ({"variant": variant} | values).items()


def test_a_configuration_without_methods_takes_all_three_components_as_recommended():
    methods = methods_in(distill({"kind": "distill"}))
    assert [method.kind for method in methods] == ["matched_logits", "target_features", "query_prior"]
    for method in methods:
        assert method.model_dump().items() >= ({"variant": "recommended"} | RECOMMENDED[method.kind]).items()


@pytest.mark.parametrize("own_data", [False, True])
def test_the_demo_takes_the_default(own_data: bool, tmp_path: Path):
    dataset = write_rectangles(tmp_path / "data", images={"train": 12, "val": 6}) if own_data else None
    options = argparse.Namespace(config=None, dataset=dataset, epochs=None, seed=None)
    config = distill(demo.configuration(options, tmp_path, ROOT / "examples" / "digits" / "teacher"))
    assert methods_in(config) == methods_in(distill({"kind": "distill"}))


def test_the_benchmark_measures_the_step_of_the_default(monkeypatch: pytest.MonkeyPatch):
    class Seen(Exception):
        pass

    def spy(methods: object, *_: object) -> None:
        assert methods == methods_in(distill({"kind": "distill"}))
        raise Seen

    monkeypatch.setattr(bench, "build_methods", spy)
    with pytest.raises(Seen):
        bench.step_cost()


def test_a_method_takes_every_field_from_its_configuration():
    """And has no default of its own that could differ from the schema's."""
    classes = {
        one.name: one
        for one in (MatchedLogits, TargetFeatures, QueryPrior, DistillationPoints, FeatureMaps, ForegroundMemory)
    }
    for schema in get_args(get_args(method_configs.MethodConfig)[0]):
        parameters = inspect.signature(classes[schema.model_fields["kind"].default]).parameters.values()
        kwargs = {
            parameter.name: parameter.default for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY
        }
        assert kwargs.keys() == schema.model_fields.keys() - {"kind", "variant", "schedule", "gradient_share"}
        assert set(kwargs.values()) == {inspect.Parameter.empty}


def test_the_detection_loss_takes_every_field_from_its_configuration():
    parameters = inspect.signature(SetCriterion).parameters
    assert parameters.keys() == CriterionConfig.model_fields.keys()
    assert {parameter.default for parameter in parameters.values()} == {inspect.Parameter.empty}
