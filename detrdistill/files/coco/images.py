"""Image files: what is in them, whether they can be decoded, and the pixels that every detector sees.

All modes of Pillow become 8-bit RGB: alpha is dropped, palettes and CMYK are converted, of several pages the first is
taken. Pillow clips values above 255, so deeper images are scaled here, each by one power of two: integers, and floats
above 255, by the smallest depth of 8, 10, 12, 14, 16, 20, 24 or 32 bits that holds the largest value; floats up to 1
are fractions of white. Negative, infinite and undefined values are refused. Of colours with 16 bits Pillow takes the
upper 8; if those of most images hold fewer than 15 bits, the images are refused.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from detrdistill.errors import DatasetError
from detrdistill.files.coco.damage import IMAGE_FORMATS, MAX_PIXELS, Unusable, has_stray_marker, lacks_rows, reason
from detrdistill.files.coco.fields import shown
from detrdistill.files.coco.records import ImageRecord

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".jif", ".mpo", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_MAX_BYTES = 512 * 1024**2
_DEPTHS = (8, 10, 12, 14, 16, 20, 24, 32)
_PLAIN = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNS_BACK = _TURNS | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
_FAINT = 64
_BATCH = 512
_MOST_THREADS = 8
_BIG_PIXELS = 8_000_000
_big = Lock()
"""Big images are decoded one at a time, or as many as there are threads would need gigabytes."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a file holds."""

    width: int = 0
    """As stored, in pixels."""
    height: int = 0
    orientation: int = 1
    """EXIF: 1 is upright, 5 to 8 turn width and height."""
    mode: str = "RGB"
    animated: bool = False
    """It has more pages or frames than the first."""
    digest: bytes | None = None
    """Of the content; None: the file was not read to its end."""
    one_colour: bool = False
    wide: bool = False
    """Colours of 16 bits, of which the upper 8 are taken."""
    faint: bool = False
    """Wide, and no value reaches the upper two bits: it holds fewer than 16, and would be all but black."""
    problem: str | None = None
    """Why it cannot be used."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height after the EXIF orientation is applied."""
        return (self.height, self.width) if self.orientation > 4 else self.size

    @property
    def deep(self) -> bool:
        """More than 8 bits a channel, so that it is scaled."""
        return self.mode.startswith(("I", "F"))


def look_at_images(
    paths: Iterable[Path], *, decode: bool, on_progress: Callable[[], None] = lambda: None
) -> dict[Path, ImageFacts]:
    """What each file holds, looked at in parallel.

    Args:
        paths: files.
        decode: read each to its end, so that damage is found; else its header only.
        on_progress: called after every image.
    """
    wanted = list(dict.fromkeys(paths))
    found: dict[Path, ImageFacts] = {}
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads, "look-at-images") as pool:
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            for path, facts in zip(batch, pool.map(_decoded if decode else _header, batch), strict=True):
                found[path] = facts
                on_progress()
    return found


def load_image(record: ImageRecord) -> Image.Image:
    """Decode an image to what every detector sees: 8-bit RGB, its EXIF orientation applied where the record says so.

    Raises:
        DatasetError: it cannot be decoded, or is not the size it had.
    """
    try:
        with Image.open(record.path, formats=IMAGE_FORMATS) as image:
            turn = _turn(image, upright=record.upright)
            pixels = _to_rgb(image)
    except Exception as error:
        raise DatasetError(
            f"{shown(record.path.name)} cannot be decoded: {reason(error, record.path)}.", hint="Replace this file."
        ) from error
    pixels = pixels if turn is None else pixels.transpose(turn)
    if pixels.size != (record.width, record.height):
        raise DatasetError(
            f"{shown(record.path.name)} is {pixels.width}x{pixels.height}, but was {record.width}x{record.height}.",
            hint="Leave the files of a dataset as they are while it is in use.",
        )
    return pixels


def _header(path: Path) -> ImageFacts:
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return _facts(image)
    except Exception as error:  # noqa: BLE001  decoders raise errors of all kinds on damaged files
        return ImageFacts(problem=reason(error, path))


def _decoded(path: Path) -> ImageFacts:
    try:
        content = _content(path)
        with Image.open(BytesIO(content), formats=IMAGE_FORMATS) as image:
            facts = _facts(image)
            with _big if facts.width * facts.height > _BIG_PIXELS else nullcontext():
                extrema = _decode(image)
                _refuse_silent_damage(image, content)
        return replace(
            facts,
            digest=blake2b(content, digest_size=16).digest(),
            one_colour=all(low == high for low, high in extrema),
            faint=facts.wide and max(high for _, high in extrema[:3]) < _FAINT,
        )
    except Exception as error:  # noqa: BLE001  see above
        return ImageFacts(problem=reason(error, path))


def _content(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        raise Unusable(f"larger than {_MAX_BYTES // 1024**2} MB")
    return path.read_bytes()


def _facts(image: Image.Image) -> ImageFacts:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(f"{width}x{height} are more than {MAX_PIXELS} pixels")
    animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
    wide = not image.mode.startswith(("I", "F")) and ";16" in repr(cast("Any", image).tile[:1])
    orientation = _orientation(image)
    if image.format == "TIFF" and orientation > 4:
        width, height = height, width
    return ImageFacts(width, height, orientation, image.mode, animated, wide=wide)


def _decode(image: Image.Image) -> list[tuple[float, float]]:
    """Read all of the data; the smallest and largest value of each channel.

    A JPEG is read to its end with an eighth of the resolution: what is missing is missed all the same.
    """
    if image.mode in ("RGB", "L"):
        image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
    pixels = image if image.mode in _PLAIN else _to_rgb(image)
    pixels.load()
    extrema = cast("Any", pixels.getextrema())
    return list(extrema) if isinstance(extrema[0], tuple) else [extrema]


def _refuse_silent_damage(image: Image.Image, content: bytes) -> None:
    """Damage that decoders pass over. Rows that a PNG lacks are black; only then is it worth a second look."""
    if image.format in ("JPEG", "MPO") and has_stray_marker(content):
        raise Unusable("damaged, a part of its data was overwritten")
    is_black = image.format == "PNG" and image.crop((0, image.height - 1, *image.size)).getbbox() is None
    if is_black and lacks_rows(content):
        raise Unusable("cut off, its last rows are missing")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scaled(np.asarray(image), image.mode)).convert("RGB")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise Unusable(f"mode {image.mode}, which has no rule; save it as 8-bit RGB") from error


def _scaled(values: "np.ndarray[Any, np.dtype[Any]]", mode: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Grey values of any depth in 8 bits."""
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high < 2 ** _DEPTHS[-1]:  # false for NaN
        raise Unusable(f"mode {mode} with values from {low:g} to {high:g}, which have no rule; scale them to 0..255")
    if values.dtype.kind == "f" and high <= 1:
        return (values * 255).round().astype(np.uint8)
    depth = next(depth for depth in _DEPTHS if high < 2**depth)
    return (values / 2 ** (depth - _DEPTHS[0])).astype(np.uint8)


def _turn(image: Image.Image, *, upright: bool) -> Image.Transpose | None:
    """What is to be done after decoding. Pillow turns TIFF files by itself, so that this is undone where need be."""
    turns = _TURNS_BACK if image.format == "TIFF" else _TURNS
    return turns.get(_orientation(image)) if upright != (image.format == "TIFF") else None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; of a TIFF file, before it is decoded."""
    try:
        late = image.format == "PNG" and "exif" not in image.info and _has_late_exif(cast("Any", image).fp)
        exif = image.getexif() if image.format != "PNG" or late else Image.Image.getexif(image)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  a broken tag turns nothing; broken pixels are found when they are decoded
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _has_late_exif(file: BinaryIO) -> bool:
    """A PNG has its EXIF tags after the pixels, where Pillow finds them only by decoding."""
    position = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4]) + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(position)
