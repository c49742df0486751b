"""Load a checkpoint folder, and say exactly what was and was not loaded."""

import logging
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForObjectDetection, PreTrainedModel
from transformers.utils import logging as library_logging

from detrdistill.catalog import check_side
from detrdistill.checkpoints import WEIGHTS, inspect_checkpoint
from detrdistill.detectors.build import wrap
from detrdistill.detectors.detector import Detector
from detrdistill.errors import CheckpointError
from detrdistill.preprocessing import Preprocessing

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Coverage:
    """How completely a file filled a model."""

    total: int
    """Tensors of the model."""
    missing: tuple[str, ...]
    """Tensors the file lacks, left at their initial values."""
    unexpected: tuple[str, ...]
    """Tensors of the file the model has no place for."""

    @property
    def loaded(self) -> int:
        """Tensors the file filled."""
        return self.total - len(self.missing)

    def __str__(self) -> str:
        text = f"{self.loaded} of {self.total} tensors were loaded"
        for what, names in (("missing in the file", self.missing), ("not used", self.unexpected)):
            if names:
                text += f"; {len(names)} {what}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        return text + "."


def load_detector(folder: Path, fallback_size: int) -> tuple[Detector, Coverage]:
    """Load a detector as it was saved, in evaluation mode, on the CPU.

    Args:
        folder: checkpoint folder as `save_pretrained` writes it.
        fallback_size: input side in pixels where the checkpoint names none.

    Raises:
        CheckpointError: the folder is not a supported detector, or a tensor has another shape than the model.
        ConfigError: the detector cannot cut an input of this size into its patches and windows.
    """
    inspect_checkpoint(folder)
    verbosity = library_logging.get_verbosity()
    library_logging.set_verbosity_error()  # the coverage report replaces the library's
    try:
        model, report = AutoModelForObjectDetection.from_pretrained(
            folder,
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
        )
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"The weights do not load into their own architecture: {error}",
            hint="config.json and model.safetensors must come from the same model.",
        ) from error
    finally:
        library_logging.set_verbosity(verbosity)
    _restore_shared(model, folder)
    coverage = Coverage(
        total=len(model.state_dict()),
        missing=tuple(sorted(report["missing_keys"])),
        unexpected=tuple(sorted(report["unexpected_keys"])),
    )
    _log.info("%s: %s", folder.name, coverage)
    detector = wrap(model, Preprocessing.read(folder, fallback_size))
    for side in (detector.preprocessing.height, detector.preprocessing.width):
        check_side(side, detector.side_multiple)
    return detector.eval(), coverage


@torch.no_grad()
def _restore_shared(model: PreTrainedModel, folder: Path) -> None:
    """Fill shared tensors that are in the file under a name the library does not read.

    `save_pretrained` of transformers 5.17 and 5.23 writes the shared box head of a DEIMv2 under its last name;
    `from_pretrained` reads the first, finds none, and silently leaves the head random.
    """
    weights = model.state_dict()
    with safe_open(folder / WEIGHTS, "pt") as file:
        stored = set(file.keys())
        for names in names_of_tensors(weights):
            loaded = weights[names[0]]
            found = [file.get_tensor(name).to(loaded.dtype) for name in names if name in stored]
            if len(names) > 1 and found and not any(torch.equal(loaded, tensor) for tensor in found):
                _log.info("%s: %s was restored from another of its names", folder.name, names[0])
                loaded.copy_(found[0])


def names_of_tensors(weights: Mapping[str, Tensor]) -> list[list[str]]:
    """Group the names of a state dict by the tensor they stand for, in its order; shared tensors have several."""
    groups: dict[tuple[int, torch.Size] | str, list[str]] = {}
    for name, tensor in weights.items():
        groups.setdefault((tensor.data_ptr(), tensor.shape) if tensor.numel() else name, []).append(name)
    return list(groups.values())


def with_classes(detector: Detector, classes: Sequence[str], seed: int) -> Detector:
    """The same detector for another list of classes.

    Rows of the class heads are copied for classes of the same name (ignoring case) and start at random for new
    ones; everything else is copied.

    Args:
        detector: as loaded.
        classes: names by output index.
        seed: of the new rows.
    """
    if detector.classes == tuple(classes):
        return detector
    config = deepcopy(detector.model.config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        new = wrap(type(detector.model)(config), detector.preprocessing)
        new.start_as_published()
    old_row = {name.strip().casefold(): row for row, name in enumerate(detector.classes)}
    kept = [(row, old) for row, name in enumerate(classes) if (old := old_row.get(name.strip().casefold())) is not None]
    rows = kept if detector.info.scores == "sigmoid" else [*kept, (len(classes), len(detector.classes))]  # 'no object'
    pattern = re.compile(detector.info.class_tensors)
    source, target = detector.model.state_dict(), new.model.state_dict()
    for name, tensor in source.items():
        if pattern.search(name):
            for row, old in [(0, 0)] if detector.is_class_agnostic(name) else rows:
                target[name][row] = tensor[old]
        else:
            target[name].copy_(tensor)
    _log.info("class heads: %d of %d classes kept from the checkpoint", len(kept), len(classes))
    return new
