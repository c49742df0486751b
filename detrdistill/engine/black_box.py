"""Frozen teachers of which only boxes and scores are known: an ONNX model, or detections in a file."""

import mmap
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from detrdistill.catalog import Scores
from detrdistill.data.dataset import InputSpec
from detrdistill.data.detections import RecordedDetections
from detrdistill.errors import CheckpointError
from detrdistill.files.black_boxes import MODEL, BlackBox
from detrdistill.files.limits import refuse_pointer
from detrdistill.files.preprocessing import Preprocessing
from detrdistill.methods.method import DetectorShape
from detrdistill.outputs import DetectorOutput, Queries, best_detections, of_classes

_INPUT, _OUTPUTS = "pixel_values", ("logits", "pred_boxes")
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_LEAST_SCORE = 1e-4
"""Scores of a file are clamped to this and to one minus this; so much have the classes that it does not name."""


class BlackBoxTeacher(ABC):
    """Gives one layer of logits and boxes alone; `detrdistill.compatibility` refuses methods that need more."""

    card: BlackBox
    input_spec: InputSpec
    """What it looks at."""

    @property
    def identity(self) -> BlackBox:
        """What `compatibility` needs to know."""
        return self.card

    @property
    def shape(self) -> DetectorShape:
        """One layer without features, whose queries have no embeddings."""
        return DetectorShape(
            width=0,
            layers=1,
            image_height=0,
            neck_widths=(),
            neck_strides=(),
            memory_strides=(),
            has_position=False,
            derives_reference=False,
            reference_size=0,
            scores=self.card.scores,
        )

    @abstractmethod
    def __call__(self, inputs: Tensor) -> DetectorOutput:
        """What it says of a batch; its logits have one column per class of the dataset."""

    @abstractmethod
    def detect(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections in the classes of the dataset: scores `[B, R]`, class indices `[B, R]`, boxes `[B, R, 4]`."""

    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """A black box takes no queries."""
        raise TypeError("a black box takes no queries")


class OnnxTeacher(BlackBoxTeacher):
    """A model run by onnxruntime; see `detrdistill.files.black_boxes` for its folder.

    Args:
        folder: holds `model.onnx`.
        card: of this folder.
        fallback_size: side of its input in pixels, where neither the model nor its image processor fixes it.
        columns: output index of each class of the dataset, None for one that it does not know; None: its own classes.

    Raises:
        CheckpointError: the file is no ONNX model, needs other files, or has other inputs and outputs.
    """

    def __init__(self, folder: Path, card: BlackBox, fallback_size: int, columns: tuple[int | None, ...] | None = None):
        self.card = card
        self.columns = tuple(range(len(card.classes))) if columns is None else columns
        self._file = folder / MODEL
        self._open()
        batch, height, width = _read_inputs(self._session)
        read = Preprocessing.read(folder, 0)
        if not read.height:
            read = replace(read, height=height or fallback_size, width=width or fallback_size)
        self.input_spec: InputSpec = read
        self._batch = batch
        if any(side not in (None, given) for side, given in ((height, read.height), (width, read.width))):
            raise CheckpointError(
                f"{MODEL} takes images of {height} x {width}, preprocessor_config.json makes them {read.height} x "
                f"{read.width}.",
                hint="Correct size in preprocessor_config.json.",
            )
        if batch not in (None, 1):
            raise CheckpointError(
                f"{MODEL} takes batches of exactly {batch}.",
                hint="Export it with a dynamic batch axis, or with 1.",
            )

    def _open(self) -> None:
        """Load the model, with as many threads as torch has."""
        self._threads = torch.get_num_threads()
        self._session: Any = _session_of(self._file, self._threads)

    def __call__(self, pixels_BCHW: Tensor) -> DetectorOutput:
        """Run the model on normalised pixels `[B, 3, H, W]`.

        Raises:
            CheckpointError: it cannot be run, or its outputs have other shapes or types than they should.
        """
        if self._threads != torch.get_num_threads():
            self._open()
        batches = pixels_BCHW.split(self._batch or len(pixels_BCHW))
        try:
            outputs = [self._session.run(_OUTPUTS, {_INPUT: batch.float().cpu().numpy()}) for batch in batches]
        except Exception as error:  # onnxruntime's errors share no narrower type
            raise CheckpointError(
                f"{MODEL} cannot be run: {' '.join(str(error).split())[:300]}.",
                hint=f"Try it with onnxruntime on {_INPUT} of the shape {list(pixels_BCHW.shape)}.",
            ) from error
        logits_BQC, boxes_BQ4 = (
            _joined(name, [values[index] for values in outputs], len(pixels_BCHW))
            for index, name in enumerate(_OUTPUTS)
        )
        self._check_shapes(logits_BQC, boxes_BQ4)
        return _output(
            of_classes(logits_BQC, self.columns, self.card.scores).float().to(pixels_BCHW.device),
            boxes_BQ4.float().to(pixels_BCHW.device),
            scores=self.card.scores,
        )

    def _check_shapes(self, logits_BQC: Tensor, boxes_BQ4: Tensor) -> None:
        columns = len(self.card.classes) + (self.card.scores == "softmax")
        if logits_BQC.shape[-1] != columns:
            raise CheckpointError(
                f"{MODEL} has {logits_BQC.shape[-1]} columns of logits; {len(self.card.classes)} classes with "
                f"{self.card.scores} scores have {columns}.",
                hint="Correct id2label or scores in config.json.",
            )
        if boxes_BQ4.shape[-1] != 4 or boxes_BQ4.shape[1] != logits_BQC.shape[1] or not boxes_BQ4.shape[1]:
            raise CheckpointError(
                f"{MODEL} gives logits of the shape {list(logits_BQC.shape)} and pred_boxes of the shape "
                f"{list(boxes_BQ4.shape)}.",
                hint="They must be [batch, queries, classes] and [batch, queries, 4].",
            )

    def detect(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As many detections as it has queries."""
        output = self(inputs)
        return best_detections(output, output.boxes_LBQ4.shape[2])


def _session_of(path: Path, threads: int) -> Any:
    """Load a model that is one file and uses only what onnxruntime knows; none of its threads spins while it waits."""
    refuse_pointer(path)
    with path.open("rb") as file:
        empty = not path.stat().st_size
        outside = not empty and _has_external_data(file.fileno())
    if outside:
        raise CheckpointError(
            f"{MODEL} keeps its weights in other files (external data), which are not read.",
            hint="Save it as one file: onnx.save(onnx.load(path), path, save_as_external_data=False).",
        )
    available: list[str] = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(path, options, providers=[name for name in _PROVIDERS if name in available])
    except Exception as error:  # onnxruntime's errors share no narrower type
        reason = str(error).replace(str(path), MODEL).replace(str(path.parent), "")
        raise CheckpointError(
            f"{MODEL} cannot be loaded: {' '.join(reason.split())[:300]}.",
            hint="Export the model again, into one file and with the operators of ONNX alone.",
        ) from error


def _has_external_data(descriptor: int) -> bool:
    """Some tensor of the model names a file: the protobuf message of an entry with the key `location`."""
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\x0a\x08location\x12") >= 0


def _read_inputs(session: Any) -> tuple[int | None, int | None, int | None]:
    """Batch, height and width that the model fixes; None where they are free.

    Raises:
        CheckpointError: it has other inputs or outputs than a detector's.
    """
    inputs = {found.name: found for found in session.get_inputs()}
    outputs = [found.name for found in session.get_outputs()]
    if set(inputs) != {_INPUT} or not set(_OUTPUTS) <= set(outputs):
        raise CheckpointError(
            f"{MODEL} has the inputs {', '.join(inputs)[:200]} and the outputs {', '.join(outputs)[:200]}.",
            hint=f"Export it with the input {_INPUT} and the outputs {' and '.join(_OUTPUTS)}.",
        )
    kind, shape = inputs[_INPUT].type, list(inputs[_INPUT].shape)
    if kind != "tensor(float)":
        raise CheckpointError(f"{MODEL} takes {kind}.", hint="Export it with an input of 32-bit floats.")
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise CheckpointError(
            f"{MODEL} takes {_INPUT} of the shape {shape}.", hint="It must be [batch, 3, height, width]."
        )
    batch, _, height, width = (side if isinstance(side, int) and side > 0 else None for side in shape)
    return batch, height, width


def _joined(name: str, parts: list[Any], images: int) -> Tensor:
    """One output of all batches: floats `[B, Q, ...]`."""
    arrays = [part for part in parts if isinstance(part, np.ndarray) and part.dtype.kind == "f" and part.ndim == 3]
    if len(arrays) < len(parts):
        shown = getattr(parts[0], "shape", type(parts[0]).__name__), getattr(parts[0], "dtype", "")
        raise CheckpointError(
            f"{MODEL} gives {name} of the shape {shown[0]} {shown[1]}.",
            hint="logits and pred_boxes must be floats with three axes: batch, queries, and classes or coordinates.",
        )
    try:
        joined = torch.cat([torch.from_numpy(array) for array in arrays])
    except RuntimeError as error:
        raise CheckpointError(
            f"{MODEL} gives {name} of differing shapes.", hint="Export it for fixed queries."
        ) from error
    if len(joined) != images:
        raise CheckpointError(
            f"{MODEL} gives {name} of {len(joined)} images for {images}.", hint="Export it with a dynamic batch axis."
        )
    return joined


class RecordedTeacher(BlackBoxTeacher):
    """Detections that were made before; see `detrdistill.files.black_boxes` for their file.

    Args:
        card: of the folder.
        recorded: the detections, as an input of the dataset.
        classes: number of classes of the dataset.
    """

    def __init__(self, card: BlackBox, recorded: RecordedDetections, classes: int):
        self.card = card
        self.input_spec = recorded
        self.classes = classes

    def __call__(self, inputs: Tensor) -> DetectorOutput:
        """One query for each detection `[B, R, 6]`: its score at its class, next to nothing at the others."""
        return recorded_output(inputs, self.classes)

    def detect(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The recorded scores, classes and boxes; rows left over have the score zero."""
        return inputs[..., 4].clamp(min=0), inputs[..., 5].clamp(min=0).long(), inputs[..., :4]


def recorded_output(rows_BR6: Tensor, classes: int) -> DetectorOutput:
    """Detections as the output of a detector with sigmoid scores.

    Args:
        rows_BR6: box (cx, cy, w, h) as fractions of the image, score in [0, 1], class index; the rows left over,
            which are -1, come last.
        classes: columns of the logits.

    Returns:
        As many queries as the image with most detections has, but at least one; `valid_BQ` says which are real.
    """
    count = max(int((rows_BR6[..., 5] >= 0).sum(1).max()), 1)
    rows_BQ6 = rows_BR6[:, :count]
    valid_BQ = rows_BQ6[..., 5] >= 0
    label_BQ = rows_BQ6[..., 5].clamp(min=0).long()
    score_BQC = rows_BQ6.new_full((*label_BQ.shape, classes), _LEAST_SCORE)
    score_BQ = torch.where(valid_BQ, rows_BQ6[..., 4].clamp(_LEAST_SCORE, 1 - _LEAST_SCORE), _LEAST_SCORE)
    score_BQC = score_BQC.scatter(-1, label_BQ[..., None], score_BQ[..., None])
    boxes_BQ4 = rows_BQ6[..., :4].where(valid_BQ[..., None], rows_BQ6.new_tensor([0.5, 0.5, 1.0, 1.0]))
    return _output(score_BQC.logit(), boxes_BQ4, scores="sigmoid", valid_BQ=valid_BQ)


def _output(logits_BQC: Tensor, boxes_BQ4: Tensor, *, scores: Scores, valid_BQ: Tensor | None = None) -> DetectorOutput:
    """One layer whose queries have embeddings of no width."""
    hidden_BQD = logits_BQC[..., :0]
    return DetectorOutput(
        logits_BQC[None], boxes_BQ4[None], hidden_BQD[None], Queries(hidden_BQD), scores=scores, valid_BQ=valid_BQ
    )
