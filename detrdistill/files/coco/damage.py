"""What is wrong with an image file, in words for its owner."""

import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

from PIL import Image

from detrdistill.files.coco.fields import shown

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
MAX_PIXELS = 50_000_000
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_AFTER_SCAN = frozenset(bytes([kind]) for kind in (*b"\xda\xd9\xc4\xcc\xdb\xdc\xdd\xfe", *range(0xE0, 0xF0)))
_HEAD = 512
_CHUNK = 1024**2
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of the colour types of PNG."""
_SHOWN = 40
_CONVERT = "convert it to JPEG or PNG"
_BEGINNINGS: dict[bytes, str] = {
    b"version https://git-lfs": "a pointer of Git LFS and not the file; fetch it with `git lfs pull`",
    b"<!doctype html": "a web page; download it again",
    b"<html": "a web page; download it again",
    b"<?xml": "an XML file; export or download it again",
    b"<svg": f"an SVG drawing; {_CONVERT}",
    b"\0\0\0\x0cjp  ": f"a JPEG 2000 image; {_CONVERT}",
    b"\xff\x4f\xff\x51": f"a JPEG 2000 image; {_CONVERT}",
    b"8bps": f"a Photoshop document; {_CONVERT}",
    b"%pdf": f"a PDF document; {_CONVERT}",
    b"simple  =": f"a FITS image; {_CONVERT}",
    b"\x76\x2f\x31\x01": f"an OpenEXR image; {_CONVERT}",
    b"\x93numpy": f"a NumPy array; {_CONVERT}",
    b"pk\x03\x04": "a zip archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
}
"""First bytes, in small letters."""
_IMAGES = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip
_BRANDS = {b"avi": "AVIF", b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC"}
"""What follows `ftyp` in files of phones."""


class Unusable(Exception):
    """Why an image cannot be used."""


def lacks_rows(png: bytes) -> bool:
    """The data of a PNG end in order, but before its last row, which decoders leave black."""
    width, height, bits, colours, *_, interlaced = struct.unpack(">IIBBBBB", png[16:29])
    if interlaced:
        return False
    row = 1 + (width * bits * _CHANNELS.get(colours, 1) + 7) // 8
    left, position, unpacker = height * row, 8, zlib.decompressobj()
    while left > 0 and position + 8 <= len(png):
        length, kind = struct.unpack(">I4s", png[position : position + 8])
        data = png[position + 8 : position + 8 + length] if kind == b"IDAT" else b""
        while data and left > 0:
            left -= len(unpacker.decompress(data, _CHUNK))
            data = unpacker.unconsumed_tail
        position += length + 12
    return left > 0


def has_stray_marker(jpeg: bytes) -> bool:
    """Something overwrote the data of a JPEG: there is a marker within that ends no scan. Decoders go on in grey.

    What has overwritten them without such a marker (zeros, say) is not found.
    """
    position, scanned = 2, False
    while jpeg[position : position + 1] == b"\xff":
        kind = jpeg[position + 1 : position + 2]
        if kind == _END_OF_IMAGE:
            return False
        position += 1 if kind == b"\xff" else 2 + int.from_bytes(jpeg[position + 2 : position + 4])
        if kind == _START_OF_SCAN:
            if (found := _MARKER.search(jpeg, position)) is None:
                return False
            if found[1] not in _AFTER_SCAN:
                return True
            position, scanned = found.start(1) - 1, True
    return scanned  # no segment ends here


def reason(error: Exception, path: Path) -> str:
    """Word an error that came up while a file was decoded."""
    match error:
        case Unusable():
            return str(error)
        case Image.UnidentifiedImageError():
            return _unknown(path)
        case Image.DecompressionBombError():
            return f"more than {MAX_PIXELS} pixels"
        case OSError() if "truncated" in str(error):
            return "cut off, its last bytes are missing"
        case _:
            return f"damaged ({shown(str(error))})"


def _unknown(path: Path) -> str:
    """What a file is that no decoder takes."""
    if (kind := kind_of_file(path)) is not None:
        return kind
    with suppress(OSError, UnicodeError):
        text = path.read_bytes()[:_SHOWN].decode("ascii")
        if all(letter.isprintable() or letter.isspace() for letter in text):
            return f"a text file that begins with {shown(' '.join(text.split()))}"
    return f"not a readable image ({', '.join(IMAGE_FORMATS)})"


def kind_of_file(path: Path) -> str | None:
    """What a file is instead of what it should be, by its first bytes; None: nothing that is known."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"not readable ({shown(error.strerror)})"
    return _kind_of(head) if any(head) else _of_nothing(head)


def _of_nothing(head: bytes) -> str:
    return f"nothing but zeros in its first {len(head)} bytes; copy it again" if head else "empty (0 bytes)"


def _kind_of(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        name = _BRANDS.get(head[8:11], "video or an unknown")
        return f"{'an' if name == 'AVIF' else 'a'} {name} file; {_CONVERT}"
    if head[128:132] == b"DICM":
        return f"a DICOM file; {_CONVERT}"
    if (name := next((name for start, name in _IMAGES.items() if head.startswith(start)), None)) is not None:
        return f"a {name} file that cannot be read; it is damaged, cut off, or of a rare kind"
    plain = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    return next((kind for start, kind in _BEGINNINGS.items() if plain.startswith(start)), None)
