"""Files that are no image, or not the image they seem to be: what they are is said."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detrdistill.errors import DatasetError
from tests.support.coco_files import each, read, spoilt, warnings

CONTENTS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty (0 bytes)"),
    "zeros of a broken copy": (bytes(5000), "nothing but zeros in its first 512 bytes"),
    "a page that says 404": (b"\n<!DOCTYPE html><html>gone", "a web page; download it again"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    "an iPhone's photo": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file; convert it to JPEG or PNG"),
    "AVIF": (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF file; convert it"),
    "a film": (b"\0\0\0\x18ftypisom\0\0\0\0", "a video or an unknown file; convert it"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    "DICOM": (bytes(127) + b"\1DICM", "a DICOM file"),
    "an archive": (b"PK\x03\x04abcd", "a zip archive; unpack it"),
    "an answer of a server": (b'{"error": 404}', """a text file that begins with '{"error": 404}'"""),
    "a TIFF without its end": (b"II*\0\x08\x10\0\0", "a TIFF file that cannot be read; it is damaged, cut off"),
    "something else": (b"\x01\x02\xff\xfe", "not a readable image (JPEG, PNG"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_file_that_is_no_image_is_called_by_its_name(rectangles: Path, tmp_path: Path, kind: str):
    content, words = CONTENTS[kind]
    folder = spoilt(rectangles, tmp_path / "data")
    (folder / "images" / "train_3.png").write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read(folder)
    assert f"train.json: 1 image files cannot be used: 'train_3.png' (/images/2): {words}" in caught.value.message


def test_files_of_a_kind_that_is_not_taken_are_missed_for_that(rectangles: Path, tmp_path: Path):
    """An upload leaves them out, so that they are not there."""
    rename = each("images", lambda item: item.update(file_name=item["file_name"].replace(".png", ".HEIC")))
    folder = spoilt(rectangles, tmp_path / "data", rename)
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="name a file that is not there") as caught:
        read(folder)
    assert "Files that end in '.heic' are not taken; convert them" in caught.value.hint


@pytest.mark.parametrize("rows", [0, 1, 40, 63, 64])
def test_a_png_that_ends_in_order_but_early_is_named(rectangles: Path, tmp_path: Path, rows: int):
    folder = spoilt(rectangles, tmp_path / "data")
    path = folder / "images" / "train_3.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[-1] = 0  # a black row alone is no damage
    path.write_bytes(png_of(pixels, bits=8, rows=rows))
    if rows == 64:
        assert len(read(folder)["train"].images) == 12
        return
    with pytest.raises(DatasetError, match=r"'train_3.png' \(/images/2\): cut off, its last"):
        read(folder)


def png_of(pixels: "np.ndarray", bits: int, rows: int | None = None) -> bytes:
    """Pillow reads colours of 16 bits, but does not write them; nor does it leave out rows."""
    height, width, _ = pixels.shape
    data = b"".join(b"\0" + row.astype(">u2" if bits == 16 else ">u1").tobytes() for row in pixels[:rows])
    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def with_colours_of_16_bits(rectangles: Path, folder: Path, scale: int, only: str = "*") -> Path:
    spoilt(rectangles, folder)
    for path in (folder / "images").glob(only):
        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes()))).astype(np.uint16)
        path.write_bytes(png_of(pixels * scale, bits=16))
    return folder


def test_colours_of_16_bits_keep_their_upper_half_and_that_is_said(rectangles: Path, tmp_path: Path):
    from detrdistill.files.coco import load_image

    sets = read(with_colours_of_16_bits(rectangles, tmp_path / "data", 257))
    assert [w.partition(": '")[0] for w in warnings(sets)] == [
        "train.json: 12 images have colours of 16 bits; the upper 8 bits are taken",
        "val.json: 6 images have colours of 16 bits; the upper 8 bits are taken",
    ]
    original = read(rectangles)["train"].images[0]
    assert load_image(sets["train"].images[0]).tobytes() == load_image(original).tobytes()


@pytest.mark.parametrize("scale", [1, 4, 16], ids=["8 bits in 16", "10 bits", "12 bits"])
def test_colours_that_would_be_black_are_refused(rectangles: Path, tmp_path: Path, scale: int):
    with pytest.raises(DatasetError, match=r"12 images have colours of 16 bits \(mode RGB\), but use 14 or fewer"):
        read(with_colours_of_16_bits(rectangles, tmp_path / "data", scale))


def test_one_dark_image_of_many_is_no_reason_to_refuse(rectangles: Path, tmp_path: Path):
    folder = with_colours_of_16_bits(rectangles, tmp_path / "data", 257)
    (folder / "images" / "train_1.png").write_bytes(png_of(np.zeros((64, 64, 3), np.uint16), bits=16))
    assert len(read(folder)["train"].images) == 12


CUTS = ["cut in half", "without its end", "zeros to its end"]


@pytest.mark.parametrize("kind", CUTS)
def test_a_damaged_progressive_jpeg_is_named(rectangles: Path, tmp_path: Path, kind: str):
    folder = spoilt(rectangles, tmp_path / "data")
    path = folder / "images" / "train_3.png"
    buffer = io.BytesIO()
    Image.open(path).resize((640, 640)).save(buffer, "JPEG", progressive=True, quality=90)
    content = bytearray(buffer.getvalue())
    half = len(content) // 2
    match kind:
        case "cut in half":
            content = content[:half]
        case "without its end":
            content = content[:-100]
        case _:
            content[half:] = bytes(len(content) - half)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"'train_3.png' \(/images/2\): (cut off|damaged)"):
        read(folder)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_jpeg_of_which_a_part_was_overwritten_is_named(
    rectangles: Path, tmp_path: Path, options: dict[str, Any], place: float
):
    folder = spoilt(rectangles, tmp_path / "data", each("images", lambda item: item.update(width=None, height=None)))
    path = folder / "images" / "train_3.png"
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG", quality=90, **options)
    content = bytearray(buffer.getvalue())
    path.write_bytes(content)
    assert len(read(folder)["train"].images) == 12, "sound"
    start = int(place * len(content))
    content[start : start + 4096] = np.random.default_rng(1).bytes(4096)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"'train_3.png' \(/images/2\): damaged"):
        read(folder)
