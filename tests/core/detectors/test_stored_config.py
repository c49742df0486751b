"""Configurations as transformers 4 wrote them: the detector is the same, and nothing asks the network."""

import json
import runpy
import socket
import sys
from pathlib import Path
from typing import Any, Never

import pytest
import torch
from transformers import AutoConfig, AutoModelForObjectDetection, PreTrainedModel

from detrdistill.catalog import CATALOG, family_of
from detrdistill.detectors.stored_config import stored_config
from detrdistill.detectors.weights import load_detector, measure, with_classes
from detrdistill.errors import CheckpointError
from detrdistill.export import export_folder
from detrdistill.files.preprocessing import Preprocessing

SMALL: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 5,
    "id2label": {"0": "red", "1": "green"},
    "label2id": {"red": 0, "green": 1},
}
NAMED: dict[str, Any] = {"backbone": "resnet18", "use_timm_backbone": True}
OLD = {
    "4.46": {
        **NAMED,
        "backbone_config": None,
        "backbone_kwargs": {"in_chans": 3, "out_indices": [1, 2, 3, 4]},
        "use_pretrained_backbone": False,
        "torch_dtype": "float32",
        "transformers_version": "4.46.3",
    },
    "4.53": {**NAMED, "use_pretrained_backbone": True, "torch_dtype": "float32", "transformers_version": "4.53.3"},
    "4.57": {**NAMED, "backbone_kwargs": None, "use_pretrained_backbone": True, "dtype": "float32"},
    "4.9": {"backbone": "resnet18", "_num_labels": 91, "classifier_dropout": 0.0, "scale_embedding": False},
    "of the hub": {**NAMED, "_name_or_path": "facebook/detr-resnet-50", "attn_implementation": "sdpa"},
    "a tag of timm": {**NAMED, "backbone": "timm/resnet18.a1_in1k"},
    "numbers of other tools": {**NAMED, "d_model": 32.0, "init_std": 0, "init_xavier_std": 1, "dropout": 0},
    "settings of its outputs": {**NAMED, "return_dict": False, "output_attentions": True, "torchscript": True},
}
FAMILIES = ("detr", "table-transformer", "conditional_detr", "dab-detr", "deformable_detr")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch):
    """Whoever asks the hub whether a repository exists fails at once."""

    def refuse(*_: object) -> Never:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def write(folder: Path, model_type: str, **fields: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, **SMALL, **fields}))
    return folder


def explicit(model_type: str, outputs: list[int], **fields: Any) -> PreTrainedModel:
    """The detector described in today's words."""
    backbone = {
        "model_type": "timm_backbone",
        "backbone": "resnet18",
        "num_channels": 3,
        "features_only": True,
        "use_pretrained_backbone": False,
        "out_indices": outputs,
        **fields,
    }
    known = {key: value for key, value in SMALL.items() if key not in ("id2label", "label2id")}
    torch.manual_seed(0)
    labels = {0: "red", 1: "green"}
    config = AutoConfig.for_model(model_type, **known, id2label=labels, backbone_config=backbone)
    return AutoModelForObjectDetection.from_config(config).eval()


@pytest.mark.parametrize(
    ("model_type", "form"),
    [*(("detr", form) for form in OLD), *((name, "4.46") for name in FAMILIES[1:]), ("deformable_detr", "4.53")],
)
def test_an_old_form_loads_wholly_and_computes_the_same(tmp_path: Path, model_type: str, form: str):
    outputs = [2, 3, 4] if model_type == "deformable_detr" else [1, 2, 3, 4]
    fields = OLD[form]
    if model_type == "deformable_detr" and form == "4.46":
        fields = fields | {"backbone_kwargs": {"in_chans": 3, "out_indices": outputs}}
    reference = explicit(model_type, outputs)
    folder = tmp_path / "x"
    reference.save_pretrained(folder)
    write(folder, model_type, **fields)
    processor = Preprocessing.square(64, normalised=True).to_json("DetrImageProcessor")
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))

    coverage, _ = measure(folder)
    assert (coverage.missing, coverage.unexpected) == ((), ())
    assert coverage.loaded == coverage.total
    detector, loaded = load_detector(folder, 64)
    assert loaded == coverage
    assert detector.classes == ("red", "green")
    pixels = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = detector.model.eval()(pixel_values=pixels), reference(pixel_values=pixels)
    assert torch.allclose(found.logits, expected.logits, atol=1e-6)
    assert torch.allclose(found.pred_boxes, expected.pred_boxes, atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "fields", "expected"),
    [
        ("detr", {}, {"out_indices": [1, 2, 3, 4]}),
        ("detr", {"dilation": True}, {"out_indices": [1, 2, 3, 4], "output_stride": 16}),
        ("detr", {"num_channels": 1}, {"num_channels": 1}),
        ("detr", {"backbone_kwargs": {"in_chans": 4, "pretrained": True}}, {"num_channels": 4}),
        ("detr", {"backbone": None, "use_timm_backbone": None}, {"backbone": "resnet50"}),
        ("detr", {"backbone": "resnet101"}, {"backbone": "resnet101"}),
        ("deformable_detr", {}, {"out_indices": [2, 3, 4]}),
        ("deformable_detr", {"num_feature_levels": 1}, {"out_indices": [4]}),
        ("rt_detr", {"backbone_kwargs": {"out_indices": [2, 3, 4]}}, {"out_indices": [2, 3, 4]}),
    ],
)
def test_a_named_backbone_is_described(
    tmp_path: Path, model_type: str, fields: dict[str, Any], expected: dict[str, Any]
):
    backbone = stored_config(write(tmp_path, model_type, **{**NAMED, **fields})).backbone_config
    assert backbone.model_type == "timm_backbone"
    assert backbone.use_pretrained_backbone is False
    assert {key: getattr(backbone, key) for key in expected} == expected


V4: dict[str, Any] = {
    "_name_or_path": "",
    "add_cross_attention": False,
    "bad_words_ids": None,
    "chunk_size_feed_forward": 0,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False,
    "max_length": 20,
    "output_attentions": False,
    "problem_type": None,
    "pruned_heads": {},
    "return_dict": True,
    "task_specific_params": None,
    "tf_legacy_loss": False,
    "torch_dtype": None,
    "use_bfloat16": False,
}
"""What transformers 4 wrote into every configuration within another."""
RESNET: dict[str, Any] = {
    "model_type": "resnet",
    "depths": [1, 1, 1, 1],
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 16, 16],
    "layer_type": "basic",
    "out_features": ["stage4"],
}


@pytest.mark.parametrize("more", [{}, V4])
def test_a_described_backbone_stays(tmp_path: Path, more: dict[str, Any]):
    """As the revision `no_timm` of facebook/detr-resnet-50, which has null in fields that are no longer optional."""
    given = {"backbone": None, "use_timm_backbone": False, "dilation": None, "backbone_config": {**RESNET, **more}}
    config = stored_config(write(tmp_path, "detr", **given, use_pretrained_backbone=None))
    assert (config.backbone_config.model_type, config.backbone_config.hidden_sizes) == ("resnet", [8, 8, 16, 16])
    assert config.dilation is False
    assert config.id2label == {0: "red", 1: "green"}


def test_weights_of_a_described_backbone_are_not_fetched(tmp_path: Path):
    described = {"model_type": "timm_backbone", "backbone": "timm/resnet18", "use_pretrained_backbone": True}
    config = stored_config(write(tmp_path, "detr", backbone_config=described))
    assert (config.backbone_config.use_pretrained_backbone, config.backbone_config.backbone) == (False, "resnet18")


@pytest.mark.parametrize(
    ("fields", "words", "hint"),
    [
        ({"backbone": "microsoft/resnet-50", "use_timm_backbone": False}, "of another repository", "backbone_config"),
        ({"backbone": "microsoft/resnet-50", "use_timm_backbone": True}, "which timm .* does not have", "newer timm"),
        ({"backbone": "hf-hub:someone/something"}, "which timm .* does not have", "backbone_config"),
        ({"backbone": "local-dir:/etc"}, "which timm .* does not have", "backbone_config"),
        ({"backbone": "../resnet18"}, "which timm .* does not have", "backbone_config"),
        ({"backbone": 18}, "which timm .* does not have", "backbone_config"),
        ({**NAMED, "backbone_kwargs": {"pretrained_cfg": {"url": "x"}}}, "'pretrained_cfg', which cannot", "save it"),
        ({**NAMED, "backbone_kwargs": [1]}, "backbone_kwargs is no object", ""),
        ({"backbone_config": "resnet18"}, "backbone_config is no object", ""),
        ({"backbone_config": {"model_type": "my_net"}}, "model_type 'my_net', which transformers", "newer"),
        ({"backbone_config": {"model_type": "timm_backbone", "backbone": "no"}}, "'no', which timm", "newer timm"),
        ({**NAMED, "dropout": "much"}, "does not describe a detr: .*dropout", "saved with these weights"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_way_out(
    tmp_path: Path, fields: dict[str, Any], words: str, hint: str
):
    with pytest.raises(CheckpointError, match=words) as caught:
        stored_config(write(tmp_path, "detr", **fields))
    assert hint in caught.value.hint


def test_far_more_than_the_file_holds_is_not_built(tmp_path: Path):
    reference = explicit("detr", [1, 2, 3, 4])
    reference.save_pretrained(tmp_path)
    write(tmp_path, "detr", **NAMED, encoder_layers=20, encoder_ffn_dim=131_072)
    processor = Preprocessing.square(64, normalised=True).to_json("DetrImageProcessor")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(CheckpointError, match=r"describes a detector of [\d,]+ parameters, and the weights hold"):
        measure(tmp_path)


CASES = {
    "17-timm-checkpoint-of-transformers-4": (181, "800, longest edge 1333"),
    "23-configs-of-transformers-4.53/detr_r50style_new": (223, "800, longest edge 1333"),
    "23-configs-of-transformers-4.53/conditional_r50style": (257, "800, longest edge 1333"),
    "23-configs-of-transformers-4.53/deformable_sensetime": (238, "800, longest edge 1333"),
    "23-configs-of-transformers-4.53/table_transformer_ms": (225, "800, longest edge 800"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_transformers_4_saved_loads_wholly(
    shared: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
):
    """Configurations and names of tensors of real saves, with random numbers."""
    script = shared / "cases" / "tensors.py"
    if not script.is_file():
        pytest.skip(f"needs {script}")
    monkeypatch.setattr(sys, "argv", [str(script), str(shared / "cases" / case), str(tmp_path)])
    runpy.run_path(str(script))
    total, edges = CASES[case]
    detector, coverage = load_detector(tmp_path, 64)
    assert (coverage.loaded, coverage.total, coverage.unexpected) == (total, total, ())
    assert detector.preprocessing.trained == f"at shortest edge {edges} with the aspect ratio kept"
    config = json.loads((tmp_path / "config.json").read_text())
    assert detector.family == family_of(config["model_type"])
    assert detector.classes == tuple(config["id2label"].values())
    with torch.inference_mode():
        logits = detector.model(pixel_values=torch.rand(1, 3, 64, 96)).logits
    columns = len(detector.classes) + (CATALOG[detector.family].scores == "softmax")
    assert logits.shape == (1, config["num_queries"], columns)
    assert logits.isfinite().all()
    trained = with_classes(detector, ("red", "green", "blue"), seed=0)  # as a student for another dataset
    (tmp_path / "student").mkdir()
    export_folder(trained, tmp_path / "student", (1, 2, 3))
    again, coverage = load_detector(tmp_path / "student", 64)
    assert (again.classes, coverage.loaded) == (("red", "green", "blue"), total)
