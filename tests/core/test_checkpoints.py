"""What is read from a checkpoint's headers, and how completely its weights fill their detector."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detrdistill import checkpoints
from detrdistill.checkpoints import (
    CoverageFacts,
    check_coverage,
    class_names,
    inspect_checkpoint,
    read_config,
    repeated_names,
    tensor_shapes,
    weight_files,
)
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import load_detector, measure, with_classes
from detrdistill.errors import CheckpointError, PartialCheckpoint
from detrdistill.export import export_folder
from tests.support.checkpoints import (
    DROPPED,
    SHARDS,
    Weights,
    in_shards,
    renamed,
    variant,
    weights_of,
    without,
    write_index,
)
from tests.support.factories import tiny_detector

BOX_HEAD = "model.decoder.bbox_embed.1."
"""Of the last of two decoder layers."""


@pytest.fixture(scope="module")
def exported() -> Detector:
    return tiny_detector("rt-detr-v2", classes=2)


@pytest.fixture(scope="module")
def whole(exported: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound checkpoint of two classes."""
    folder = tmp_path_factory.mktemp("whole")
    export_folder(exported, folder, (1, 2))
    return folder


def assert_same(found: Detector, expected: Detector):
    weights = found.model.state_dict()
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(weights[name], tensor), name


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


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_wrappers_put_before_names_is_stripped_and_said(
    whole: Path, exported: Detector, tmp_path: Path, prefix: str
):
    folder = variant(whole, tmp_path / "x", weights=renamed(lambda name: prefix + name))
    coverage, _ = measure(folder)
    assert (coverage.loaded, coverage.missing, coverage.unexpected) == (coverage.total, (), ())
    assert coverage.renamed == (f"prefix {prefix!r} stripped from {len(weights_of(whole))} tensors",)
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


def test_of_two_models_in_one_file_none_is_chosen(whole: Path, tmp_path: Path):
    def twice(weights: Weights) -> Weights:
        return {f"{part}.{name}": value.clone() for part in ("ema", "student") for name, value in weights.items()}

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
        check_coverage(coverage.facts, allow_partial=False, pointer="/teacher_id")
    assert (caught.value.code, caught.value.pointer) == ("checkpoint_partial", "/teacher_id")
    assert f"{total - 6} of {total} tensors are in the file" in caught.value.message
    assert f"{(total - 6) / total:.1%}" in caught.value.message
    assert '"allow_partial": true' in caught.value.hint
    check_coverage(coverage.facts, allow_partial=True, pointer="/teacher_id")


@pytest.mark.parametrize(("loaded", "enough"), [(1000, True), (990, True), (989, False), (1, False)])
def test_one_tensor_in_a_hundred_may_be_missing(loaded: int, enough: bool):
    facts = CoverageFacts.of(1000, tuple(f"t{index}" for index in range(1000 - loaded)), ())
    assert facts.loaded == loaded
    if enough:
        check_coverage(facts, allow_partial=False, pointer="")
        return
    with pytest.raises(PartialCheckpoint, match=f"{loaded} of 1000"):
        check_coverage(facts, allow_partial=False, pointer="")


def test_long_lists_of_names_are_cut():
    facts = CoverageFacts.of(500, tuple(f"m{index}" for index in range(300)), tuple(f"u{i}" for i in range(70_000)))
    assert (len(facts.missing), len(facts.unexpected), facts.loaded) == (20, 20, 200)
    assert len(facts.model_dump_json()) < 1000
    assert str(facts).startswith("200 of 500 tensors are in the file; missing: m0, m1, m2, m3, m4, ...; not used: u0")


def test_a_class_head_made_anew_does_not_lower_coverage(whole: Path):
    detector, before = load_detector(whole, 64)
    assert with_classes(detector, ("red", "green", "blue"), seed=0).classes == ("red", "green", "blue")
    assert before.facts == measure(whole)[0].facts
    check_coverage(before.facts, allow_partial=False, pointer="")


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


# ---- shards


@pytest.mark.parametrize(
    "names", [SHARDS, ("pytorch_model-1.safetensors", "weights_part.B.safetensors", "3.safetensors")]
)
def test_shards_are_one_checkpoint(whole: Path, exported: Detector, tmp_path: Path, names: tuple[str, ...]):
    folder = in_shards(variant(whole, tmp_path / "x"), names)
    assert inspect_checkpoint(folder) == inspect_checkpoint(whole)
    assert [path.name for path in weight_files(folder)] == list(names)
    detector, coverage = load_detector(folder, 64)
    assert coverage == measure(whole)[0]
    assert_same(detector, exported)


def test_a_single_file_comes_before_shards_as_in_transformers(whole: Path, tmp_path: Path):
    folder = variant(whole, tmp_path / "x")
    write_index(folder, {"anything": "missing.safetensors"})
    assert [path.name for path in weight_files(folder)] == ["model.safetensors"]
    assert measure(folder)[0] == measure(whole)[0]


def first(mapping: dict[str, str], **changes: str) -> dict[str, str]:
    name = min(mapping)
    return {changes.get("key", name) if key == name else key: value for key, value in mapping.items()} | {
        key: changes["value"] for key in mapping if key == name and "value" in changes
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: first(m, value="model-00003-of-00002.safetensors"), "which is not there"),
        (lambda m: first(m, value="../secret.safetensors"), "no safetensors file of this folder"),
        (lambda m: first(m, value="/etc/x.safetensors"), "no safetensors file of this folder"),
        (lambda m: first(m, value=".hidden.safetensors"), "no safetensors file of this folder"),
        (lambda m: first(m, value="pytorch_model-00001-of-00002.bin"), "no safetensors file of this folder"),
        (lambda m: m | {"a": 7}, "no safetensors file of this folder"),
        (lambda m: first(m, key="a.stranger"), "the shards differ in 2 tensors: a.stranger, model."),
        (lambda m: {}, "has no weight_map"),
        (lambda m: [], "has no weight_map"),
        (lambda m: {f"t{n}": f"{n}.safetensors" for n in range(1001)}, "names 1001 shards; at most 1000"),
    ],
)
def test_an_index_that_is_wrong_says_where(whole: Path, tmp_path: Path, change: Callable[..., Any], words: str):
    folder = in_shards(variant(whole, tmp_path / "x"))
    index = json.loads((folder / checkpoints.INDEX).read_text())
    write_index(folder, change(index["weight_map"]))
    with pytest.raises(CheckpointError, match=words):
        inspect_checkpoint(folder)


def test_a_tensor_in_two_shards_and_a_link_are_refused(whole: Path, tmp_path: Path):
    folder = in_shards(variant(whole, tmp_path / "x"))
    (folder / SHARDS[1]).write_bytes((folder / SHARDS[0]).read_bytes())
    with pytest.raises(CheckpointError, match="is in two shards"):
        inspect_checkpoint(folder)
    (folder / SHARDS[1]).unlink()
    (folder / SHARDS[1]).symlink_to(whole / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"{SHARDS[1]}, which is not there"):
        inspect_checkpoint(folder)


# ---- bounds


@pytest.mark.parametrize(
    ("bound", "value", "words"),
    [
        ("MOST_HEADER_BYTES", 100, "header has .* bytes, more than 100"),
        ("MOST_TENSORS", 10, "tensors; at most 10"),
        ("MOST_PARAMETERS", 1000, "numbers; at most 1000"),
    ],
)
def test_what_a_header_makes_large_is_bounded(
    whole: Path, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, words: str
):
    monkeypatch.setattr(checkpoints, bound, value)
    with pytest.raises(CheckpointError, match=words):
        tensor_shapes(whole)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id2label": None, "num_labels": 30_000_000}, "num_labels is 30000000; it must be from 1 to 20000"),
        ({"id2label": {str(index): "x" for index in range(20_001)}}, "id2label has 20001 classes"),
        ({"num_queries": 10_001}, "num_queries is 10001; it must be from 1 to 10000"),
        ({"encoder_ffn_dim": 10**9}, "encoder_ffn_dim is 1000000000"),
        ({"decoder_layers": 513}, "decoder_layers is 513"),
        ({"decoder_attention_heads": 0}, "decoder_attention_heads is 0"),
        ({"encoder_in_channels": [128, 10**6]}, "encoder_in_channels is 1000000"),
        ({"backbone_config": {"hidden_sizes": [64, 1 << 20]}}, "backbone_config.hidden_sizes is 1048576"),
        ({"backbone_config": {"depths": [10**6]}}, "backbone_config.depths is 1000000"),
        ({"anything": [0] * 10_001}, "anything lists 10001 values"),
        ({"anything": 2**31}, "anything is 2147483648; integers up to 2147483647"),
        ({"anything": [0.5, 1e999]}, "anything.1. is inf; only finite numbers"),
        ({"auto_map": {"AutoConfig": "x.Y"}}, "run code of its own"),
        ({"backbone_config": {"auto_map": {"AutoConfig": "x.Y"}}}, "run code of its own"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantised weights"),
        ({"transformers_weights": "/etc/passwd"}, "another file of weights"),
    ],
)
def test_numbers_that_size_something_are_bounded(tmp_path: Path, fields: dict[str, Any], words: str):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rt_detr_v2"} | fields))
    with pytest.raises(CheckpointError, match=words):
        class_names(read_config(tmp_path / "config.json"))


def test_json_that_is_too_much_is_refused(tmp_path: Path):
    path = tmp_path / "config.json"
    for content, words in [
        (b'{"a": ' + b"[" * 30 + b"]" * 30 + b"}", "levels deep"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not valid JSON"),
        (b'{"a": [' + b"0," * 250_000 + b"0]}", "more than 200000 values"),
        (b'{"id2label": {' + b",".join(b'"%d": "x"' % n for n in range(250_000)) + b"}}", "more than 200000 values"),
        (b'{"a": "' + b"x" * (8 * 1024**2) + b'"}', "at most 8388608 are read"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words):
            read_config(path)


# ---- class names


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {"0": "red", "1": "green"}}, ("red", "green")),
        ({"id2label": {"1": "green", "0": "red"}}, ("red", "green")),
        ({"id2label": {0: "red", 1: "green"}}, ("red", "green")),
        ({"id2label": {"0": "red", "1": "green"}, "num_labels": 91}, ("red", "green")),
        ({"id2label": {"0": "N/A", "1": "person", "2": "N/A"}}, ("N/A", "person", "N/A")),
        ({"id2label": {"0": "Füße", "1": "人"}}, ("Füße", "人")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": None, "num_labels": 1}, ("LABEL_0",)),
        ({}, ("LABEL_0", "LABEL_1")),
    ],
)
def test_class_names_by_output(config: dict[str, Any], names: tuple[str, ...]):
    assert class_names(config) == names


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"id2label": {"1": "red", "2": "green"}}, "names output 2 and not output 0"),
        ({"id2label": {"0": "red", "2": "green"}}, "names output 2 and not output 1"),
        ({"id2label": {"red": 0, "green": 1}}, "keyed by output index, and 'red' is none"),
        ({"id2label": ["red", "green"]}, r"is \['red', 'green'\]"),
        ({"id2label": "red"}, "is 'red'"),
        ({"id2label": {}}, "has 0 classes"),
        ({"id2label": {"0": ""}}, "id2label/0 is ''"),
        ({"id2label": {"0": " \t"}}, "id2label/0"),
        ({"id2label": {"0": "red", "1": 1}}, "id2label/1 is 1,"),
        ({"id2label": {"0": "a\nb"}}, "id2label/0"),
        ({"id2label": {"0": "x" * 201}}, "id2label/0"),
        ({"id2label": {"0": "red", "00": "green"}}, "names output 0 twice"),
        ({"num_labels": -1}, "num_labels is -1"),
        ({"num_labels": True}, "num_labels is True"),
        ({"num_labels": 2.0}, "num_labels is 2.0"),
    ],
)
def test_class_names_that_are_none_say_which(config: dict[str, Any], words: str):
    with pytest.raises(CheckpointError, match=words) as caught:
        class_names(config)
    assert caught.value.hint


def test_names_that_several_outputs_have():
    assert repeated_names(("N/A", "person", "N/A", "cat")) == {"N/A": 2}


@pytest.mark.parametrize("count", [5, 1])
def test_num_labels_does_not_outvote_id2label(whole: Path, tmp_path: Path, count: int):
    """Transformers takes LABEL_0, ... where the two differ; the weights have as many rows as there are names."""
    folder = variant(whole, tmp_path / "x", config={"num_labels": count})
    detector, coverage = load_detector(folder, 64)
    assert detector.classes == inspect_checkpoint(folder).classes == ("class 0", "class 1")
    assert coverage.loaded == coverage.total


def test_rows_without_names_are_refused(whole: Path, tmp_path: Path):
    for name, config in enumerate([{"id2label": {"0": "a"}}, {"id2label": DROPPED, "num_labels": 5}]):
        with pytest.raises(CheckpointError, match=r"names classes for [15] rows but .* has the shape \[2"):
            inspect_checkpoint(variant(whole, tmp_path / str(name), config=config))
