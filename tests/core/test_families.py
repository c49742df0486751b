"""Every family teaches itself: five steps with all components it supports, exported and loaded; and the table of it.

`python -m tests.core.test_families` writes `docs/families.md` anew.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForObjectDetection

from detrdistill.catalog import CATALOG, Family, FamilyName, size_of
from detrdistill.detectors.build import build_detector, make_trainable
from detrdistill.engine.run import run
from detrdistill.events import Event, StepLogged
from detrdistill.export import export_folder
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RUN_CONFIG, DistillConfig
from tests.support.factories import SIDE, TINY, methods_in
from tests.support.rectangles import CLASSES, write_rectangles

TABLE = Path(__file__).resolve().parents[2] / "docs" / "families.md"
STEPS = 5
LEFT_ALONE = {
    "table-transformer": ["model.decoder.layers.0.self_attn_layer_norm.weight"],
}
"""Weights without a gradient for a good reason: the queries of a Table Transformer start from zero, which its first
layer normalises."""


def methods_of(family: Family) -> list[dict[str, object]]:
    """All components, in the form the family supports."""
    source = "neck" if family.neck_is_query_wide else "memory"
    return [
        {"kind": "matched_logits", "variant": "official"},
        {"kind": "target_features", "variant": "official", "source": source},
        {"kind": "query_prior", "variant": "paper"},
        {"kind": "distillation_points", "variant": "paper", "general": 4},
    ]


def five_steps(name: FamilyName) -> DistillConfig:
    config = RUN_CONFIG.validate_python(
        {
            "kind": "distill",
            "student": {"family": name, "size": TINY[name], "queries": 8, "decoder_layers": 2},
            "teacher": {"min_ap": 0},
            "data": {"image_size": SIDE, "crop": False},
            "training": {"epochs": 1, "batch_size": 2, "lr": 1e-3, "warmup_steps": 0, "ema_decay": None},
            "methods": methods_of(CATALOG[name]),
        }
    )
    assert isinstance(config, DistillConfig)
    return config


@pytest.fixture(scope="module")
def ten_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rectangles(tmp_path_factory.mktemp("families") / "data", images={"train": 2 * STEPS, "val": 2})


@pytest.mark.export
@pytest.mark.parametrize("name", list(CATALOG))
def test_a_family_teaches_itself(name: FamilyName, ten_images: Path, tmp_path: Path):
    size = replace(size_of(name, TINY[name]), queries=12)
    (tmp_path / "teacher").mkdir()
    export_folder(build_detector(name, size, CLASSES, SIDE, seed=7), tmp_path / "teacher", (3, 8))
    events: list[Event] = []
    config = five_steps(name)
    run(config, RunPaths(dataset=ten_images, work=tmp_path / "work", teacher=tmp_path / "teacher"), events.append)

    steps = [event for event in events if isinstance(event, StepLogged)]
    assert [event.step for event in steps] == list(range(1, STEPS + 1))
    for method in methods_in(config):
        assert any(term.startswith(f"{method.kind}.") for term in steps[-1].losses), method.kind
    assert all(torch.tensor(list(event.losses.values())).isfinite().all() for event in steps)

    folder = tmp_path / "work" / "student"
    loaded, report = AutoModelForObjectDetection.from_pretrained(folder, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert config.student is not None
    student = build_detector(name, config.student.resolve(), CLASSES, SIDE, config.training.seed)
    make_trainable(student)
    card = (folder / "README.md").read_text()
    assert ("import detrdistill.detectors" in card) == (not CATALOG[name].in_library)
    trained = loaded.state_dict()
    trainable = {name: weight for name, weight in student.model.named_parameters() if weight.requires_grad}
    unmoved = [key for key, weight in trainable.items() if torch.equal(weight, trained[key])]
    assert unmoved == LEFT_ALONE.get(name, []), "no gradient has reached these"


def test_the_table_is_current():
    assert TABLE.read_text() == table(), "run: python -m tests.core.test_families"


def table() -> str:
    """What every family is and what it supports, from the catalog."""
    rows = [
        "# Families",
        "",
        "Each is a teacher and a student. Written by `python -m tests.core.test_families` from `detrdistill/catalog`;",
        "the test of that name runs five steps of every row with all its components, and loads the exported folder",
        "strictly.",
        "",
        *_head("family", "paper", "scores", "loss", "queries", "neck strides", "memory strides", "sizes"),
    ]
    for name, family in CATALOG.items():
        queries = "picked" if family.proposal_strides else "learned"
        strides = _list(family.neck_strides), _list(family.memory_strides)
        loss, sizes = family.classification, _list(family.sizes)
        rows.append(_row(f"`{name}`", family.paper, family.scores, loss, queries, *strides, sizes))
    rows += ["", "## What is supported", ""]
    rows += _head("family", "logits", "features", "query prior", "KD-DETR points", "ONNX")
    for name, family in CATALOG.items():
        logits = "from softmax; boxes from all" if family.scores == "softmax" else "yes"
        features = "neck, memory" if family.neck_is_query_wide else "memory; neck by `feature_maps`"
        prior = "yes, second pass" if family.last_layer_only else "yes"
        rows.append(_row(f"`{name}`", logits, features, prior, "yes", f"{family.onnx_batch} batch"))
    return "\n".join(rows) + "\n" + NOTES


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


NOTES = """
Within the family and across families, but for what is not defined:

- **A teacher with sigmoid scores, a student with softmax scores**: scores of single classes are no distribution over
  classes and 'no object', so classes cannot be distilled. Boxes (`class_weight: 0`), features and the query prior can.
- **Features at no common stride** cannot be compared; the other `source` may have one.
- **Masks** need features as wide as the teacher's queries; a neck that is not can be imitated by `feature_maps`.

AdaMixer is a model of this project: `import detrdistill.detectors` teaches it to `transformers`, and must come before
`from_pretrained`. A backbone `mobilenetv2` needs the package timm. YOLOS predicts at its last layer only, as published,
and its query prior takes a second pass. DINO-DETR is not among them: `transformers` has no such class, and its
Deformable DETR has neither mixed query selection nor denoising queries nor look-forward-twice. D-FINE learns with its
two losses of distributions over bins; DEIMv2 can (`criterion.fgl_weight`, `ddf_weight`), but its sizes below N do not.

ONNX: what `transformers.exporters` makes of a detector, compared with PyTorch by `tests/core/test_onnx.py`; a fixed
batch is that of the example it is exported with.

What is not defined is refused by `POST /jobs` with the reason and a pointer, and by the engine.
"""


if __name__ == "__main__":
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table())
