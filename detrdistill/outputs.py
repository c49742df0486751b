"""What every detector returns and every loss reads. The shape legend of the project.

Tensor names end in their axes:

    B  image of the batch          C  class                 S  feature level
    L  decoder layer               D  channel               T  memory token; query of the teacher (matched logits)
    Q  query                       N  target of one image   P  matched pair
    H, W  rows and columns         K  coordinate of a reference point (2 or 4); one of the best k
    G  query drawn at random       M  query picked to build a mask
    R  row of detections; bin of an edge's distance

Boxes are (cx, cy, w, h) as fractions of the image unless a name ends in `_xyxy` or `_px`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from detrdistill.catalog import Scores


@dataclass(frozen=True)
class Targets:
    """Ground truth of one image."""

    labels_N: Tensor
    """int64 class indices."""
    boxes_N4: Tensor
    """float32 boxes in [0, 1]."""

    def to(self, device: torch.device) -> "Targets":
        """Copy to a device."""
        return Targets(self.labels_N.to(device, non_blocking=True), self.boxes_N4.to(device, non_blocking=True))


@dataclass(frozen=True)
class Queries:
    """What defines a group of object queries, in a form another detector can be given."""

    content_BQD: Tensor
    """Decoder input embeddings."""
    position_BQD: Tensor | None = None
    """Positional part (DETR, Conditional and Deformable DETR); None where the family derives it from the reference."""
    reference_BQK: Tensor | None = None
    """Initial reference points (K = 2) or boxes (K = 4) in [0, 1]; None: the receiving detector derives it."""


@dataclass(frozen=True)
class Prediction:
    """Class scores and boxes of one prediction head that is not a decoder layer."""

    logits_BQC: Tensor
    boxes_BQ4: Tensor
    class_agnostic: bool = False
    """Only the first logit counts and means 'object' (proposals of two-stage Deformable DETR)."""


@dataclass(frozen=True)
class BoxBins:
    """Boxes as distributions (D-FINE, arXiv 2410.13842): each edge has logits over R distances from a start."""

    logits_LBQ4R: Tensor
    """Of left, top, right and bottom edge."""
    start_BQ4: Tensor
    """Boxes that every layer refines; without gradient."""
    values_R: Tensor
    """Distance outwards that each bin stands for, ascending."""
    scale: float
    """The unit of distance is the start's width or height divided by this."""

    def select(self, queries: slice) -> "BoxBins":
        """Those of some queries."""
        return replace(self, logits_LBQ4R=self.logits_LBQ4R[:, :, queries], start_BQ4=self.start_BQ4[:, queries])


@dataclass(frozen=True)
class Denoising:
    """Predictions from noised ground truth, with their targets known by construction; never distilled."""

    logits_LBQC: Tensor
    boxes_LBQ4: Tensor
    image_P: Tensor
    query_P: Tensor
    target_P: Tensor
    """Index into the image's own targets."""
    group_count: int
    """Noised copies of each target; divides the loss."""
    bins: BoxBins | None = None
    """What the boxes of the last layers are read from (D-FINE lineage)."""


@dataclass(frozen=True)
class DetectorOutput:
    """One forward pass of one detector. Logits, boxes and hidden states are float32."""

    logits_LBQC: Tensor
    """Raw class scores of every decoder layer. With softmax scores a last column, 'no object', follows the classes."""
    boxes_LBQ4: Tensor
    hidden_LBQD: Tensor
    """Query embeddings after each decoder layer, as the heads see them."""
    queries: Queries
    scores: Scores = "sigmoid"
    valid_BQ: Tensor | None = None
    """True at queries that hold a detection, False where an image has fewer; None: all do."""
    neck: tuple[Tensor, ...] = ()
    """Feature maps before the transformer encoder, `feature_BDHW` per level."""
    memory: tuple[Tensor, ...] = ()
    """Feature maps the decoder attends to, `feature_BDHW` per level."""
    pixel_mask_BHW: Tensor | None = None
    """True at pixels of the image, False at padding; None where nothing is padded, as is always so today."""
    initial: Prediction | None = None
    """The first layer's prediction before distribution refinement (D-FINE lineage): supervised, not distilled."""
    bins: BoxBins | None = None
    """What the boxes of all layers but `initial` are read from (D-FINE lineage)."""
    proposals: Prediction | None = None
    """First-stage prediction of two-stage detectors: supervised, not distilled."""
    denoising: Denoising | None = None
    query_groups: "tuple[DetectorOutput, ...]" = ()
    """Predictions of Group DETR's further groups of own queries, in training: supervised as the first group is, each
    with an assignment of its own; not distilled."""
    extra_groups: "tuple[DetectorOutput, ...]" = ()
    """Predictions from extra groups of queries over the same memory."""
    decoder_call: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of the decoder call, for another pass over the same memory."""
    before_encoder: Mapping[str, Sequence[Any]] = field(default_factory=dict, repr=False)
    """What each module before the encoder gave, by its name, for another pass over the same feature maps; empty unless
    it was asked for."""

    @property
    def probability(self) -> Tensor:
        """Class probabilities in [0, 1], without the column 'no object'."""
        return class_probability(self.logits_LBQC, self.scores)

    def supervised(self) -> tuple[Tensor, Tensor]:
        """All predictions the detection loss is applied to, as layers: `initial`, if any, then the decoder layers.

        Those of `query_groups` follow.
        """
        logits, boxes = [], []
        for output in (self, *self.query_groups):
            if output.initial is not None:
                logits.append(output.initial.logits_BQC[None])
                boxes.append(output.initial.boxes_BQ4[None])
            logits.append(output.logits_LBQC)
            boxes.append(output.boxes_LBQ4)
        return torch.cat(logits), torch.cat(boxes)

    def proposed(self) -> tuple[Tensor, Tensor]:
        """First-stage predictions as layers: its own, then those of `query_groups`."""
        heads = [output.proposals for output in (self, *self.query_groups) if output.proposals is not None]
        logits_LBQC = torch.stack([head.logits_BQC for head in heads])
        return logits_LBQC, torch.stack([head.boxes_BQ4 for head in heads])


def best_detections(output: DetectorOutput, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """The detections of the last layer as DETR-family image processors report them, without a score threshold.

    Args:
        output: of a detector.
        most: pairs of query and class that are kept of each image with sigmoid scores.

    Returns:
        scores `[B, R]` in [0, 1], class indices `[B, R]` and boxes `[B, R, 4]` in (cx, cy, w, h): the best pairs of
        query and class, best first; with softmax scores the best class of every query. Queries with a logit or a
        coordinate that is NaN or infinite come first, and have the score NaN.
    """
    broken_BQ = non_finite_queries(output.logits_LBQC[-1], output.boxes_LBQ4[-1])
    scores_BQC = output.probability[-1].masked_fill(broken_BQ[..., None], torch.nan)
    if output.scores == "softmax":
        scores_BQ, labels_BQ = scores_BQC.max(-1)
        return scores_BQ, labels_BQ, output.boxes_LBQ4[-1]
    classes = scores_BQC.shape[-1]
    keep = min(most, scores_BQC[0].numel())
    scores_BR, flat_BR = scores_BQC.flatten(1).topk(keep, dim=1)
    query_BR = flat_BR // classes
    boxes_BR4 = output.boxes_LBQ4[-1].gather(1, query_BR[..., None].expand(-1, -1, 4))
    return scores_BR, flat_BR % classes, boxes_BR4


def non_finite_queries(logits_BQC: Tensor, boxes_BQ4: Tensor) -> Tensor:
    """True at queries `[B, Q]` with a logit or a coordinate that is NaN or infinite.

    An infinite logit is asked for, because its probability is finite.
    """
    return ~(logits_BQC.isfinite().all(-1) & boxes_BQ4.isfinite().all(-1))


NO_CLASS = -50.0
"""Logit of a class that a detector does not know: a probability of next to nothing, whose logarithm is finite."""


def of_classes(logits: Tensor, columns: Sequence[int | None], scores: Scores) -> Tensor:
    """Logits in the classes of a dataset: `[..., K]` gives `[..., C]`, or `[..., C + 1]` with softmax scores.

    Args:
        logits: of a detector with classes of its own.
        columns: its output of each class; None: it has none, so that the class has the logit `NO_CLASS`.
        scores: of the detector; with softmax scores the column 'no object' stays the last.
    """
    wanted = [0 if column is None else column for column in columns]
    wanted += [logits.shape[-1] - 1] if scores == "softmax" else []
    chosen = logits[..., wanted]
    for index, column in enumerate(columns):
        if column is None:
            chosen[..., index] = NO_CLASS
    return chosen


def class_probability(logits: Tensor, scores: Scores) -> Tensor:
    """Probability of each class in [0, 1]: `[..., C]`, or `[..., C + 1]` with softmax scores, gives `[..., C]`."""
    return logits.sigmoid() if scores == "sigmoid" else logits.softmax(-1)[..., :-1]


def strides(feature_maps: tuple[Tensor, ...], image_height: int) -> tuple[int, ...]:
    """Stride of each feature map in pixels of the detector's input."""
    return tuple(round(image_height / feature_BDHW.shape[-2]) for feature_BDHW in feature_maps)
