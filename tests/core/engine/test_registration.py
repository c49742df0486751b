"""What registration finds out of a folder, what it says, and what it refuses that would fail in every job."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from detrdistill.detectors.weights import load_detector
from detrdistill.engine.registration import check_checkpoint
from detrdistill.engine.teacher import check_teacher
from detrdistill.errors import CheckpointError, TeacherRejected
from detrdistill.events import CocoMetrics, CocoSummary
from detrdistill.export import export_folder
from detrdistill.files.checkpoints import CheckpointFacts, check_coverage
from detrdistill.files.preprocessing import Preprocessing
from tests.support.checkpoints import Weights, in_shards, renamed, variant, weights_of, without
from tests.support.factories import tiny_detector

SIDE = 64
SHORTEST = {"size": {"shortest_edge": 800, "longest_edge": 1333}, "image_processor_type": "DetrImageProcessor"}
CLASSES = {"0": "red", "1": "green"}


# ---- detectors


def test_facts_of_a_sound_detector(whole: Path):
    facts = check_checkpoint(whole)
    assert (facts.kind, facts.family, facts.scores, facts.classes) == (
        "detector", "rt-detr-v2", None, ("class 0", "class 1")
    )  # fmt: skip
    assert (facts.queries, facts.two_stage, facts.decoder_layers, facts.image_size) == (10, False, 2, (192, 192))
    assert facts.parameters == sum(tensor.numel() for tensor in weights_of(whole).values())
    assert facts.coverage is not None
    assert facts.coverage.loaded == facts.coverage.total > 100
    assert facts.warnings == ()


def test_shards_and_prefixes_have_the_facts_of_the_whole(whole: Path, tmp_path: Path):
    folder = in_shards(variant(whole, tmp_path / "x", weights=renamed(lambda name: f"module.{name}")))
    facts, plain = check_checkpoint(folder), check_checkpoint(whole)
    assert facts.coverage is not None
    said = (f"prefix 'module.' stripped from {len(weights_of(whole))} tensors",)
    assert facts.warnings == facts.coverage.renamed == said
    same = {"coverage": None, "warnings": ()}
    assert facts.model_copy(update=same) == plain.model_copy(update=same)


def test_partial_weights_are_kept_and_said(whole: Path, tmp_path: Path):
    facts = check_checkpoint(variant(whole, tmp_path / "x", weights=without("bbox_embed.1.")))
    assert facts.coverage is not None
    loaded, total = facts.coverage.loaded, facts.coverage.total
    assert (total - loaded, len(facts.coverage.missing)) == (6, 6)
    [warning] = facts.warnings
    assert warning.startswith(f"{loaded} of {total} tensors are in the file; missing: model.decoder.bbox_embed.1.")
    assert warning.endswith("what is missing starts at random values. It is taken with allow_partial alone.")
    few = check_checkpoint(variant(whole, tmp_path / "y", weights=without("denoising_class_embed")))
    assert "allow_partial" not in few.warnings[0]
    assert f"{total - 1} of {total} tensors" in few.warnings[0]


def test_tensors_without_a_place_are_said(whole: Path, tmp_path: Path):
    extra = {f"adapter.{index}": torch.ones(1) for index in range(7)}
    facts = check_checkpoint(variant(whole, tmp_path / "x", weights=lambda weights: weights | extra))
    assert facts.coverage is not None
    assert (facts.coverage.loaded, facts.coverage.unexpected) == (facts.coverage.total, tuple(extra))
    first = ", ".join(list(extra)[:5])
    assert facts.warnings == (f"Tensors of the file have no place and are not used: {first} and more.",)


def test_weights_of_another_model_are_refused(whole: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"Nothing in the weights fits .* 0 of \d+ tensors"):
        check_checkpoint(variant(whole, tmp_path / "x", weights=renamed(lambda name: name.replace(".", ".my_", 1))))


def test_a_squashed_detector_is_said_with_both_sizes(whole: Path, tmp_path: Path):
    facts = check_checkpoint(variant(whole, tmp_path / "x", processor=SHORTEST))
    assert facts.image_size is None
    assert facts.warnings == (
        "It was trained at shortest edge 800, longest edge 1333 with the aspect ratio kept; here images are squashed "
        "to 640 x 640. Its AP here can be lower than published; 640 x 640 is what a job takes unless it says "
        "otherwise.",
    )


def test_the_gate_says_that_images_were_squashed(whole: Path, tmp_path: Path):
    read = Preprocessing.read(variant(whole, tmp_path / "x", processor=SHORTEST), 320)
    weak = CocoMetrics(**dict.fromkeys(CocoSummary.model_fields, 0.05), per_class={})
    with pytest.raises(TeacherRejected) as caught:
        check_teacher(weak, 0.1, None, "/config/teacher/min_ap", unlike_training=read.unlike_training)
    assert "trained at shortest edge 800, longest edge 1333" in caught.value.message
    assert "here images are squashed to 320 x 320" in caught.value.message
    assert "cannot be given as in its training yet" in caught.value.hint
    with pytest.raises(TeacherRejected) as caught:
        check_teacher(weak, 0.1, None, "/config/teacher/min_ap")
    assert "squashed" not in str(caught.value)


def test_names_that_several_outputs_have_are_said(whole: Path, tmp_path: Path):
    facts = check_checkpoint(variant(whole, tmp_path / "x", config={"id2label": {"0": "N/A", "1": "N/A"}}))
    assert facts.warnings == (
        "Several outputs have one name: 'N/A' (2 times); a dataset that has it cannot be matched.",
    )


def test_weights_that_are_no_numbers_are_said(whole: Path, tmp_path: Path):
    name = "model.decoder.bbox_embed.1.layers.0.bias"

    def broken(weights: Weights) -> Weights:
        return weights | {name: torch.full_like(weights[name], float("nan"))}

    facts = check_checkpoint(variant(whole, tmp_path / "x", weights=broken))
    assert facts.warnings == (f"1 tensors hold NaN or infinite values: {name}. Such a detector finds nothing.",)


def test_an_input_that_patches_do_not_divide_is_refused(tmp_path: Path):
    folder = tmp_path / "whole"
    folder.mkdir()
    export_folder(tiny_detector("rf-detr", classes=2), folder, (1, 2))
    with pytest.raises(CheckpointError, match="multiple"):
        check_checkpoint(variant(folder, tmp_path / "x", processor={"size": {"height": 101, "width": 101}}))


def test_what_is_missing_is_the_same_each_time_and_draws_no_other_numbers(whole: Path, tmp_path: Path):
    """Else a student and its control, which start from one partial checkpoint, would differ before any training."""
    folder = variant(whole, tmp_path / "x", weights=without("bbox_embed.1."))
    torch.manual_seed(3)
    first, second = (load_detector(folder, SIDE)[0].model.state_dict() for _ in range(2))
    drawn = torch.rand(1)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("name", ["deimv2-atto-coco", "deimv2-femto-coco"])
def test_published_weights_lack_what_their_graph_does_not_have(shared: Path, name: str):
    """Four tensors of 439: above the limit, and said."""
    facts = check_checkpoint(shared / "weights" / name)
    assert facts.coverage is not None
    assert (facts.coverage.loaded, facts.coverage.total, facts.coverage.unexpected) == (435, 439, ())
    missing = tuple(f"model.enc_output.{index}.{part}" for index in range(2) for part in ("bias", "weight"))
    assert facts.coverage.missing == missing
    check_coverage(facts.coverage, allow_partial=False, path_pointer="")
    assert (facts.family, len(facts.classes)) == ("deimv2", 80)
    assert facts.warnings == (
        f"435 of 439 tensors are in the file; missing: {', '.join(missing)}; what is missing starts at random values.",
    )


# ---- black boxes


def onnx_of(logits: np.ndarray, boxes: np.ndarray, *, batch: str | int = "batch") -> bytes:
    """A model that answers these for every image: logits `[Q, C]`, boxes `[Q, 4]`."""
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "nought"], ["none"]),
        helper.make_node("Reshape", ["none", "shape"], ["base"]),
        helper.make_node("Add", ["base", "given_logits"], ["logits"]),
        helper.make_node("Add", ["base", "given_boxes"], ["pred_boxes"]),
    ]
    numbers = {
        "nought": np.zeros((), np.float32),
        "shape": np.array([-1, 1, 1]),
        "given_logits": logits.astype(np.float32)[None],
        "given_boxes": boxes.astype(np.float32)[None],
    }
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *array.shape])
            for name, array in (("logits", logits), ("pred_boxes", boxes))
        ],
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return model.SerializeToString()


def black_box(folder: Path, model: bytes | None = None, *, processor: dict[str, Any] | None = None, **config: Any):
    """Two classes with sigmoid scores, ten queries."""
    sound = onnx_of(np.zeros((10, 2)), np.full((10, 4), 0.5))
    (folder / "model.onnx").write_bytes(sound if model is None else model)
    (folder / "config.json").write_text(json.dumps({"id2label": CLASSES, "scores": "sigmoid"} | config))
    fields = Preprocessing.square(SIDE, normalised=True).to_json("RTDetrImageProcessor") | (processor or {})
    (folder / "preprocessor_config.json").write_text(json.dumps(fields))
    return folder


def test_facts_of_a_sound_model(tmp_path: Path):
    assert check_checkpoint(black_box(tmp_path)) == CheckpointFacts(
        kind="onnx", scores="sigmoid", classes=("red", "green"), image_size=(SIDE, SIDE)
    )


def test_a_squashed_model_is_said_at_the_size_it_has(tmp_path: Path):
    facts = check_checkpoint(black_box(tmp_path, processor=SHORTEST))
    assert facts.image_size == (SIDE, SIDE)
    [warning] = facts.warnings
    assert "trained at shortest edge 800, longest edge 1333" in warning
    assert "squashed to 64 x 64" in warning


BOXES = np.full((10, 4), 0.5)
LOGITS = np.zeros((10, 2))


def spoilt(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array[3, 1] = value
    return array


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (b"", "cannot be loaded"),
        (b"model", "cannot be loaded"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pointer of Git LFS"),
        (b"\x08\x08" + b"\x00" * 5000, "cannot be loaded"),
        (onnx_of(LOGITS, BOXES)[:-200], "cannot be loaded"),
        (onnx_of(spoilt(LOGITS, np.nan), BOXES), "2 of 40 logits that are NaN or infinite"),
        (onnx_of(LOGITS, spoilt(BOXES, np.inf)), "2 of 80 pred_boxes that are NaN or infinite"),
        (onnx_of(LOGITS, 64 * BOXES), r"a pred_boxes of 32; boxes are \(cx, cy, w, h\) in \[0, 1\]"),
        (onnx_of(np.zeros((10, 3)), BOXES), "3 columns of logits; 2 classes with sigmoid scores have 2"),
        (onnx_of(LOGITS, np.zeros((10, 5))), "pred_boxes of the shape"),
        (onnx_of(LOGITS, np.zeros((9, 4))), "pred_boxes of the shape"),
        (onnx_of(np.zeros((0, 2)), np.zeros((0, 4))), "logits of the shape"),
        (onnx_of(LOGITS, BOXES, batch=4), "takes batches of exactly 4"),
    ],
)
def test_a_model_that_would_fail_in_every_job_is_refused(tmp_path: Path, model: bytes, words: str):
    with pytest.raises(CheckpointError, match=words) as caught:
        check_checkpoint(black_box(tmp_path, model))
    assert caught.value.hint
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "processor", "words"),
    [
        ({"id2label": None, "num_labels": -3}, {}, "num_labels is -3"),
        ({"id2label": None, "num_labels": 30_000_000}, {}, "num_labels is 30000000"),
        ({"scores": "logits"}, {}, "what the logits are"),
        ({}, {"do_normalize": True, "image_mean": [float("nan")] * 3}, "is nan; only finite numbers"),
        ({}, {"do_normalize": True, "image_std": [0.0] * 3}, "image_std"),
        ({}, {"size": {"height": 32, "width": 32}}, "takes images of 64 x 64, .* makes them 32 x 32"),
    ],
)
def test_what_stands_beside_a_model_is_checked(
    tmp_path: Path, config: dict[str, Any], processor: dict[str, Any], words: str
):
    with pytest.raises(CheckpointError, match=words):
        check_checkpoint(black_box(tmp_path, processor=processor, **config))


ROW = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "holds no detection"),
        ('{"train": [], "val": []}', "holds no detection"),
        ("{}", "neither a list nor"),
        ("", "not valid JSON"),
        ("null", "neither a list nor"),
        (json.dumps([ROW | {"score": float("nan")}]), "1 of 1 rows are malformed"),
        (json.dumps([ROW | {"score": 50}]), "1 of 1 rows are malformed"),
    ],
)
def test_detections_that_teach_nothing_are_refused(tmp_path: Path, content: str, words: str):
    (tmp_path / "detections.json").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        check_checkpoint(tmp_path)


def test_facts_of_detections(tmp_path: Path):
    (tmp_path / "detections.json").write_text(json.dumps([ROW]))
    assert check_checkpoint(tmp_path) == CheckpointFacts(kind="detections", scores="sigmoid")
