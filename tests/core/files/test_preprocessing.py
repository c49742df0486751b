"""Files of image processors, read as `AutoImageProcessor` reads them: compared by pixels where it resizes as we do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from transformers import AutoImageProcessor

from detrdistill.data.transforms import DetectorInput
from detrdistill.errors import CheckpointError
from detrdistill.files.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

SIDE = 64
BASE: dict[str, Any] = {
    "image_processor_type": "RTDetrImageProcessor",
    "do_resize": True,
    "size": {"height": 96, "width": 80},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": False,
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "do_pad": False,
}
OLD: dict[str, Any] = {
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "DetrFeatureExtractor",
    "format": "coco_detection",
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "max_size": 1333,
    "size": 800,
}
"""As DETR, Conditional DETR, Deformable DETR and YOLOS wrote it until transformers 4.25."""
KEPT = "with the aspect ratio kept"
SHORTEST = f"at shortest edge 800, longest edge 1333 {KEPT}"


def write(folder: Path, values: object, *, model_type: str = "rt_detr_v2", nested: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    name = "processor_config.json" if nested else "preprocessor_config.json"
    (folder / name).write_text(json.dumps({"image_processor": values} if nested else values))
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def pixels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8)


def seen_by_us(read: Preprocessing) -> torch.Tensor:
    layer = DetectorInput(read)
    return layer.normalise(layer(tv_tensors.Image(torch.from_numpy(pixels()).permute(2, 0, 1)))[None])


def seen_by_library(folder: Path, read: Preprocessing) -> torch.Tensor:
    """What transformers' processor gives, its resize replaced by ours where it keeps the aspect ratio."""
    processor = AutoImageProcessor.from_pretrained(folder)
    override_queries: dict[str, Any] = {"do_pad": False}
    if read.trained:
        override_queries |= {"do_resize": True, "size": {"height": read.height, "width": read.width}}
    return processor(pixels(), return_tensors="pt", **override_queries)["pixel_values"].float()


FIXED = {
    "as saved today": BASE,
    "normalised": BASE | {"do_normalize": True},
    "own mean": BASE | {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]},
    "no rescale": BASE | {"do_rescale": False},
    "no rescale, normalised": BASE
    | {"do_rescale": False, "do_normalize": True, "image_mean": [123.7, 116.3, 103.5], "image_std": [58.4, 57.1, 57.4]},
    "rescale to 0..2": BASE | {"rescale_factor": 1 / 127.5},
    "bicubic": BASE | {"resample": 3},
    "size a list": BASE | {"size": [96, 80]},
    "nothing but a type": {"image_processor_type": "RTDetrImageProcessor"},
    "fast": BASE | {"image_processor_type": "RTDetrImageProcessorFast"},
    "fields of others": BASE | {"crop_size": {"height": 9, "width": 9}, "do_center_crop": None, "processor_class": "x"},
}


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("nested", [False, True])
def test_a_fixed_size_gives_the_pixels_of_the_library(tmp_path: Path, name: str, nested: bool):
    folder = write(tmp_path, FIXED[name], nested=nested)
    read = Preprocessing.read(folder, SIDE)
    expected = seen_by_library(folder, read)
    assert read.trained == read.unlike_training == ""
    found = seen_by_us(read)
    assert found.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    assert torch.allclose(found, expected, atol=2e-5 * scale), float((found - expected).abs().max())


MEANT = {
    "floats": (BASE | {"size": {"height": 96.0, "width": 80.0}}, BASE),
    "size with nulls": (BASE | {"size": BASE["size"] | {"shortest_edge": None, "longest_edge": None}}, BASE),
    "mean null": (BASE | {"do_normalize": True, "image_mean": None, "image_std": None}, BASE | {"do_normalize": True}),
    "one mean": (
        BASE | {"do_normalize": True, "image_mean": 0.5, "image_std": 0.25},
        BASE | {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3},
    ),
    "null fields": (BASE | dict.fromkeys(("do_normalize", "resample", "do_rescale", "do_resize")), BASE),
    "no size": (BASE | {"size": None}, BASE | {"size": {"height": 640, "width": 640}}),
    "nothing at all": ({}, BASE | {"size": {"height": 640, "width": 640}}),
    "a name for a number": (BASE | {"resample": "PILImageResampling.BICUBIC"}, BASE | {"resample": 3}),
}
"""What transformers took until version 4, or writes in another place, and today's refuses."""


@pytest.mark.parametrize("name", MEANT)
def test_what_is_meant_is_read_where_the_library_gives_up(tmp_path: Path, name: str):
    written, meant = (write(tmp_path / str(part), values) for part, values in enumerate(MEANT[name]))
    read = Preprocessing.read(written, SIDE)
    assert read == Preprocessing.read(meant, SIDE)
    assert read.trained == ""
    assert torch.allclose(seen_by_us(read), seen_by_library(meant, read), atol=2e-5)


KEEPING = {
    "of transformers 4.25": (OLD, "detr", SHORTEST, (800, 1333)),
    "YOLOS of 4.25": (OLD | {"feature_extractor_type": "YolosFeatureExtractor"}, "yolos", SHORTEST, (800, 1333)),
    "size alone": ({"size": 512, "image_processor_type": "DetrImageProcessor"}, "detr",
                   f"at shortest edge 512, longest edge 1333 {KEPT}", (512, 1333)),
    "max_size": (OLD | {"size": 600, "max_size": 1000}, "detr", f"at shortest edge 600, longest edge 1000 {KEPT}",
                 (600, 1000)),
    "an object": (BASE | {"size": {"shortest_edge": 800, "longest_edge": 1333}}, "rt_detr", SHORTEST, (800, 1333)),
    "max_size beside an object": (OLD | {"size": {"shortest_edge": 480, "longest_edge": 640}}, "detr",
                                  f"at shortest edge 480, longest edge 640 {KEPT}", (480, 640)),
    "nothing, of a DETR": ({}, "detr", SHORTEST, (800, 1333)),
    "nothing, of a LW-DETR": ({"do_resize": True}, "lw_detr", SHORTEST, (800, 1333)),
    "Table Transformer": ({"image_processor_type": "DetrImageProcessor",
                           "size": {"shortest_edge": 800, "longest_edge": 800}}, "table-transformer",
                          f"at shortest edge 800, longest edge 800 {KEPT}", (800, 800)),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEPING)
def test_a_size_of_edges_is_read_as_the_library_reads_it(tmp_path: Path, name: str):
    values, model_type, trained, edges = KEEPING[name]
    folder = write(tmp_path, values, model_type=model_type)
    read = Preprocessing.read(folder, SIDE)
    size = AutoImageProcessor.from_pretrained(folder).size
    assert (size["shortest_edge"], size["longest_edge"]) == edges
    assert (read.height, read.width, read.trained) == (SIDE, SIDE, trained)
    assert read.unlike_training == f"It was trained {trained}; here images are squashed to 64 x 64."
    assert torch.allclose(seen_by_us(read), seen_by_library(folder, read), atol=2e-5)


def test_how_a_photograph_is_resized_in_its_training():
    """2048 x 1371 becomes 1195 x 800, and 800 x 536 for a Table Transformer."""
    from transformers import DetrImageProcessor

    for longest, expected in ((1333, (800, 1195)), (800, (536, 800))):
        processor = DetrImageProcessor(size={"shortest_edge": 800, "longest_edge": longest})
        seen = processor(np.zeros((1371, 2048, 3), np.uint8), return_tensors="pt")["pixel_values"]
        assert abs(seen.shape[-2] - expected[0]) <= 1
        assert abs(seen.shape[-1] - expected[1]) <= 1


@pytest.mark.parametrize(
    ("changes", "size", "trained"),
    [
        ({"size": {"max_height": 96, "max_width": 80}}, (96, 80), f"on images fitted into 80 x 96 {KEPT}"),
        ({"size": {"max_height": 96, "max_width": 96}, "do_pad": True, "pad_size": {"height": 96, "width": 96}},
         (96, 96), f"on images fitted into 96 x 96 {KEPT} and padded"),
        ({"size": {"height": 96, "width": 96}, "do_pad": True, "pad_size": {"height": 96, "width": 96}}, (96, 96), ""),
        ({"do_pad": True, "pad_size": None}, (96, 80), ""),
        ({"do_pad": False, "pad_size": {"height": 128, "width": 128}}, (96, 80), ""),
        ({"do_pad": True, "pad_size": {"height": 128, "width": 128}}, (96, 80),
         "on images of 80 x 96 padded to 128 x 128"),
        ({"do_resize": False}, (64, 64), "on images of their own size"),
        ({"size": {"shortest_edge": 480}}, (64, 64), f"at shortest edge 480 {KEPT}"),
        ({"size": 480}, (64, 64), f"at shortest edge 480 {KEPT}"),
    ],
)  # fmt: skip
def test_inputs_that_are_padded_or_not_resized_are_said(
    tmp_path: Path, changes: dict[str, Any], size: tuple[int, int], trained: str
):
    read = Preprocessing.read(write(tmp_path, BASE | changes), SIDE)
    assert (read.height, read.width) == size
    assert read.trained == trained
    assert bool(read.unlike_training) == bool(trained)


def test_an_object_of_another_processor_file_comes_first_as_in_the_library(tmp_path: Path):
    write(tmp_path, BASE)
    folder = write(tmp_path, BASE | {"size": {"height": 32, "width": 48}}, nested=True)
    assert Preprocessing.read(folder, SIDE).height == 32
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 32
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "DetrProcessor"}))
    assert Preprocessing.read(folder, SIDE).height == 96
    assert AutoImageProcessor.from_pretrained(folder).size["height"] == 96


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": {"longest_edge": 800}}, "size has the keys longest_edge"),
        ({"size": {"height": 96}}, "size has the keys height"),
        ({"size": {"side": 96}}, "unknown key 'side'"),
        ({"size": [96, 96, 3]}, "size lists 3 numbers"),
        ({"size": "96"}, "size.shortest_edge is '96'"),
        ({"size": {"height": 96.5, "width": 96}}, "size.height is 96.5"),
        ({"size": {"height": True, "width": 96}}, "size.height is True"),
        ({"size": {"height": 0, "width": 96}}, "size.height 0 is no usable input size"),
        ({"size": {"height": 4097, "width": 96}}, "size.height 4097 is no usable input size"),
        ({"size": 30_000_000}, "size.shortest_edge 30000000 is no usable"),
        ({"resample": 0}, "resample 0 is not supported"),
        ({"resample": "hamming"}, "resample 'hamming' is not supported"),
        ({"do_normalize": True, "image_mean": [float("nan"), 0.0, 0.0]}, "image_mean.0. is nan; only finite"),
        ({"do_normalize": True, "image_mean": [0.5, 0.5]}, r"image_mean is \[0.5, 0.5\]; it needs three values"),
        ({"do_normalize": True, "image_mean": [123.7, 116.3, 103.5]}, "image_mean is .* from 0 to 1"),
        ({"do_normalize": True, "image_std": [0.2, 0.0, 0.2]}, "image_std is"),
        ({"do_normalize": True, "image_std": ["a", "b", "c"]}, "image_std holds 'a', not a number"),
        ({"do_normalize": "yes"}, "do_normalize is 'yes', neither true nor false"),
        ({"rescale_factor": 0}, "rescale_factor 0.0 is not supported"),
        ({"rescale_factor": "1/255"}, "rescale_factor holds '1/255', not a number"),
        ({"auto_map": {"AutoImageProcessor": "x.Y"}}, "run code of its own"),
        ({"do_pad": True, "pad_size": {"height": 128}}, "pad_size.width is None"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_nothing_follows_is_refused_with_field_and_value(
    tmp_path: Path, changes: dict[str, Any], words: str, nested: bool
):
    folder = write(tmp_path, BASE | changes, nested=nested)
    with pytest.raises(CheckpointError, match=words) as caught:
        Preprocessing.read(folder, SIDE)
    assert "'int' object" not in caught.value.message
    assert caught.value.message.startswith("processor_config.json" if nested else "preprocessor_config.json")


@pytest.mark.parametrize("given", [1, "lanczos", "PILImageResampling.LANCZOS"])
def test_the_filter_of_lanczos_is_the_bicubic_one_and_that_is_said(tmp_path: Path, given: Any):
    """As transformers resizes where torchvision has no such filter."""
    read = Preprocessing.read(write(tmp_path, BASE | {"resample": given}), SIDE)
    assert read.bicubic
    assert "filter of Lanczos; here it is the bicubic one" in read.unlike_training
    assert not Preprocessing.read(write(tmp_path, BASE | {"resample": 3}), SIDE).unlike_training


def test_a_folder_without_one_says_so(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json cannot be read: there is none"):
        Preprocessing.read(tmp_path, SIDE)


def test_what_we_write_reads_back_as_it_was(tmp_path: Path):
    for read in (Preprocessing(96, 80, IMAGENET_MEAN, IMAGENET_STD, bicubic=True), Preprocessing(64, 64, None, None)):
        folder = write(tmp_path, read.to_json("DetrImageProcessor"))
        assert Preprocessing.read(folder, SIDE) == read
        assert torch.allclose(seen_by_us(read), seen_by_library(folder, read), atol=2e-5)
