"""Load a checkpoint folder, and say exactly what was and was not loaded."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForObjectDetection, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as library_logging

from detrdistill.catalog import check_side
from detrdistill.compatibility.class_names import spelling
from detrdistill.detectors.build import wrap
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.stored_config import stored_config
from detrdistill.errors import CheckpointError
from detrdistill.files.checkpoints import CONFIG, CoverageFacts, inspect_checkpoint, weight_files
from detrdistill.files.preprocessing import Preprocessing

_log = logging.getLogger(__name__)
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
_WRAPPERS = ("module", "_orig_mod")
"""Parts of names that wrappers for several devices and for compilation leave behind; no model has them."""
_NEARLY_ALL = 0.8
"""Share of names that begin with a part if it is a prefix; with less, the file may hold two models."""
_LEARNED_BUFFERS = ("weight", "bias", "running_mean", "running_var")
"""Buffers that weights are read from: constants and statistics of batch norms. A detector makes the others itself."""


@dataclass(frozen=True)
class Coverage:
    """How completely a file filled a model."""

    total: int
    """Tensors of the model that are learned: weights and statistics, shared ones once."""
    missing: tuple[str, ...]
    """Tensors the file lacks, left at their initial values."""
    unexpected: tuple[str, ...]
    """Tensors of the file the model has no place for."""
    renamed: tuple[str, ...] = ()
    """What was changed in the names of the file."""

    @property
    def loaded(self) -> int:
        """Tensors the file filled."""
        return self.total - len(self.missing)

    @property
    def facts(self) -> CoverageFacts:
        """The form that is stored and shown."""
        return CoverageFacts.of(self.total, self.missing, self.unexpected, self.renamed)

    def __str__(self) -> str:
        text = f"{self.loaded} of {self.total} tensors were loaded"
        for what, names in (("missing in the file", self.missing), ("not used", self.unexpected)):
            if names:
                text += f"; {len(names)} {what}: {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"
        return "; ".join((text, *self.renamed)) + "."


@dataclass(frozen=True)
class _Stored:
    """What a folder holds, ready to be loaded."""

    config: PreTrainedConfig
    empty: PreTrainedModel
    """The model without memory."""
    names: dict[str, str]
    """Name in the file by name that the model reads."""
    coverage: Coverage


def load_detector(folder: Path, fallback_size: int) -> tuple[Detector, Coverage]:
    """Load a detector as it was saved, in evaluation mode, on the CPU. Nothing asks the network.

    Args:
        folder: checkpoint folder as `save_pretrained` writes it.
        fallback_size: input side in pixels where the checkpoint names none.

    Raises:
        CheckpointError: the folder is not a supported detector, or a tensor has another shape than the model.
        ConfigError: the detector cannot divide the side of this input.
    """
    stored = _read(folder)
    with _opened(folder) as tensors:
        model = _load(type(stored.empty), stored.config, {name: tensors[old]() for name, old in stored.names.items()})[
            0
        ]
    _log.info("%s: %s", folder.name, stored.coverage)
    detector = wrap(model, Preprocessing.read(folder, fallback_size))
    for side in (detector.preprocessing.height, detector.preprocessing.width):
        check_side(detector.family, side, detector.side_multiple)
    return detector.eval(), stored.coverage


def measure(folder: Path) -> tuple[Coverage, int]:
    """Compare names and shapes of a folder's weights with the detector that its configuration describes.

    Nothing of the size of the weights is held in memory.

    Returns:
        How completely the file fills the detector, and pixels of which the sides of its input must be multiples.

    Raises:
        CheckpointError: the configuration describes no detector, a tensor has another shape, or nothing fits.
    """
    stored = _read(folder)
    return stored.coverage, wrap(stored.empty, Preprocessing.read(folder, 0)).side_multiple


def _read(folder: Path) -> _Stored:
    """Find the names under which the model reads the file, and what they fill."""
    inspect_checkpoint(folder)
    config = stored_config(folder)
    shapes, placeholders = _placeholders(folder)
    try:
        with torch.device("meta"):
            empty: Any = AutoModelForObjectDetection.from_config(config)
    except Exception as error:  # whatever a constructor says of numbers that do not go together
        raise CheckpointError(
            f"{CONFIG} describes no detector that can be built: {' '.join(str(error).split())[:300]}",
            hint="Give the config.json that was saved with these weights.",
        ) from error
    _check_size(empty, shapes)
    expected = empty.state_dict().keys()
    readings = [(_under_the_name_that_is_read(names, empty), renamed) for names, renamed in _readings(shapes)]
    best: _Stored | None = None
    for names, renamed in sorted(readings, key=lambda reading: -len(reading[0].keys() & expected)):
        if names.keys() <= expected:
            _refuse_other_shapes(
                [(name, shapes[old], empty.get_parameter_or_buffer(name).shape) for name, old in names.items()]
            )
            coverage = _coverage(empty, names.keys().__contains__, (), renamed)
        else:
            model, report = _load(type(empty), config, {name: placeholders[old] for name, old in names.items()})
            filled = {name for name, tensor in model.state_dict().items() if bool(tensor.isnan().all())}
            coverage = _coverage(model, filled.__contains__, report["unexpected_keys"], renamed)
        if best is None or coverage.loaded > best.coverage.loaded:
            best = _Stored(config, empty, names, coverage)
        if coverage.loaded == coverage.total:
            break
    assert best is not None, "the names as they are stand first"
    if best.coverage.loaded == 0:
        raise _nothing_fits(shapes, expected, best.coverage.total)
    return best


def _nothing_fits(held: Iterable[str], expected: Collection[str], total: int) -> CheckpointError:
    """The file is that of another model, or that of several."""
    fitting = Counter(first for name in held for first, _, rest in [name.partition(".")] if rest in expected)
    hint = "Load the weights into the model they belong to and save it with save_pretrained."
    if len(fitting) > 1:
        models = ", ".join(f"'{first}.'" for first in sorted(fitting))
        hint = f"The file holds several models: {models}. Save the weights of one alone, with save_pretrained."
    return CheckpointError(
        f"Nothing in the weights fits the detector of {CONFIG}: 0 of {total} tensors. The file has "
        f"{', '.join(list(held)[:3])[:300]}, ...; the detector has {', '.join(list(expected)[:3])}, ...",
        hint=hint,
    )


def _check_size(model: PreTrainedModel, shapes: Mapping[str, torch.Size]) -> None:
    """Refuse a description of far more than the file holds, before what is missing is made up."""
    described = sum(parameter.numel() for parameter in model.parameters())
    held = sum(shape.numel() for shape in shapes.values())
    if described > 4 * held + 20_000_000:
        raise CheckpointError(
            f"{CONFIG} describes a detector of {described:,} parameters, and the weights hold {held:,}.",
            hint="Give the config.json that was saved with these weights.",
        )


def _load(
    model_class: type[PreTrainedModel], config: PreTrainedConfig, tensors: Mapping[str, Tensor]
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model with these tensors, and the report of transformers.

    Raises:
        CheckpointError: a tensor has another shape than the model.
    """
    try:
        with _quiet_library(), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # what is missing is the same for the student and its control
            loaded: Any = model_class.from_pretrained(
                None,
                config=config,
                state_dict=dict(tensors),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
    except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"The weights do not load into their own architecture: {str(error)[:300]}",
            hint="config.json and model.safetensors must come from the same model.",
        ) from error
    model, report = loaded
    _refuse_other_shapes(report["mismatched_keys"])
    return model, report


def _refuse_other_shapes(found: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Refuse tensors (name, shape in the file, shape in the model) whose shapes differ."""
    wrong = sorted((name, list(held), list(wanted)) for name, held, wanted in found if tuple(held) != tuple(wanted))
    if wrong:
        shown = "; ".join(f"{name} has {held} for {wanted}" for name, held, wanted in wrong[:3])
        raise CheckpointError(
            f"The weights do not load into their own architecture: {len(wrong)} tensors have another shape: {shown}.",
            hint="config.json and model.safetensors must come from the same model.",
        )


def _coverage(
    model: PreTrainedModel, filled: Callable[[str], bool], unexpected: Iterable[str], renamed: tuple[str, ...]
) -> Coverage:
    """Count what is learned: parameters, and the constants and statistics of batch norms.

    A tensor with several names counts once; the list that transformers gives leaves such tensors out.
    """
    buffers = {name for name, _ in model.named_buffers()}
    groups: dict[int, list[str]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point() and (name not in buffers or name.rpartition(".")[2] in _LEARNED_BUFFERS):
            groups.setdefault(id(tensor), []).append(name)
    missing = [names[0] for names in groups.values() if not any(map(filled, names))]
    unexpected = [name for name in unexpected if not name.endswith("num_batches_tracked")]
    return Coverage(len(groups), tuple(sorted(missing)), tuple(sorted(unexpected)), renamed)


def _placeholders(folder: Path) -> tuple[dict[str, torch.Size], dict[str, Tensor]]:
    """Shape of every tensor, and a tensor of that shape whose numbers are all one and the same: NaN, or zero.

    Raises:
        CheckpointError: a tensor has a type that no weights have.
    """
    shapes: dict[str, torch.Size] = {}
    placeholders: dict[str, Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                kind = str(part.get_dtype())
                if kind not in _DTYPES:
                    raise CheckpointError(
                        f"{name[:120]} holds numbers of the type {kind}.", hint="Save the weights as 32-bit floats."
                    )
                dtype = _DTYPES[kind]
                if not dtype.is_floating_point and name.rpartition(".")[2] in _LEARNED_BUFFERS:
                    raise CheckpointError(
                        f"{name[:120]} holds whole numbers ({kind}), as quantised weights do.",
                        hint="Save the weights as 32-bit floats.",
                    )
                shapes[name] = torch.Size(part.get_shape())
                value = float("nan") if dtype.is_floating_point else 0
                placeholders[name] = torch.full((), value, dtype=dtype).expand(shapes[name])
    return shapes, placeholders


@contextmanager
def _opened(folder: Path) -> Iterator[dict[str, Callable[[], Tensor]]]:
    """Every tensor of a folder by its name, read when it is asked for."""
    readers: dict[str, Callable[[], Tensor]] = {}
    for path in weight_files(folder):
        file = safe_open(path, "pt")
        for name in file.keys():  # noqa: SIM118
            readers[name] = partial(file.get_tensor, name)
    yield readers


def _readings(shapes: Mapping[str, object]) -> Iterator[tuple[dict[str, str], tuple[str, ...]]]:
    """Ways to read the names of a file: as they are, without wrappers, without the first part that nearly all have.

    Trainers put `model.` before the detector's names, and tensors of their own beside them.

    Yields:
        name in the file by new name, and what was changed.
    """
    yield {name: name for name in shapes}, ()
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in shapes}
    while True:
        if list(plain.values()) != list(shapes) and len(set(plain.values())) == len(plain):
            yield {new: old for old, new in plain.items()}, _changes(plain)
        parts = Counter(new.partition(".")[0] for new in plain.values() if "." in new)
        first, count = max(parts.items(), key=lambda item: item[1], default=("", 0))
        if count < _NEARLY_ALL * len(plain) or not count:
            return
        plain = {old: new.removeprefix(f"{first}.") for old, new in plain.items()}


def _changes(plain: Mapping[str, str]) -> tuple[str, ...]:
    """How many names lost which part."""
    counts: Counter[str] = Counter()
    for old, new in plain.items():
        if old.endswith(new):
            counts[f"prefix {old.removesuffix(new)!r}"] += old != new
        else:
            counts["'module.' or '_orig_mod.' inside of the name"] += 1
    return tuple(f"{what} stripped from {count} tensors" for what, count in counts.items() if count)


def _under_the_name_that_is_read(names: dict[str, str], model: PreTrainedModel) -> dict[str, str]:
    """Give a shared tensor the name that transformers reads, where the file has another of its names.

    `save_pretrained` of transformers 5.17 and 5.23 writes the shared box head of a DEIMv2 under its last name;
    `from_pretrained` reads the first, finds none, and silently leaves the head random.
    """
    tied: Mapping[str, str] = model.all_tied_weights_keys
    renamed = dict(names)
    for other, read in tied.items():
        if other in renamed and read not in renamed:
            renamed[read] = renamed.pop(other)
    return renamed


@contextmanager
def _quiet_library() -> Iterator[None]:
    """The coverage report replaces that of transformers, and its progress bars."""
    verbosity, bars = library_logging.get_verbosity(), library_logging.is_progress_bar_enabled()
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    try:
        yield
    finally:
        library_logging.set_verbosity(verbosity)
        if bars:
            library_logging.enable_progress_bar()


def names_of_tensors(weights: Mapping[str, Tensor]) -> list[list[str]]:
    """Group the names of a state dict by the tensor they stand for, in its order; shared tensors have several."""
    groups: dict[tuple[int, torch.Size] | str, list[str]] = {}
    for name, tensor in weights.items():
        groups.setdefault((tensor.data_ptr(), tensor.shape) if tensor.numel() else name, []).append(name)
    return list(groups.values())


def with_classes(detector: Detector, classes: Sequence[str], seed: int) -> Detector:
    """The same detector for another list of classes.

    Rows of the class heads are copied for classes of the same name (whatever its case, spaces, underscores and
    hyphens) and start at random for new ones; everything else is copied.

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
        new.init_weights()
    old_row = {spelling(name): row for row, name in enumerate(detector.classes)}
    kept = [(row, old) for row, name in enumerate(classes) if (old := old_row.get(spelling(name))) is not None]
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
