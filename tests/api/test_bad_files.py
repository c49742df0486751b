"""Files of checkpoints and datasets that must be refused, whatever is in them."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import save_file

from detrdistill.errors import CheckpointError, DatasetError
from detrdistill.files.checkpoints import inspect_checkpoint
from detrdistill.files.coco import read_split
from detrdistill.schema.validation import names_fault
from tests.support.problems import assert_problem

pytestmark = [pytest.mark.bad_input, pytest.mark.usefixtures("nothing_is_stored")]


class Evil:
    def __reduce__(self):
        return (print, ("this must never run",))


def checkpoint_files(folder: Path, **changes: bytes | None) -> list[tuple[str, tuple[str, bytes]]]:
    names = {"config_json": "config.json", "weights": "model.safetensors", "preprocessor": "preprocessor_config.json"}
    contents = {name: (folder / name).read_bytes() for name in names.values()}
    contents |= {names[key]: value for key, value in changes.items() if value is not None}
    for key, value in changes.items():
        if value is None:
            del contents[names[key]]
    return [("files", (name, content)) for name, content in contents.items()]


def edited(folder: Path, name: str, **changes: Any) -> bytes:
    return json.dumps(json.loads((folder / name).read_text()) | changes).encode()


def tensors(tmp_path: Path, **values: np.ndarray) -> bytes:
    save_file(values, tmp_path / "x.safetensors")
    return (tmp_path / "x.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t, _: {"config_json": None}, "lacks config.json"),
        (lambda t, _: {"weights": None}, "lacks model.safetensors"),
        (lambda t, _: {"preprocessor": None}, "lacks preprocessor_config.json"),
        (lambda t, _: {"config_json": b"{"}, "not valid JSON"),
        (lambda t, _: {"config_json": b"[]"}, "not a JSON object"),
        (lambda t, _: {"config_json": edited(t, "config.json", model_type="bert")}, "not a supported detector"),
        (lambda t, _: {"config_json": edited(t, "config.json", model_type=None)}, "not a supported detector"),
        (lambda t, _: {"config_json": edited(t, "config.json", auto_map={"AutoModel": "evil.Model"})}, "run code"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label={"0": "a", "2": "b"})}, "id2label"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label=7)}, "id2label"),
        (
            lambda t, _: {"config_json": edited(t, "config.json", id2label={"0": "a", "1": "b", "2": "c"})},
            "names classes for 3 rows",
        ),
        (lambda t, _: {"config_json": edited(t, "config.json", num_queries="many")}, "num_queries"),
        (lambda t, _: {"config_json": edited(t, "config.json", num_queries=2**31)}, "num_queries"),
        (lambda t, _: {"config_json": edited(t, "config.json", num_queries=10**400)}, "num_queries"),
        (lambda t, _: {"config_json": edited(t, "config.json", num_queries=True)}, "num_queries"),
        (lambda t, _: {"config_json": edited(t, "config.json", num_queries=float("inf"))}, "num_queries"),
        (lambda t, _: {"config_json": edited(t, "config.json", decoder_layers=2**63)}, "decoder_layers"),
        (lambda t, _: {"config_json": edited(t, "config.json", d_model=2**31)}, "d_model"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label=None, num_labels=30_000_000)}, "num_labels"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label=None, num_labels=-1)}, "num_labels"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label={"0": "a\x00", "1": "b"})}, "id2label/0"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label={"0": "\ud800", "1": "b"})}, "id2label/0"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label={"0": "x" * 201, "1": "b"})}, "id2label/0"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label={"0": None, "1": "b"})}, "id2label/0"),
        (lambda t, _: {"config_json": edited(t, "config.json", id2label={"9" * 400: "a"})}, "id2label"),
        (lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", size={"height": float("inf")})}, "read"),
        (
            lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", size={"width": 1e400})},
            "preprocessor_config.json",
        ),
        (lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", rescale_factor=float("nan"))}, "rescale"),
        (
            lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", rescale_factor=10**400)},
            "preprocessor_config.json",
        ),
        (
            lambda t, _: {
                "preprocessor": edited(
                    t, "preprocessor_config.json", image_mean=[float("nan"), 0, 0], do_normalize=True
                )
            },
            "finite",
        ),
        (lambda t, _: {"weights": b"not safetensors"}, "not a safetensors file"),
        (lambda t, _: {"weights": pickle.dumps(Evil())}, "not a safetensors file"),
        (lambda t, _: {"weights": b"\xff" * 8 + b"{}"}, "not a safetensors file"),
        (
            lambda t, p: {"weights": tensors(p, **{"backbone.conv1.weight": np.zeros((2, 2), np.float32)})},
            "no classification head",
        ),
        (lambda t, p: {"weights": tensors(p, **{"class_embed.0.bias": np.zeros((), np.float32)})}, "has the shape"),
        (lambda t, _: {"preprocessor": b"7"}, "cannot be read"),
        (
            lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", size={"height": "tall"})},
            "cannot be read",
        ),
        (
            lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", size={"height": 10**9, "width": 1})},
            "no usable input size",
        ),
        (lambda t, _: {"preprocessor": edited(t, "preprocessor_config.json", resample=99)}, "resample"),
        (
            lambda t, _: {
                "preprocessor": edited(t, "preprocessor_config.json", image_std=[0, 1, 1], do_normalize=True)
            },
            "image_std",
        ),
    ],
)
def test_a_wrong_checkpoint_is_refused(
    client: TestClient, teacher_folder: Path, tmp_path: Path, spoil: Any, words: str
):
    files = checkpoint_files(teacher_folder, **spoil(teacher_folder, tmp_path))
    problem = assert_problem(client.post("/checkpoints", data={"name": "wrong"}, files=files), 422, "/files")
    assert words in problem["detail"]
    assert problem["code"] == "checkpoint_invalid"


STRANGE = [
    float("nan"), float("inf"), -0.0, 10**400, 2**31, 2**63, -1, 0, True, None, "", "\x00", "\ud800", "x" * 5000,
    [], [[]], {}, {"\ud800": "\x00"}, [float("nan")],
]  # fmt: skip


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_no_value_in_a_checkpoints_files_is_an_unexpected_error(teacher_folder: Path, tmp_path: Path, name: str):
    """What is taken can be stored: texts, whole numbers of 32 bits."""
    folder = shutil.copytree(teacher_folder, tmp_path / "teacher")
    document = json.loads((folder / name).read_text())
    read = {"model_type", "id2label", "num_labels", "two_stage", "two_stage_num_proposals", "num_queries", "d_model",
            "decoder_layers", "auto_map", "architectures"}  # fmt: skip
    for key in read if name == "config.json" else document:
        for value in STRANGE:
            (folder / name).write_text(json.dumps(document | {key: value}))
            try:
                card = inspect_checkpoint(folder)
            except CheckpointError:
                continue
            assert names_fault(card.classes) is None
            assert all(0 < number < 2**31 for number in (card.queries, card.decoder_layers, card.width)), (key, value)
            assert all(0 <= side <= 4096 for side in card.image_size or ()), (key, value)


def test_no_value_in_annotations_is_an_unexpected_error(rectangles: Path, tmp_path: Path):
    root = shutil.copytree(rectangles, tmp_path / "set")
    document = json.loads((root / "train.json").read_text())
    for part in ("images", "annotations", "categories"):
        for key in document[part][0]:
            for value in STRANGE:
                changed = document | {part: [document[part][0] | {key: value}, *document[part][1:]]}
                (root / "train.json").write_text(json.dumps(changed))
                try:
                    split = read_split(root, "train", check_files=True)
                except DatasetError:
                    continue
                assert names_fault(split.classes) is None, (part, key, value)
                json.dumps(split.warnings, ensure_ascii=False).encode()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.pt", "checkpoint.ckpt", "weights.pkl"])
def test_a_pickle_is_refused_unopened(
    client: TestClient, teacher_folder: Path, name: str, capfd: pytest.CaptureFixture
):
    files = [
        ("files", (name, pickle.dumps(Evil()))),
        ("files", ("config.json", (teacher_folder / "config.json").read_bytes())),
    ]
    problem = assert_problem(client.post("/checkpoints", data={"name": "evil"}, files=files), 422, "/files")
    assert "any code" in problem["detail"]
    assert "save_pretrained" in problem["errors"][0]["hint"]
    assert "this must never run" not in capfd.readouterr().out


def test_files_of_another_kind_or_two_of_one_name_are_refused(client: TestClient):
    for files in (
        [("files", ("model.exe", b"MZ"))],
        [("files", ("config.json", b"{}")), ("files", ("a/config.json", b"{}"))],
        [("files", (".safetensors", b""))],
    ):
        assert_problem(client.post("/checkpoints", data={"name": "wrong"}, files=files), 422, "/files")
