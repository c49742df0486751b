"""What is wrong with an image file, in words for its owner."""

from contextlib import suppress
from pathlib import Path

from PIL import Image

from detrdistill.coco.fields import shown

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
MAX_PIXELS = 50_000_000
_HEAD = 512
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
_BRANDS = {b"avi": "AVIF", b"hei": "HEIC", b"hev": "HEIC", b"mif": "HEIC", b"msf": "HEIC"}
"""What follows `ftyp` in files of phones."""


class Unusable(Exception):
    """Why an image cannot be used."""


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
    if not head:
        return "empty (0 bytes)"
    if not any(head):
        return f"nothing but zeros in its first {len(head)} bytes; copy it again"
    if head[4:8] == b"ftyp":
        name = _BRANDS.get(head[8:11], "video or an unknown")
        return f"{'an' if name == 'AVIF' else 'a'} {name} file; {_CONVERT}"
    if head[128:132] == b"DICM":
        return f"a DICOM file; {_CONVERT}"
    plain = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    return next((kind for start, kind in _BEGINNINGS.items() if plain.startswith(start)), None)
