"""What datasets and checkpoints share: taking files from a form, or from the operator's own folders."""

import errno
import shutil
from collections.abc import Collection, Sequence
from http import HTTPStatus
from pathlib import Path

from fastapi import UploadFile

from api.archives import Skipped, is_needed, unpack_zip
from api.errors import ApiError, Forbidden
from api.settings import get_settings

_CHUNK = 1024**2


class StorageFull(ApiError):
    """There is no room for the files."""

    status = HTTPStatus.INSUFFICIENT_STORAGE
    code = "storage_full"


def receive(files: Sequence[UploadFile], folder: Path, *, suffixes: Collection[str]) -> Skipped:
    """Write uploaded files below an empty folder: the content of one zip, or single files under their own names.

    Returns:
        What was left out because nothing needs it.

    Raises:
        ApiError: a file has no business here, or an archive cannot be trusted.
    """
    try:
        if len(files) == 1 and (files[0].filename or "").lower().endswith(".zip"):
            limit = get_settings().max_unpacked_bytes
            return unpack_zip(files[0].file, folder, suffixes=suffixes, max_bytes=limit, pointer="/files")
        skipped = Skipped()
        for file in files:
            name = _plain_name(file)
            if not is_needed([name], suffixes):
                skipped.add(name)
                continue
            with (folder / name).open("xb") as target:
                shutil.copyfileobj(file.file, target, _CHUNK)
    except FileExistsError as error:
        raise ApiError("Two files have the same name.", pointer="/files", code="archive_invalid") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The storage is full; nothing was kept.") from error
        raise
    if skipped.count == len(files):
        raise ApiError(
            f"None of these files is of use: {', '.join(skipped.examples)}.",
            pointer="/files",
            hint=f"Needed are a .zip, or files that end in {', '.join(sorted(suffixes))}.",
            code="archive_invalid",
        )
    return skipped


def _plain_name(file: UploadFile) -> str:
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
    if not name or not name.isprintable() or len(name.encode()) > 255:
        raise ApiError("A file has no usable name.", pointer="/files", code="archive_invalid")
    return name


def operator_folder(path: str) -> Path:
    """A folder below the one the operator has opened for registering by path.

    Raises:
        Forbidden: none has been opened.
        ApiError: the folder is not below it.
    """
    root = get_settings().import_root
    if root is None:
        raise Forbidden(
            "Registering by path is not enabled here.",
            pointer="/path",
            hint="Upload the files, or have the operator set DETRDISTILL_IMPORT_ROOT.",
        )
    try:
        folder = (root / path).resolve(strict=True)
        inside = folder.is_relative_to(root.resolve()) and folder.is_dir()
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
        inside = False
        folder = root
    if not inside:
        raise ApiError(
            f"There is no folder {path[:200]!r} below the operator's folder.",
            pointer="/path",
            hint="Give a path relative to the folder the operator has opened.",
            code="not_found",
        )
    return folder


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def exactly_one(**sources: object) -> None:
    """Refuse a form that names no source, or several.

    Raises:
        ApiError: with the pointer of the first field.
    """
    given = [name for name, value in sources.items() if value]
    if len(given) != 1:
        names = ", ".join(f"`{name}`" for name in sources)
        first = next(iter(given or sources))
        raise ApiError(f"Give exactly one of {names}; this form has {len(given)}.", pointer=f"/{first}")
