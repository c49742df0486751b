"""Resumable state on disk: written atomically, verified when read, never executed."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_KEEP = 2
OLD = ".old"
"""Ends the name of a folder that is about to be replaced."""


@dataclass(frozen=True)
class SavedState:
    """One checkpoint file and its digest."""

    path: Path
    sha256: str


def save_state(folder: Path, step: int, state: dict[str, Any]) -> SavedState:
    """Write `step-<n>.pt` with its digest beside it, then remove all but the newest two.

    A crash at any moment leaves either the old files or the new one, never half of one: the digest is written last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    write_atomically(path, lambda temporary: _save(state, temporary))
    digest = sha256_of(path)
    write_atomically(path.with_suffix(".sha256"), lambda temporary: temporary.write_text(digest))
    for old in sorted(folder.glob("step-*.pt"))[:-_KEEP]:
        old.with_suffix(".sha256").unlink(missing_ok=True)
        old.unlink()
    return SavedState(path, digest)


def _save(state: dict[str, Any], path: Path) -> None:
    """Through a file of Python's, so that a full disk is an `OSError` in the context of torch's `RuntimeError`."""
    with path.open("wb") as file:
        torch.save(state, file)


def load_newest_state(folder: Path) -> dict[str, Any] | None:
    """Read the newest file whose content matches its digest; None if there is none."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        digest = path.with_suffix(".sha256")
        if digest.is_file() and digest.read_text() == sha256_of(path):
            return torch.load(path, map_location="cpu", weights_only=True)
    return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value, indent=2) + "\n"))


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside the target, flush to disk, rename over it. What could not be written leaves nothing behind."""
    temporary = path.with_name(path.name + ".part")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder beside the target, then put it in the target's place.

    What could not be written leaves the target as it was.
    """
    restore_folder(path)
    temporary, old = path.with_name(path.name + ".part"), path.with_name(path.name + OLD)
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Put back what `replace_folder` had set aside when it was killed between its two renames."""
    old = path.with_name(path.name + OLD)
    if old.exists() and not path.exists():
        old.rename(path)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
