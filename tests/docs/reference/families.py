"""`families.md`: what every detector family is and what it supports."""

from collections.abc import Iterator

from detrdistill.catalog import CATALOG
from tests.docs.reference.markdown import code, document, listed, table

INTRODUCTION = """
Each is a teacher and a student. Written by `make docs` from `detrdistill/catalog`; `tests/core/test_families.py` runs
five steps of every row with all its components, and loads the exported folder strictly.
"""
NOTES = """
Within the family and across families, but for what is not defined:

- **A teacher with sigmoid scores, a student with softmax scores**: scores of single classes are no distribution over
  classes and 'no object', so classes cannot be distilled. Boxes (`class_weight: 0`), features and the query prior can.
- **Features at no common stride** cannot be compared; the other `source` may have one.
- **Masks** need features as wide as the teacher's queries; a neck that is not can be imitated by `feature_maps`.

AdaMixer is a model of this project: `import detrdistill.detectors` teaches it to `transformers`, and must come before
`from_pretrained`. A backbone `mobilenetv2` needs timm. YOLOS predicts at its last layer only, as published,
and its query prior takes a second pass. DINO-DETR is not among them: `transformers` has no such class, and its
Deformable DETR has neither mixed query selection nor denoising queries nor look-forward-twice. D-FINE learns with its
two losses of distributions over bins; DEIMv2 can (`criterion.fgl_weight`, `ddf_weight`), but its sizes below N do not.

ONNX: what `transformers.exporters` makes of a detector, compared with PyTorch by `tests/core/test_onnx.py`; a fixed
batch is that of the example it is exported with.

What is not defined is refused by `POST /jobs` with the reason and a pointer, and by the engine.
"""


def page() -> str:
    """The page."""
    head = ("family", "paper", "scores", "loss", "queries", "neck strides", "memory strides", "sizes")
    support = ("family", "logits", "features", "query prior", "KD-DETR points", "ONNX")
    return document(
        "Families", INTRODUCTION, table(head, _facts()), "## What is supported", table(support, _support()), NOTES
    )


def _facts() -> Iterator[tuple[str, ...]]:
    for name, family in CATALOG.items():
        queries = "picked" if family.proposal_strides else "learned"
        strides = listed(family.neck_strides), listed(family.memory_strides)
        yield code(name), family.paper, family.scores, family.classification, queries, *strides, listed(family.sizes)


def _support() -> Iterator[tuple[str, ...]]:
    for name, family in CATALOG.items():
        logits = "from softmax; boxes from all" if family.scores == "softmax" else "yes"
        features = "neck, memory" if family.neck_is_query_wide else "memory; neck by `feature_maps`"
        prior = "yes, second pass" if family.last_layer_only else "yes"
        yield code(name), logits, features, prior, "yes", f"{family.onnx_batch} batch"
