"""What is read from the headers and JSON files of a checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from detrdistill.detectors.detector import Detector
from detrdistill.detectors.weights import load_detector, measure
from detrdistill.errors import CheckpointError
from detrdistill.files import checkpoints
from detrdistill.files.checkpoints import (
    CoverageFacts,
    class_names,
    inspect_checkpoint,
    read_config,
    repeated_names,
    tensor_shapes,
    weight_files,
)
from tests.support.checkpoints import DROPPED, SHARDS, assert_same, in_shards, variant, write_index

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


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "best.safetensors", "model.fp16.safetensors"])
def test_weights_of_another_name_are_told_theirs(whole: Path, tmp_path: Path, name: str):
    folder = variant(whole, tmp_path / "x")
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(CheckpointError, match=r"lacks model\.safetensors; it holds .*safetensors") as caught:
        inspect_checkpoint(folder)
    assert (
        caught.value.hint
        == "Call the weights model.safetensors, or send model.safetensors.index.json together with its shards."
    )


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


def test_a_pointer_of_git_lfs_is_called_so(whole: Path, tmp_path: Path):
    folder = variant(whole, tmp_path / "x")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (folder / "model.safetensors").write_text(pointer)
    with pytest.raises(CheckpointError, match="pointer of Git LFS, not the file itself") as caught:
        inspect_checkpoint(folder)
    assert "git lfs pull" in caught.value.hint


@pytest.mark.parametrize("name", ["x" * 501, "a\x00b", "a\nb", "x" * 10**6])
def test_names_of_tensors_are_bounded(whole: Path, tmp_path: Path, name: str):
    folder = variant(whole, tmp_path / "x", weights=lambda weights: weights | {name: torch.zeros(1)})
    with pytest.raises(CheckpointError, match="that is no usable name") as caught:
        inspect_checkpoint(folder)
    assert len(caught.value.message) < 200


def test_what_was_renamed_is_bounded():
    changes = tuple(f"prefix {'module.' * count!r} stripped from 1 tensors" for count in range(500))
    assert len(CoverageFacts.of(500, (), (), changes).renamed) == 20


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


def test_num_labels_does_not_outvote_id2label(whole: Path, tmp_path: Path):
    """Transformers takes LABEL_0, ... where the two differ; the weights have as many rows as there are names."""
    folder = variant(whole, tmp_path / "x", config={"num_labels": 5})
    detector, coverage = load_detector(folder, 64)
    assert detector.classes == inspect_checkpoint(folder).classes == ("class 0", "class 1")
    assert coverage.loaded == coverage.total


def test_rows_without_names_are_refused(whole: Path, tmp_path: Path):
    for name, config in enumerate([{"id2label": {"0": "a"}}, {"id2label": DROPPED, "num_labels": 5}]):
        with pytest.raises(CheckpointError, match=r"names classes for [15] rows but .* has the shape \[2"):
            inspect_checkpoint(variant(whole, tmp_path / str(name), config=config))
