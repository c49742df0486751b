"""The detection loss of the DETR family, written once, over the layer axis.

All decoder layers are matched and scored together; auxiliary heads (proposals, denoising queries) go through the
same function with their own pairs. `transformers`' own losses are not used: `ARCHITECTURE.md` says why.
"""

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor

from detrdistill.boxes import iou_and_giou, to_xyxy
from detrdistill.catalog import ClassificationLoss, Scores
from detrdistill.losses.box_bins import decoupled_distillation, fine_grained_localization
from detrdistill.losses.classification import cross_entropy, focal, iou_aware, matchability_aware, varifocal
from detrdistill.losses.normaliser import target_count
from detrdistill.matching import Assignment, assign, box_cost, focal_cost, pad_targets, softmax_cost
from detrdistill.outputs import BoxBins, DetectorOutput, Targets, class_probability
from detrdistill.schema.run import DETECTION_TERMS

TERMS = ("classification", "l1", "giou")
BIN_TERMS = ("fgl", "ddf")
"""Of detectors whose boxes are distributions over bins."""


class SetCriterion:
    """Hungarian matching to the ground truth, then classification, L1 and GIoU losses.

    Source: DETR (arXiv 2005.12872, Eqs. 1 and 2), with its softmax or the sigmoid classification of Deformable DETR.
    Where boxes are distributions over bins, D-FINE's two losses of them (arXiv 2410.13842) can be added; each layer
    keeps its own matching, where D-FINE's release joins those of all layers.
    """

    def __init__(
        self,
        *,
        classification: ClassificationLoss,
        class_weight: float | None,
        l1_weight: float,
        giou_weight: float,
        class_cost: float | None,
        l1_cost: float,
        giou_cost: float,
        fgl_weight: float,
        ddf_weight: float,
    ):
        self.classification: ClassificationLoss = classification
        if class_weight is None:
            class_weight = 2.0 if classification == "focal" else 1.0
        self.term_weights = dict(zip(TERMS, (class_weight, l1_weight, giou_weight), strict=True))
        self.bin_weights = dict(zip(BIN_TERMS, (fgl_weight, ddf_weight), strict=True))
        self.scores: Scores = "softmax" if classification == "cross_entropy" else "sigmoid"
        self.class_cost = class_cost
        self.l1_cost = l1_cost
        self.giou_cost = giou_cost

    def weights(self) -> dict[str, float]:
        """Coefficient of every term that `__call__` can return."""
        weights = self.term_weights | self.bin_weights
        return {f"{prefix}.{term}": weight for prefix in DETECTION_TERMS for term, weight in weights.items()}

    def __call__(self, output: DetectorOutput, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Unweighted loss terms of one forward pass, each summed over layers.

        Terms are normalised by the number of targets in the batch (at least one) and averaged over the groups of
        queries of Group DETR (arXiv 2207.13085). An image without targets contributes background classification only.
        """
        group_count = 1 + len(output.query_groups)
        logits_LBQC, boxes_LBQ4 = output.supervised()
        pairs = self.match(logits_LBQC, boxes_LBQ4, targets, output.scores)
        bins = output.bins if any(self.bin_weights.values()) else None
        terms = _prefixed("detection", self.losses(logits_LBQC, boxes_LBQ4, pairs, targets, group_count, bins))
        if output.proposals is not None:
            logits_LBQC, boxes_LBQ4 = output.proposed()
            if output.proposals.class_agnostic:
                logits_LBQC = logits_LBQC[..., :1]
                targets = [Targets(torch.zeros_like(t.labels_N), t.boxes_N4) for t in targets]
            pairs = self.match(logits_LBQC, boxes_LBQ4, targets, output.scores)
            terms |= _prefixed("proposal", self.losses(logits_LBQC, boxes_LBQ4, pairs, targets, group_count))
        if output.denoising is not None:
            noised = output.denoising
            one_layer = Assignment(torch.zeros_like(noised.image_P), noised.image_P, noised.query_P, noised.target_P)
            pairs = one_layer.select_layers([0] * len(noised.logits_LBQC))
            bins = noised.bins if any(self.bin_weights.values()) else None
            losses = self.losses(noised.logits_LBQC, noised.boxes_LBQ4, pairs, targets, noised.group_count, bins)
            terms |= _prefixed("denoising", losses)
        return terms

    @torch.no_grad()
    def match(self, logits_LBQC: Tensor, boxes_LBQ4: Tensor, targets: Sequence[Targets], scores: Scores) -> Assignment:
        """Assign ground truth to queries in every layer, by class, L1 and GIoU costs.

        The class cost is that of the scores (a teacher's may be others than the student's): twice the focal one for
        sigmoid scores, minus the probability for softmax scores, unless `class_cost` names the factor.
        """
        labels_BN, boxes_BN4 = pad_targets(targets)
        if scores == "softmax":
            factor = 1.0 if self.class_cost is None else self.class_cost
            cost_LBQN = factor * softmax_cost(logits_LBQC, labels_BN)
        else:
            factor = 2.0 if self.class_cost is None else self.class_cost
            cost_LBQN = factor * focal_cost(logits_LBQC, labels_BN)
        cost_LBQN += box_cost(boxes_LBQ4, boxes_BN4, l1=self.l1_cost, giou=self.giou_cost)
        return assign(cost_LBQN, [len(target.labels_N) for target in targets])

    def losses(
        self,
        logits_LBQC: Tensor,
        boxes_LBQ4: Tensor,
        pairs: Assignment,
        targets: Sequence[Targets],
        group_count: int = 1,
        bins: BoxBins | None = None,
    ) -> dict[str, Tensor]:
        """Classification, L1 and GIoU terms of given pairs; unmatched queries are background.

        Args:
            logits_LBQC: raw scores.
            boxes_LBQ4: predicted boxes.
            pairs: query and target of each pair; `target_P` indexes the image's own targets.
            targets: ground truth.
            group_count: copies of each target among the pairs; divides the normaliser out.
            bins: distributions that the boxes of the last layers are read from; they add FGL and DDF terms.
        """
        offset_B = _offsets(targets, pairs.image_P.device)
        flat_P = offset_B[pairs.image_P] + pairs.target_P
        labels_P = torch.cat([target.labels_N for target in targets])[flat_P]
        wanted_P4 = torch.cat([target.boxes_N4 for target in targets])[flat_P]
        predicted_P4 = boxes_LBQ4[pairs.layer_P, pairs.image_P, pairs.query_P]
        iou_P, giou_P = iou_and_giou(to_xyxy(predicted_P4), to_xyxy(wanted_P4))

        count = target_count(targets, boxes_LBQ4.device) * group_count
        box_losses = {"l1": (predicted_P4 - wanted_P4).abs().sum() / count, "giou": (1 - giou_P).sum() / count}
        if bins is not None:
            first = len(logits_LBQC) - len(bins.logits_LBQ4R)
            has_P = pairs.layer_P >= first
            own = Assignment(
                pairs.layer_P[has_P] - first, pairs.image_P[has_P], pairs.query_P[has_P], pairs.target_P[has_P]
            )
            confidence_BQ = class_probability(logits_LBQC[-1], self.scores).amax(-1)
            box_losses["fgl"] = fine_grained_localization(bins, own, wanted_P4[has_P], iou_P[has_P]) / count
            box_losses["ddf"] = decoupled_distillation(bins, own, iou_P[has_P], confidence_BQ)
        if self.classification == "cross_entropy":
            labels_LBQ = torch.full_like(logits_LBQC[..., 0], logits_LBQC.shape[-1] - 1, dtype=torch.int64)
            labels_LBQ[pairs.layer_P, pairs.image_P, pairs.query_P] = labels_P
            return {"classification": cross_entropy(logits_LBQC, labels_LBQ), **box_losses}

        one_hot = torch.zeros_like(logits_LBQC)
        one_hot[pairs.layer_P, pairs.image_P, pairs.query_P, labels_P] = 1
        quality = torch.zeros_like(logits_LBQC[..., :1])
        quality[pairs.layer_P, pairs.image_P, pairs.query_P, 0] = iou_P.detach()
        match self.classification:
            case "focal":
                class_loss = focal(logits_LBQC, one_hot)
            case "varifocal":
                class_loss = varifocal(logits_LBQC, one_hot, quality)
            case "mal":
                class_loss = matchability_aware(logits_LBQC, one_hot, quality)
            case "ia_bce":
                class_loss = iou_aware(logits_LBQC, one_hot, quality)
            case _:
                assert_never(self.classification)
        return {"classification": class_loss / count, **box_losses}


def _prefixed(prefix: str, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": value for name, value in terms.items()}


def _offsets(targets: Sequence[Targets], device: torch.device) -> Tensor:
    """Index of each image's first target in the concatenation of all."""
    lengths = torch.tensor([0, *(len(target.labels_N) for target in targets)], device=device)
    return lengths.cumsum(0)[:-1]
