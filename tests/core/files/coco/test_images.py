"""Pixels: the same for training, evaluation, verification and a user's pipeline, or named at registration."""

import io
import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import load_image as load_as_pipelines_do

from detrdistill.data.dataset import read_image
from detrdistill.errors import DatasetError
from detrdistill.files.coco import read_splits
from tests.support.coco_files import read

Box = tuple[int, int, int, int]
RED = (220, 30, 30)
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What makes of an upright image the stored one of each orientation."""


def photograph(seed: int, width: int = 90, height: int = 60) -> tuple[Image.Image, Box]:
    """Grey noise with one red rectangle, off the center."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(90, 160, (height, width, 3), dtype=np.uint8)
    x, y = int(rng.integers(width // 2, width - 21)), int(rng.integers(1, 15))
    pixels[y : y + 12, x : x + 20] = RED
    return Image.fromarray(pixels), (x, y, 20, 12)


def stored(image: Image.Image, orientation: int, suffix: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    turned = image.transpose(TURNS[orientation]) if orientation in TURNS else image
    turned.save(buffer, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF"}[suffix], exif=exif, quality=95)
    return buffer.getvalue()


def late_exif(png: bytes) -> bytes:
    """The EXIF chunk of a PNG moved behind the pixels."""
    start = png.index(b"eXIf") - 4
    length = struct.unpack(">I", png[start : start + 4])[0] + 12
    chunk, rest = png[start : start + length], png[:start] + png[start + length :]
    return rest[:-12] + chunk + rest[-12:]


def write(folder: Path, images: dict[str, tuple[bytes, Box, tuple[Any, Any]]]) -> Path:
    """The same images' worth of both splits; for each file its content, its box and its annotated size."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        entries, rows = [], []
        for number, (name, (content, box, (width, height))) in enumerate(images.items(), start=1):
            (folder / f"{split}_{name}").write_bytes(content + b"\0" * (split == "val" and name.endswith("jpg")))
            entries.append({"id": number, "file_name": f"{split}_{name}", "width": width, "height": height})
            rows.append({"id": number, "image_id": number, "category_id": 1, "bbox": list(box)})
        document = {"images": entries, "annotations": rows, "categories": [{"id": 1, "name": "red"}]}
        (folder / f"{split}.json").write_text(json.dumps(document))
    return folder


def hits(folder: Path) -> int:
    """Boxes whose center is red in what the detectors see."""
    count = 0
    for image in read(folder)["train"].images:
        pixels = read_image(image)
        assert tuple(pixels.shape[-2:]) == (image.height, image.width)
        for x0, y0, x1, y1 in image.boxes_xyxy_px:
            r, g, _ = pixels[:, int(y0 + y1) // 2, int(x0 + x1) // 2].tolist()
            count += r > 180 and g < 80
    return count


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("sizes", ["as shown", "missing"])
def test_images_annotated_as_they_are_shown_are_turned(tmp_path: Path, suffix: str, sizes: str):
    images = {}
    for orientation in range(1, 9):
        shown, box = photograph(orientation)
        size = shown.size if sizes == "as shown" else (None, None)
        images[f"{orientation}.{suffix}"] = (stored(shown, orientation, suffix), box, size)
    folder = write(tmp_path / "data", images)
    assert hits(folder) == 8
    sets = read(folder)
    for image in sets["train"].images:
        seen = np.moveaxis(read_image(image).numpy(), 0, 2)
        assert np.array_equal(seen, np.asarray(load_as_pipelines_do(str(image.path))))
    assert sets["train"].images == read_splits(folder)["train"].images
    turned, open_ones = (warning for warning in sets["train"].warnings)
    told = "" if sizes == "as shown" else " and have no annotated size"
    assert turned.startswith(f"train.json: 4 images are stored turned{told}; their EXIF orientation is applied")
    assert open_ones.startswith("train.json: 3 images have an EXIF orientation that leaves their size as it is; it is")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("sizes", ["as stored", "missing"])
def test_images_annotated_as_they_are_stored_are_not_turned(tmp_path: Path, suffix: str, orientation: int, sizes: str):
    """Where no size is annotated, a box tells that fits only the stored pixels."""
    images = {}
    for seed in range(3):
        shown, (x, y, w, h) = photograph(seed)
        back = shown.transpose(TURNS[orientation])
        marked = Image.new("L", shown.size)
        marked.paste(255, (x, y, x + w, y + h))
        left, top, right, bottom = marked.transpose(TURNS[orientation]).getbbox() or (0, 0, 0, 0)
        box = (left, top, right - left, bottom - top)
        size = back.size if sizes == "as stored" else (None, None)
        images[f"{seed}.{suffix}"] = (stored(shown, orientation, suffix), box, size)
    if sizes == "missing":  # one whose box reaches to the end of the stored pixels
        red = Image.new("RGB", (90, 60), RED)
        images[f"9.{suffix}"] = (stored(red, orientation, suffix), (20, 70, 20, 18), (None, None))
    folder = write(tmp_path / "data", images)
    assert hits(folder) == len(images)
    said = "annotated as they are stored; it is not" if sizes == "as stored" else "not applied, as their boxes ask"
    assert said in read(folder)["train"].warnings[0]


def test_images_without_size_whose_boxes_tell_nothing_are_said(tmp_path: Path):
    images = {"a.jpg": (stored(photograph(0)[0], 6, "jpg"), (30, 30, 20, 12), (None, None))}
    warning = read(write(tmp_path / "d", images))["train"].warnings[0]
    assert "is applied; no box tells whether it should be: 'train_a.jpg'" in warning


def test_sizes_of_stored_pixels_with_boxes_of_the_shown_image_are_mended(tmp_path: Path):
    images = {}
    for seed in range(6):
        shown, box = photograph(seed)
        images[f"{seed}.jpg"] = (stored(shown, 6, "jpg"), box, shown.size[::-1])
    folder = write(tmp_path / "data", images)
    assert hits(folder) == 6
    assert "but boxes fit the image as it is shown" in read(folder)["train"].warnings[0]


def test_images_annotated_as_they_are_stored_stay_so(tmp_path: Path):
    """Mirrored ones follow those whose size tells."""
    images = {}
    for seed, orientation in enumerate((6, 8, 6, 3, 2)):
        sideways, box = photograph(seed, 60, 90)
        back = sideways.transpose(TURNS[orientation])
        undo = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}.get(orientation, TURNS[orientation])
        assert np.array_equal(np.asarray(back.transpose(undo)), np.asarray(sideways))
        images[f"{seed}.png"] = (stored(back.transpose(undo).transpose(undo), orientation, "png"), box, sideways.size)
    folder = write(tmp_path / "data", images)
    assert hits(folder) == 5
    stay, same = read(folder)["train"].warnings
    assert "3 images have an EXIF orientation, but are annotated as they are stored; it is not applied" in stay
    assert "2 images have an EXIF orientation that leaves their size as it is; it is not applied" in same


def test_a_tag_behind_the_pixels_of_a_png_is_found(tmp_path: Path):
    shown, box = photograph(1)
    content = late_exif(stored(shown, 6, "png"))
    folder = write(
        tmp_path / "data", {"a.png": (content, box, shown.size), "b.png": (stored(shown, 1, "png"), box, shown.size)}
    )
    assert hits(folder) == 2
    assert read_splits(folder)["train"].images == read(folder)["train"].images


def test_a_size_that_is_neither_is_refused_with_both(tmp_path: Path):
    shown, box = photograph(1)
    folder = write(tmp_path / "data", {"a.jpg": (stored(shown, 6, "jpg"), box, (91, 60))})
    with pytest.raises(DatasetError, match=r"/images/0\) is 60x90 \(90x60 as it is shown\), annotated as 91x60"):
        read(folder)
    folder = write(tmp_path / "data", {"a.jpg": (stored(shown, 1, "jpg"), box, (60, 90))})
    with pytest.raises(DatasetError, match=r"annotated as 60x90, width and height are swapped"):
        read(folder)


# ---- kinds


def grey_set(folder: Path, values: "np.ndarray", suffix: str, mode: str | None = None) -> Path:
    buffer = io.BytesIO()
    image = Image.fromarray(values)
    image = image if mode is None else image.convert(mode)
    image.save(buffer, {"png": "PNG", "tif": "TIFF"}[suffix])
    height, width = values.shape
    return write(folder, {f"a.{suffix}": (buffer.getvalue(), (2, 2, 10, 10), (width, height))})


GREY = np.asarray(photograph(0)[0].convert("L"))
DEEP: dict[str, tuple[Any, str]] = {
    "16 bits": ((GREY.astype(np.uint16) * 257), "png"),
    "12 bits": ((GREY.astype(np.uint16) * 16), "png"),
    "10 bits": ((GREY.astype(np.uint16) * 4), "tif"),
    "16 bits, TIFF": ((GREY.astype(np.uint16) * 257), "tif"),
    "16 bits, big endian": ((GREY.astype(">u2") * 257).astype(">u2"), "tif"),
    "8 bits in 16": (GREY.astype(np.uint16), "png"),
    "16 bits in 32": ((GREY.astype(np.int32) * 257), "tif"),
    "fractions": ((GREY / 255).astype(np.float32), "tif"),
    "floats up to 255": (GREY.astype(np.float32), "tif"),
    "floats of 16 bits": ((GREY * 257.0).astype(np.float32), "tif"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_8_bits_are_scaled_by_the_stated_rule(tmp_path: Path, kind: str):
    values, suffix = DEEP[kind]
    sets = read(grey_set(tmp_path / "data", values, suffix))
    pixels = read_image(sets["train"].images[0])
    assert np.abs(pixels[0].numpy().astype(int) - GREY).max() <= 1
    assert torch.equal(pixels[0], pixels[2])
    assert "1 images have more than 8 bits" in sets["train"].warnings[0]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (np.full((40, 40), -1.5, np.float32), "mode F with values from -1.5"),
        (np.full((40, 40), np.nan, np.float32), "mode F with values from nan"),
        (np.full((40, 40), np.inf, np.float32), "mode F with values from inf"),
        (np.full((40, 40), -7, np.int32), "mode I with values from -7"),
    ],
)
def test_values_without_a_rule_are_refused_with_their_mode(tmp_path: Path, values: Any, complaint: str):
    with pytest.raises(DatasetError, match=complaint):
        read(grey_set(tmp_path / "data", values, "tif"))


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "CMYK": ("CMYK", "JPEG", {"quality": 100}),
    "RGBA": ("RGBA", "PNG", {}),
    "palette": ("P", "PNG", {"transparency": 0}),
    "grey": ("L", "PNG", {}),
    "grey with alpha": ("LA", "PNG", {}),
    "one bit": ("1", "PNG", {}),
    "GIF": ("P", "GIF", {}),
    "BMP": ("RGB", "BMP", {}),
    "PPM": ("RGB", "PPM", {}),
    "MPO": ("RGB", "MPO", {"quality": 100, "subsampling": 0, "save_all": True, "append_images": [GREY]}),
    "pages": ("RGB", "TIFF", {"save_all": True, "append_images": [GREY]}),
    "frames": ("RGB", "WEBP", {"save_all": True, "append_images": [GREY], "lossless": True}),
    "several frames of a GIF": ("P", "GIF", {"save_all": True, "append_images": [GREY]}),
    "APNG": ("RGB", "PNG", {"save_all": True, "append_images": [GREY]}),
    "CMYK TIFF": ("CMYK", "TIFF", {}),
    "YCbCr TIFF": ("YCbCr", "TIFF", {}),
}


@pytest.mark.parametrize("suffix", ["jpg", "jfif"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_becomes_rgb_whatever_its_name(tmp_path: Path, kind: str, suffix: str):
    mode, form, options = KINDS[kind]
    image, box = photograph(3)
    if "append_images" in options:
        options = options | {"append_images": [image.rotate(90).convert(mode)]}
    buffer = io.BytesIO()
    converted = image.convert(mode)
    if kind == "RGBA":
        converted.putalpha(128)
    converted.save(buffer, form, **options)
    sets = read(write(tmp_path / "data", {f"a.{suffix}": (buffer.getvalue(), box, image.size)}))
    seen = np.moveaxis(read_image(sets["train"].images[0]).numpy(), 0, 2).astype(int)
    wanted = np.asarray(image.convert(mode).convert("RGB")).astype(int)
    assert np.abs(seen - wanted).mean() < 3
    assert len([w for w in sets["train"].warnings if "pages or frames; the first is taken" in w]) == (
        kind in ("pages", "frames", "several frames of a GIF", "APNG")
    )


# ---- damage


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("cut", [1, 20, 0.5])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, suffix: str, cut: float):
    image, box = photograph(0)
    content = stored(image, 1, suffix)
    kept = content[: -int(cut)] if cut >= 1 else content[: int(len(content) * cut)]
    sound = (stored(photograph(1)[0], 1, suffix), box, image.size)
    if suffix == "png" and cut == 1:
        kept = content[:-13]  # the last chunk says nothing of the pixels
    folder = write(tmp_path / "data", {f"a.{suffix}": sound, f"b.{suffix}": (kept, box, image.size)})
    for path in folder.glob(f"val_*.{suffix}"):
        path.write_bytes(path.read_bytes() if path.name.startswith("val_a") else sound[0])
    try:
        Image.open(io.BytesIO(kept)).convert("RGB")
    except (OSError, SyntaxError):
        with pytest.raises(
            DatasetError, match=rf"train.json: 1 image files cannot be used: 'train_b.{suffix}' \(/images/1\)"
        ):
            read(folder)
    else:
        assert read(folder)["train"].images[1].path.name == f"train_b.{suffix}", "what can be decoded is sound"


def test_every_cut_of_a_jpeg_is_found(tmp_path: Path):
    image, box = photograph(0)
    content = stored(image, 1, "jpg")
    folder = write(tmp_path / "data", {"a.jpg": (content, box, image.size)})
    for cut in (1, 2, 3, 7, 20, 100, 1000, len(content) // 2):
        (folder / "train_a.jpg").write_bytes(content[:-cut])
        with pytest.raises(DatasetError, match=r"'train_a.jpg' .*: cut off, its last bytes are missing"):
            read(folder)


def bomb(width: int, height: int) -> bytes:
    """A PNG of one colour: small as a file, huge as an image."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 20_000_000, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("side", [10_000, 30_000, 2**31 - 1])
def test_an_image_of_more_pixels_than_anybody_needs_is_not_decoded(tmp_path: Path, side: int):
    folder = write(tmp_path / "data", {"a.png": (bomb(side, side), (1, 1, 9, 9), (None, None))})
    with pytest.raises(DatasetError, match=r"'train_a.png' \(/images/0\): .*more than 50000000 pixels"):
        read(folder)


def test_a_file_that_changes_later_is_named(tmp_path: Path):
    image, box = photograph(0)
    folder = write(tmp_path / "data", {"a.jpg": (stored(image, 1, "jpg"), box, image.size)})
    record = read(folder)["train"].images[0]
    record.path.write_bytes(stored(image.resize((30, 20)), 1, "jpg"))
    with pytest.raises(DatasetError, match=r"'train_a.jpg' is 30x20, but was 90x60"):
        read_image(record)
    record.path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"'train_a.jpg' cannot be decoded"):
        read_image(record)


def test_progress_is_told_after_every_image(rectangles: Path):
    calls: list[int] = []
    read_splits(rectangles, check_files=True, on_progress=lambda: calls.append(1))
    assert len(calls) == 18


def test_images_are_decoded_at_150_a_second_on_two_cores(tmp_path: Path):
    """640 x 480 JPEGs of photographic detail. Counted in time of the processor, which is what a busy machine gives."""
    from detrdistill.files.coco.images import look_at_images

    rng = np.random.default_rng(0)
    for number in range(40):
        coarse = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((640, 480)).save(tmp_path / f"{number}.jpg", quality=90)
    start = time.process_time()
    found = look_at_images(sorted(tmp_path.iterdir()), decode=True)
    rate = 2 * len(found) / (time.process_time() - start)
    assert {facts.size for facts in found.values()} == {(640, 480)}
    assert rate > 150, f"{rate:.0f} images a second"
