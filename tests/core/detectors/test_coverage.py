"""How completely weights fill their detector, under whatever prefix and in whatever type they are."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import load_detector, measure, with_classes
from detrdistill.errors import CheckpointError, PartialCheckpoint
from detrdistill.export import export_folder
from detrdistill.files.checkpoints import CoverageFacts, check_coverage
from tests.support.checkpoints import Weights, assert_same, renamed, variant, weights_of, without
from tests.support.factories import tiny_detector

BOX_HEAD = "model.decoder.bbox_embed.1."
"""Of the last of two decoder layers."""


# ---- coverage


def test_a_whole_file_fills_its_detector(whole: Path, exported: Detector):
    coverage, _ = measure(whole)
    kept = ("weight", "bias", "running_mean", "running_var")
    statistics = [name for name, _ in exported.model.named_buffers() if name.rpartition(".")[2] in kept]
    total = len(list(exported.model.parameters())) + len(statistics)
    assert coverage.facts == CoverageFacts(loaded=total, total=total)
    assert str(coverage) == f"{total} of {total} tensors were loaded."


PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "module._orig_mod.",
    "model.module.",
    "ema.",
    "ema.module.",
    "net_model.",
)


LOADED = ("module._orig_mod.", "model.", "ema.")
"""Of these; the others differ from them in a word."""


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_wrappers_put_before_names_is_stripped_and_said(
    whole: Path, exported: Detector, tmp_path: Path, prefix: str
):
    folder = variant(whole, tmp_path / "x", weights=renamed(lambda name: prefix + name))
    coverage, _ = measure(folder)
    assert (coverage.loaded, coverage.missing, coverage.unexpected) == (coverage.total, (), ())
    assert coverage.renamed == (f"prefix {prefix!r} stripped from {len(weights_of(whole))} tensors",)
    if prefix in LOADED:
        detector, loaded = load_detector(folder, 64)
        assert loaded == coverage
        assert_same(detector, exported)


def test_wrappers_within_names_are_stripped_and_said(whole: Path, tmp_path: Path):
    """Only the inner model was compiled, or each device's copy of a part."""
    weights = weights_of(whole)
    inner = [name for name in weights if name.startswith("model.")]
    folder = variant(whole, tmp_path / "x", weights=renamed(lambda n: n.replace("model.", "model._orig_mod.", 1)))
    coverage, _ = measure(folder)
    assert coverage.loaded == coverage.total
    assert coverage.renamed == (f"'module.' or '_orig_mod.' inside of the name stripped from {len(inner)} tensors",)


def test_what_a_trainer_keeps_beside_its_model_has_no_place(whole: Path, exported: Detector, tmp_path: Path):
    """As Lightning writes it."""
    own = {"criterion.empty_weight": torch.ones(3), "val_metric.total": torch.ones(1), "ema_decay": torch.ones(1)}
    folder = variant(whole, tmp_path / "x", weights=lambda w: {f"net.{n}": t for n, t in w.items()} | own)
    detector, coverage = load_detector(folder, 64)
    assert coverage.loaded == coverage.total
    assert coverage.unexpected == tuple(sorted(own))
    assert coverage.renamed == (f"prefix 'net.' stripped from {len(weights_of(whole))} tensors",)
    assert_same(detector, exported)


def test_of_two_models_in_one_file_none_is_chosen(whole: Path, tmp_path: Path):
    def twice(weights: Weights) -> Weights:
        sizes = {"ema": len(weights), "student": len(weights) // 2}
        return {
            f"{part}.{name}": weights[name].clone() for part, count in sizes.items() for name in list(weights)[:count]
        }

    with pytest.raises(CheckpointError, match=r"0 of \d+ tensors") as caught:
        measure(variant(whole, tmp_path / "x", weights=twice))
    assert "'ema.', 'student.'" in caught.value.hint
    assert "one" in caught.value.hint


def test_what_fills_nothing_is_refused_with_names_of_both_sides(whole: Path, tmp_path: Path):
    """It was fine-tuned without a word: 0 of 526 tensors loaded."""
    folder = variant(whole, tmp_path / "x", weights=renamed(lambda name: name.replace(".", ".my_", 1)))
    total = measure(whole)[0].total
    with pytest.raises(CheckpointError, match=f"fits the detector of config.json: 0 of {total} tensors") as caught:
        measure(folder)
    assert "the detector has model." in caught.value.message


def test_what_is_missing_and_what_has_no_place_is_named(whole: Path, tmp_path: Path):
    def change(weights: Weights) -> Weights:
        extra = {"criterion.empty_weight": torch.ones(3), "optimizer.step": torch.ones(1)}
        return without(BOX_HEAD)(weights) | extra

    total = measure(whole)[0].total
    coverage, _ = measure(variant(whole, tmp_path / "x", weights=change))
    assert coverage.missing == tuple(f"{BOX_HEAD}layers.{i}.{part}" for i in range(3) for part in ("bias", "weight"))
    assert coverage.unexpected == ("criterion.empty_weight", "optimizer.step")
    assert (coverage.loaded, coverage.total) == (total - 6, total)
    with pytest.raises(PartialCheckpoint) as caught:
        check_coverage(coverage.facts, allow_partial=False, path_pointer="/teachers/big")
    assert (caught.value.code, caught.value.path_pointer) == ("checkpoint_partial", "/teachers/big")
    assert f"{total - 6} of {total} tensors are in the file" in caught.value.message
    assert f"{(total - 6) / total:.1%}" in caught.value.message
    assert '"allow_partial": true' in caught.value.hint
    check_coverage(coverage.facts, allow_partial=True, path_pointer="/teachers/big")


@pytest.mark.parametrize(("loaded", "enough"), [(1000, True), (990, True), (989, False), (1, False)])
def test_one_tensor_in_a_hundred_may_be_missing(loaded: int, enough: bool):
    facts = CoverageFacts.of(1000, tuple(f"t{index}" for index in range(1000 - loaded)), ())
    assert facts.loaded == loaded
    if enough:
        check_coverage(facts, allow_partial=False, path_pointer="")
        return
    with pytest.raises(PartialCheckpoint, match=f"{loaded} of 1000"):
        check_coverage(facts, allow_partial=False, path_pointer="")


def test_long_lists_of_names_are_cut():
    facts = CoverageFacts.of(500, tuple(f"m{index}" for index in range(300)), tuple(f"u{i}" for i in range(70_000)))
    assert (len(facts.missing), len(facts.unexpected), facts.loaded) == (20, 20, 200)
    assert len(facts.model_dump_json()) < 1000
    assert str(facts).startswith("200 of 500 tensors are in the file; missing: m0, m1, m2, m3, m4, ...; not used: u0")


def test_a_class_head_made_anew_does_not_lower_coverage(whole: Path):
    detector, before = load_detector(whole, 64)
    assert with_classes(detector, ("red", "green", "blue"), seed=0).classes == ("red", "green", "blue")
    assert before.facts == measure(whole)[0].facts
    check_coverage(before.facts, allow_partial=False, path_pointer="")


def test_a_shared_head_counts_once(tmp_path: Path):
    detector = tiny_detector("deimv2", classes=2)
    export_folder(detector, tmp_path, (1, 2))
    coverage, _ = measure(tmp_path)
    different = {id(tensor) for tensor in detector.model.state_dict(keep_vars=True).values()}
    assert (coverage.loaded, coverage.missing) == (coverage.total, ())
    assert coverage.total < len(different) <= len(detector.model.state_dict())


# ---- numbers of another type


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("part", ["", "encoder"])
def test_half_precision_is_read_as_what_it_holds(
    whole: Path, exported: Detector, tmp_path: Path, dtype: torch.dtype, part: str
):
    """All of it, or a part."""

    def rounded(name: str, tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() and part in name else tensor

    def change(weights: Weights) -> Weights:
        return {name: rounded(name, tensor) for name, tensor in weights.items()}

    folder = variant(whole, tmp_path / "x", weights=change, config={"dtype": "float16", "torch_dtype": "float16"})
    detector, coverage = load_detector(folder, 64)
    assert coverage.loaded == coverage.total
    assert {tensor.dtype for tensor in detector.model.parameters()} == {torch.float32}
    found = detector.model.state_dict()
    for name, tensor in exported.model.state_dict().items():
        assert torch.equal(found[name], rounded(name, tensor).to(tensor.dtype)), name


@pytest.mark.parametrize(
    ("dtype", "words"), [(torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "whole numbers"), (torch.complex64, "C64")]
)
def test_quantised_weights_are_refused(whole: Path, tmp_path: Path, dtype: torch.dtype, words: str):
    name = f"{BOX_HEAD}layers.0.weight"

    def change(weights: Weights) -> Weights:
        return weights | {name: weights[name].to(dtype)}

    with pytest.raises(CheckpointError, match=words) as caught:
        measure(variant(whole, tmp_path / "x", weights=change))
    assert name in caught.value.message
    assert "32-bit floats" in caught.value.hint


def test_a_tensor_of_another_shape_is_named(whole: Path, tmp_path: Path):
    name = f"{BOX_HEAD}layers.0.bias"
    folder = variant(whole, tmp_path / "x", weights=lambda weights: weights | {name: torch.zeros(5)})
    wanted = list(weights_of(whole)[name].shape)
    with pytest.raises(CheckpointError, match=f"1 tensors have another shape: {name} has .5. for .{wanted[0]}."):
        measure(folder)
