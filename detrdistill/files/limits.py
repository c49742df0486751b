"""How large what a small file says may be: every bound of a checkpoint folder's JSON files, in one place. Torch-free.

A configuration of 40 bytes can ask for a detector of gigabytes. So every number that sizes something is compared with
its bound before anything is built from it.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from detrdistill.errors import CheckpointError

MOST_JSON_BYTES = 8 * 1024**2
MOST_VALUES = 200_000
"""Of one JSON file, those of its lists and objects included."""
MOST_DEPTH = 24
"""Objects and lists within each other."""
MOST_CLASSES = 20_000
"""The largest published detection vocabulary has 13,204."""
LONGEST_CLASS_NAME = 200
LARGEST_SIDE = 4096
"""Height or width of an input, in pixels."""
MOST_LISTED = 10_000
"""Values of one list in a config.json."""
LARGEST_INTEGER = 2**31 - 1
MOST_HEADER_BYTES = 32 * 1024**2
"""Header of a safetensors file."""
MOST_TENSORS = 100_000
LONGEST_TENSOR_NAME = 500
MOST_SHARDS = 1000
MOST_PARAMETERS = 4_000_000_000
"""Elements of all tensors of a detector."""
MOST_DETECTIONS_BYTES = 1024**3
"""Of detections.json."""

_BOUNDS: tuple[tuple[str, int, int], ...] = (
    # fields of config.json at any depth (a regular expression of the whole name), smallest and largest value
    (r"num_labels|num_classes", 1, MOST_CLASSES),
    (r"num_queries|two_stage_num_proposals|num_detection_tokens", 1, 10_000),
    (r"num_denoising|num_patterns|num_register_tokens", 0, 10_000),
    (r"(\w+_)?image_size", 1, LARGEST_SIDE),
    (r"patch_size", 1, 1024),
    (r"d_model|hidden_sizes?|embedding_size|head_dim|query_dim", 1, 16_384),
    (r"\w+_(hidden_dim|channels|inplanes)", 1, 16_384),
    (r"\w+_ffn_dim|intermediate_size", 1, 131_072),
    (r"\w+_heads", 1, 1024),
    (r"(\w+_)?(layers|num_blocks|hidden_layers)|depths", 0, 512),
    (r"num_feature_levels|decoder_n_levels", 0, 16),
    (r"decoder_n_points|encoder_n_points|in_points|out_points|groups|group_detr", 1, 1024),
    (r"num_windows|num_windows_side|max_num_bins|top_prob_values", 1, 4096),
    (r"max_position_embeddings", 1, 2**20),
)


_COMPILED = tuple((re.compile(pattern), low, high) for pattern, low, high in _BOUNDS)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint folder.

    Raises:
        CheckpointError: it cannot be read, is no object, or is larger, deeper or has a larger number than is allowed.
    """
    try:
        size = path.stat().st_size
        if size > MOST_JSON_BYTES:
            raise CheckpointError(f"{path.name} has {size} bytes; at most {MOST_JSON_BYTES} are read.")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path.name} is not valid JSON: {what}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} cannot be read: it is not a JSON object.")
    values = cast("dict[str, Any]", content)
    for place, value in _walk(values, path.name):
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST_INTEGER:
            shown = f"about 2^{value.bit_length()}" if value.bit_length() > 128 else str(value)
            raise CheckpointError(f"{path.name}: {place} is {shown}; integers up to {LARGEST_INTEGER} are read.")
        if isinstance(value, float) and not math.isfinite(value):
            raise CheckpointError(f"{path.name}: {place} is {value}; only finite numbers are read.")
    return values


def refuse_pointer(path: Path) -> None:
    """Refuse what Git leaves in place of a large file that was not fetched.

    Raises:
        CheckpointError: the file is such a pointer.
    """
    with path.open("rb") as file:
        if file.read(24) == b"version https://git-lfs.":
            raise CheckpointError(
                f"{path.name} is a pointer of Git LFS, not the file itself.",
                hint="Fetch the files with `git lfs pull`, then send them again.",
            )


def check_config(config: dict[str, Any], file: str) -> None:
    """Compare every number of a config.json that sizes something with its bound.

    Args:
        config: content of the file.
        file: its name, for messages.

    Raises:
        CheckpointError: with the name of the field, its value and the bound.
    """
    fields = {key: value for key, value in config.items() if key not in ("id2label", "label2id")}
    for place, value in _walk(fields, file):
        if isinstance(value, list) and len(cast("list[Any]", value)) > MOST_LISTED:
            raise CheckpointError(
                f"{file}: {place} lists {len(cast('list[Any]', value))} values; at most {MOST_LISTED} are read."
            )
        name = place.rpartition(".")[2]
        bounds = [(low, high) for pattern, low, high in _COMPILED if pattern.fullmatch(name)]
        for number, (low, high) in ((number, pair) for pair in bounds for number in _numbers(value)):
            if not low <= number <= high:
                raise CheckpointError(
                    f"{file}: {place} is {number}; it must be from {low} to {high}.",
                    hint="Give the config.json that was saved with these weights.",
                )


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of a value: itself, or those of a list of any depth."""
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def _walk(values: dict[str, Any], file: str) -> Iterator[tuple[str, Any]]:
    """Every value with its place, as `backbone_config.depths`; without recursion.

    Raises:
        CheckpointError: there are too many, or they lie too deep.
    """
    waiting: list[tuple[str, Any, int]] = [("", values, 0)]
    count = 0
    while waiting:
        place, value, depth = waiting.pop()
        if place:
            yield place, value
        children: list[tuple[str, Any]] = []
        if isinstance(value, (dict, list)):
            count += len(cast("list[Any]", value))
            if count > MOST_VALUES:
                raise CheckpointError(f"{file} holds more than {MOST_VALUES} values.")
        if isinstance(value, dict):
            found = cast("dict[str, Any]", value).items()
            children = [(f"{place}.{key}" if place else key, item) for key, item in found]
        elif isinstance(value, list):
            children = [(f"{place}[{index}]", item) for index, item in enumerate(cast("list[Any]", value))]
        if children and depth >= MOST_DEPTH:
            raise CheckpointError(f"{file}: {place[:80]} lies more than {MOST_DEPTH} levels deep.")
        waiting += [(where, item, depth + 1) for where, item in children]
