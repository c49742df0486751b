"""Datasets and checkpoints as a user would send them."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from detrdistill.catalog import size_of
from detrdistill.detectors.build import build_detector
from detrdistill.export import export_folder


def zip_of(folder: Path) -> bytes:
    return zip_with({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()})


def zip_with(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_teacher(folder: Path, *, classes: tuple[str, ...] = ("red", "green"), seed: int = 7) -> Path:
    """An untrained detector, wider and deeper than the students of the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    size = replace(size_of("rt-detr-v2", "nano"), queries=12)
    export_folder(build_detector("rt-detr-v2", size, classes, 96, seed), folder, tuple(range(1, len(classes) + 1)))
    return folder
