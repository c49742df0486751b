"""Collect the files of a job that its user may download."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from worker.process import LOG_FILE

_FOLDERS = ("student", "control")
_FILES = ("result.json", LOG_FILE)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def collect(work: Path) -> list[dict[str, Any]]:
    """Pack the exported folders and list every file with its size and SHA-256; may be called again.

    Each folder is there as a zip and file by file. Half-written folders have other names and are not taken.
    """
    paths = [work / name for name in _FILES if (work / name).is_file()]
    for name in _FOLDERS:
        folder = work / name
        if folder.is_dir():
            files = sorted(path for path in folder.iterdir() if path.is_file())
            paths += [*files, _pack(folder, files)]
    return [
        {"name": str(path.relative_to(work)), "size": path.stat().st_size, "sha256": _digest(path)} for path in paths
    ]


def _pack(folder: Path, files: list[Path]) -> Path:
    """Zip a folder without compression (weights do not shrink); equal files give equal bytes."""
    target = folder.with_suffix(".zip")
    temporary = folder.with_suffix(".zip.part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            member = zipfile.ZipInfo(f"{folder.name}/{path.name}", _EPOCH)
            member.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as packed:
                while chunk := source.read(1024**2):
                    packed.write(chunk)
    return temporary.replace(target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
