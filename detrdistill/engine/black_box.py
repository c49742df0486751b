"""Frozen teachers of which only boxes and scores are known: an ONNX model, or detections in a file."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from detrdistill.black_boxes import MODEL, BlackBox
from detrdistill.catalog import Scores
from detrdistill.data.dataset import Source
from detrdistill.data.detections import RecordedDetections
from detrdistill.errors import CheckpointError
from detrdistill.methods.method import DetectorShape
from detrdistill.outputs import DetectorOutput, Queries, best_detections
from detrdistill.preprocessing import Preprocessing

_INPUT, _OUTPUTS = "pixel_values", ("logits", "pred_boxes")
_LEAST_SCORE = 1e-4
"""Scores of a file are clamped to this and to one minus this; so much have the classes that it does not name."""


class BlackBoxTeacher(ABC):
    """Gives one layer of logits and boxes, and nothing else; `detrdistill.pairing` refuses methods that need more."""

    card: BlackBox
    source: Source
    """What it looks at."""

    @property
    def identity(self) -> BlackBox:
        """What pairing needs to know."""
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
    def __call__(self, view: Tensor) -> DetectorOutput:
        """What it says of a batch; its logits have one column per class of the data set."""

    @abstractmethod
    def detect(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Detections in the classes of the data set: scores `[B, R]`, class indices `[B, R]`, boxes `[B, R, 4]`."""

    def decode(self, output: DetectorOutput, queries: Queries) -> DetectorOutput:
        """A black box takes no queries."""
        raise TypeError("a black box takes no queries")


class OnnxTeacher(BlackBoxTeacher):
    """A model run by onnxruntime; see `detrdistill.black_boxes` for its folder.

    Args:
        folder: holds `model.onnx`.
        card: of this folder.
        preprocessing: of its input.
        class_map: output index of each class of the data set.

    Raises:
        CheckpointError: the file is no ONNX model, or has other inputs and outputs.
    """

    def __init__(self, folder: Path, card: BlackBox, preprocessing: Preprocessing, class_map: tuple[int, ...]):
        self.card = card
        self.source = preprocessing
        self.class_map = class_map
        self._file = folder / MODEL
        self._open()
        inputs = {found.name: found.shape for found in self._session.get_inputs()}
        outputs = [found.name for found in self._session.get_outputs()]
        if set(inputs) != {_INPUT} or not set(_OUTPUTS) <= set(outputs):
            raise CheckpointError(
                f"{MODEL} has the inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}.",
                hint=f"Export it with the input {_INPUT} and the outputs {' and '.join(_OUTPUTS)}.",
            )
        kind: str = self._session.get_inputs()[0].type
        if kind != "tensor(float)":
            raise CheckpointError(f"{MODEL} takes {kind}.", hint="Export it with an input of 32-bit floats.")
        batch, _, *size = inputs[_INPUT]
        self._batch: int | None = batch if isinstance(batch, int) else None
        asked = (preprocessing.height, preprocessing.width)
        if any(isinstance(side, int) and side != given for side, given in zip(size, asked, strict=True)):
            raise CheckpointError(
                f"{MODEL} takes pictures of {size[0]} x {size[1]}, preprocessor_config.json makes them {asked[0]} x "
                f"{asked[1]}.",
                hint="Correct size in preprocessor_config.json.",
            )
        if self._batch not in (None, 1):
            raise CheckpointError(
                f"{MODEL} takes batches of exactly {self._batch}.",
                hint="Export it with a dynamic batch axis, or with 1.",
            )

    def _open(self) -> None:
        """Load the model, with as many threads as torch has; none spins while it waits."""
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        available: list[str] = onnxruntime.get_available_providers()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                self._file, options, providers=[name for name in wanted if name in available]
            )
        except Exception as error:  # onnxruntime's errors share no narrower type
            raise CheckpointError(
                f"{MODEL} cannot be loaded: {str(error)[:300]}.", hint="Export the model again, into one file."
            ) from error

    def __call__(self, view: Tensor) -> DetectorOutput:
        """Run the model on normalised pixels `[B, 3, H, W]`.

        Raises:
            CheckpointError: the logits have another number of columns than there are classes.
        """
        if self._threads != torch.get_num_threads():
            self._open()
        batches = view.split(self._batch or len(view))
        answers = [self._session.run(_OUTPUTS, {_INPUT: batch.float().cpu().numpy()}) for batch in batches]
        logits_BQC, boxes_BQ4 = (
            torch.cat([torch.from_numpy(answer[output]) for answer in answers]) for output in range(len(_OUTPUTS))
        )
        background = [len(self.card.classes)] if self.card.scores == "softmax" else []
        columns = len(self.card.classes) + len(background)
        if logits_BQC.shape[-1] != columns:
            raise CheckpointError(
                f"{MODEL} has {logits_BQC.shape[-1]} columns of logits; {len(self.card.classes)} classes with "
                f"{self.card.scores} scores have {columns}.",
                hint="Correct id2label or scores in config.json.",
            )
        return _output(
            logits_BQC[..., [*self.class_map, *background]].float().to(view.device),
            boxes_BQ4.float().to(view.device),
            scores=self.card.scores,
        )

    def detect(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As many detections as it has queries."""
        output = self(view)
        return best_detections(output, output.boxes_LBQ4.shape[2])


class RecordedTeacher(BlackBoxTeacher):
    """Detections that were made before; see `detrdistill.black_boxes` for their file.

    Args:
        card: of the folder.
        recorded: the detections, as an input of the data set.
        classes: number of classes of the data set.
    """

    def __init__(self, card: BlackBox, recorded: RecordedDetections, classes: int):
        self.card = card
        self.source = recorded
        self.classes = classes

    def __call__(self, view: Tensor) -> DetectorOutput:
        """One query for each detection `[B, R, 6]`: its score at its class, next to nothing at the others."""
        return recorded_output(view, self.classes)

    def detect(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The recorded scores, classes and boxes; rows left over have the score zero."""
        return view[..., 4].clamp(min=0), view[..., 5].clamp(min=0).long(), view[..., :4]


def recorded_output(rows_BR6: Tensor, classes: int) -> DetectorOutput:
    """Detections as the output of a detector with sigmoid scores.

    Args:
        rows_BR6: box (cx, cy, w, h) as fractions of the picture, score in [0, 1], class index; the rows left over,
            which are -1, come last.
        classes: columns of the logits.

    Returns:
        As many queries as the picture with most detections has, but at least one; `found_BQ` says which are real.
    """
    count = max(int((rows_BR6[..., 5] >= 0).sum(1).max()), 1)
    rows_BQ6 = rows_BR6[:, :count]
    found_BQ = rows_BQ6[..., 5] >= 0
    label_BQ = rows_BQ6[..., 5].clamp(min=0).long()
    score_BQC = rows_BQ6.new_full((*label_BQ.shape, classes), _LEAST_SCORE)
    score_BQ = torch.where(found_BQ, rows_BQ6[..., 4].clamp(_LEAST_SCORE, 1 - _LEAST_SCORE), _LEAST_SCORE)
    score_BQC = score_BQC.scatter(-1, label_BQ[..., None], score_BQ[..., None])
    boxes_BQ4 = rows_BQ6[..., :4].where(found_BQ[..., None], rows_BQ6.new_tensor([0.5, 0.5, 1.0, 1.0]))
    return _output(score_BQC.logit(), boxes_BQ4, scores="sigmoid", found_BQ=found_BQ)


def _output(logits_BQC: Tensor, boxes_BQ4: Tensor, *, scores: Scores, found_BQ: Tensor | None = None) -> DetectorOutput:
    """One layer whose queries have embeddings of no width."""
    hidden_BQD = logits_BQC[..., :0]
    return DetectorOutput(
        logits_BQC[None], boxes_BQ4[None], hidden_BQD[None], Queries(hidden_BQD), scores=scores, found_BQ=found_BQ
    )
