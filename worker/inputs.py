"""Whether the dataset and the checkpoints of a job are still those that were registered."""

import hashlib
from pathlib import Path

from api.jobs.pointers import DATASET_POINTER
from detrdistill.errors import CheckpointError, DatasetError
from detrdistill.events import RunFailed
from detrdistill.files.black_boxes import DETECTIONS, FILES
from detrdistill.files.checkpoints import CONFIG, WEIGHTS
from worker.protocol import RunSpec

_REGISTER_AGAIN = (
    "Register it again and submit a new job; if only its files were away, put them back and retry this one."
)


def check_inputs(spec: RunSpec) -> RunFailed | None:
    """The event of a run whose inputs are no longer there; None if they are."""
    return missing_input(spec) or _replaced_checkpoint(spec)


def missing_input(spec: RunSpec) -> RunFailed | None:
    """The event of a run of which a folder is gone or empty."""
    if _is_empty(spec.paths.dataset):
        return dataset_gone("Its folder is gone or empty.")
    for pointer, folder in spec.checkpoints():
        if _is_empty(folder):
            return checkpoint_gone("Its folder is gone or empty.", pointer)
    return None


def changed_input(spec: RunSpec, error: BaseException) -> RunFailed | None:
    """The event of a run that failed because an input changed under it.

    What was registered was read as a whole, so an input that cannot be read now is not what was registered.
    """
    if (missing := missing_input(spec)) is not None:
        return missing
    if isinstance(error, DatasetError):
        return dataset_gone(error.message)
    if isinstance(error, OSError):
        if _is_about(error, spec.paths.dataset):
            return dataset_gone(f"A file of it is gone or cannot be read: {error}")
        for pointer, folder in spec.checkpoints():
            if _is_about(error, folder):
                return checkpoint_gone(f"A file of it is gone or cannot be read: {error}", pointer)
    if isinstance(error, CheckpointError):
        return _replaced_checkpoint(spec)
    return None


def dataset_gone(what: str) -> RunFailed:
    """The event of a run without its dataset."""
    message = f"The dataset is no longer what was registered. {what}"
    return RunFailed(code="dataset_gone", message=message, hint=_REGISTER_AGAIN, pointer=DATASET_POINTER)


def checkpoint_gone(what: str, pointer: str) -> RunFailed:
    """The event of a run without a checkpoint."""
    message = f"The checkpoint is no longer what was registered. {what}"
    return RunFailed(code="checkpoint_gone", message=message, hint=_REGISTER_AGAIN, pointer=pointer)


def _replaced_checkpoint(spec: RunSpec) -> RunFailed | None:
    for pointer, folder in spec.checkpoints():
        found = {path.name for path in folder.iterdir()}
        weights = [name for name in (WEIGHTS, *FILES.values()) if name in found]
        if not weights and not any(name.endswith(".safetensors") for name in found):
            return checkpoint_gone("Its weights are gone.", pointer)
        if not found & {CONFIG, DETECTIONS}:
            return checkpoint_gone(f"Its {CONFIG} is gone.", pointer)
        if weights and spec.digests[pointer] not in {_sha256(folder / name) for name in weights}:
            return checkpoint_gone("Its weights are others.", pointer)
    return None


def _is_empty(folder: Path) -> bool:
    try:
        return next(folder.iterdir(), None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True


def _is_about(error: OSError, folder: Path) -> bool:
    """An error that names a file below the folder; a loader process passes on nothing but the text."""
    return any(f"{form}/" in f"{error.filename} {error}" for form in (folder, folder.resolve()))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
