"""Checkpoint folders in the forms in which people have them."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from detrdistill.detectors.detector import Detector
from detrdistill.files.checkpoints import CONFIG, INDEX, WEIGHTS
from detrdistill.files.preprocessing import FILE_NAME as PREPROCESSOR
from tests.support.uploads import zip_of

Weights = dict[str, Tensor]
DROPPED: Any = ...
"""As the value of a field: leave it out."""
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def weights_of(folder: Path) -> Weights:
    return load_file(folder / WEIGHTS)


def variant(
    source: Path,
    target: Path,
    *,
    weights: Callable[[Weights], Mapping[str, Tensor]] | None = None,
    config: Mapping[str, Any] | None = None,
    processor: Mapping[str, Any] | None = None,
) -> Path:
    """A copy of a checkpoint with other weights, and other fields in its JSON files."""
    shutil.copytree(source, target)
    if weights is not None:
        save_file(dict(weights(weights_of(source))), target / WEIGHTS, metadata={"format": "pt"})
    for name, changes in ((CONFIG, config), (PREPROCESSOR, processor)):
        if changes is not None:
            fields = json.loads((target / name).read_text()) | changes
            (target / name).write_text(json.dumps({key: value for key, value in fields.items() if value is not ...}))
    return target


def renamed(change: Callable[[str], str]) -> Callable[[Weights], Weights]:
    """The same tensors under other names."""
    return lambda weights: {change(name): tensor for name, tensor in weights.items()}


def without(*parts: str) -> Callable[[Weights], Weights]:
    """The tensors whose names have none of these parts."""
    return lambda weights: {name: value for name, value in weights.items() if not any(part in name for part in parts)}


def in_shards(folder: Path, names: Sequence[str] = SHARDS) -> Path:
    """Split the weights of a folder into as many files, with the index that `save_pretrained` writes."""
    weights = weights_of(folder)
    (folder / WEIGHTS).unlink()
    places = {name: names[index * len(names) // len(weights)] for index, name in enumerate(sorted(weights))}
    for shard in names:
        save_file({name: weights[name] for name, place in places.items() if place == shard}, folder / shard)
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    write_index(folder, places, total_size=size)
    return folder


def write_index(folder: Path, weight_map: object, **metadata: object) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))


def assert_same(found: Detector, expected: Detector) -> None:
    weights = found.model.state_dict()
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(weights[name], tensor), name


def upload(client: Any, folder: Path, name: str = "checkpoint") -> Any:
    """The answer to a folder sent as one zip."""
    return client.post("/checkpoints", data={"name": name}, files={"files": (f"{name}.zip", zip_of(folder))})
