"""Hungarian-matching logits distillation: DETRDistill (arXiv 2211.10156), Eqs. 3 to 5, and its release.

Teacher and student predictions are unordered sets, so each pair is found by an assignment, layer by layer. The
`official` form matches all queries at once; the `paper` form matches the teacher's positives (those the ground
truth is assigned to) fully and its negatives by boxes only. Most teacher queries are plain background: the selection
`near_targets` keeps the positives and the hard negatives, as QSKD does (arXiv 2409.06443).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from detrdistill.boxes import clamp_to_image, iou_and_giou, to_xyxy
from detrdistill.catalog import Scores
from detrdistill.losses.contrastive import ContrastiveHead
from detrdistill.losses.divergence import check_scores, divergence, soft_targets
from detrdistill.losses.normaliser import mean_over_ranks, target_count
from detrdistill.matching import (
    Assignment,
    assign,
    box_cost,
    layer_pairs,
    overlaps,
    soft_bce_cost,
    soft_cross_entropy_cost,
)
from detrdistill.methods.method import DetectorShape, Method, MethodInputs
from detrdistill.outputs import Targets

_EXCLUDED = 1e6
"""Cost that no pair of real queries reaches."""


class MatchedLogits(Method):
    """Distil class scores and boxes of matched queries.

    Per student layer k and its teacher layers: assign the selected teacher queries to student queries by
    `class_weight * softBCE + l1_weight * L1 - giou_weight * GIoU`, then average the same terms (1 - GIoU in place
    of -GIoU) over the pairs. Layers are summed. A student with softmax scores is given soft cross-entropy over its
    classes and 'no object' in place of soft BCE; only a teacher with softmax scores can give it.

    The `classification` term is reported above its floor, the entropy of the teacher's scores, so that it falls to
    zero when the student agrees; the subtracted part has no gradient.
    """

    name = "matched_logits"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        *,
        weight: float,
        class_weight: float,
        l1_weight: float,
        giou_weight: float,
        split: bool,
        positive_weight: float,
        negative_weight: float,
        negative_pool: Literal["all", "remaining"],
        pair_weight: Literal["none", "teacher_confidence"],
        layers: Literal["all", "last"],
        normaliser: Literal["pairs", "targets"],
        selection: Literal["all", "near_targets"],
        selection_giou: float,
        top_queries: int | None,
        score_floor: float,
        layer_reduction: Literal["sum", "mean"],
        clamp_teacher_boxes: bool,
        contrastive_weight: float,
        contrastive_temperature: float,
    ):
        super().__init__()
        self.scores: Scores = student.scores
        if class_weight > 0:
            check_scores(teacher.scores, student.scores)
        pairs = layer_pairs(teacher.layers, student.layers)
        if layers == "last":
            pairs = pairs[-1:]
        self.teacher_layers = [pair[0] for pair in pairs]
        self.student_layers = [pair[1] for pair in pairs]
        shares = [self.student_layers.count(layer) for layer in self.student_layers]
        self.layer_weights = [1 / share if layer_reduction == "mean" else 1.0 for share in shares]
        self.weight = weight
        self.class_weight = class_weight
        self.l1_weight = l1_weight
        self.giou_weight = giou_weight
        self.split = split
        self.positive_weight = positive_weight
        self.negative_weight = negative_weight
        self.negative_pool = negative_pool
        self.pair_weight = pair_weight
        self.normaliser = normaliser
        self.selection = selection
        self.selection_giou = selection_giou
        self.top_queries = top_queries
        self.score_floor = score_floor
        self.clamp_teacher_boxes = clamp_teacher_boxes
        self.contrastive_weight = contrastive_weight
        self.contrast: nn.Module | None = None
        if contrastive_weight > 0:
            self.contrast = ContrastiveHead(teacher.width, student.width, contrastive_temperature)

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        weights = {
            "classification": self.class_weight,
            "l1": self.l1_weight,
            "giou": self.giou_weight,
            "negative_l1": self.l1_weight,
            "negative_giou": self.giou_weight,
            "contrastive": self.contrastive_weight,
        }
        return {f"{self.name}.{term}": self.weight * weight for term, weight in weights.items()}

    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """Terms `classification`, `l1`, `giou` and, by variant, `negative_l1`, `negative_giou`, `contrastive`.

        With `split`, the first three are the positives' loss of Eq. 3, and the negatives' are that of Eq. 4.
        """
        with torch.no_grad():
            teacher_logits_LBTC = inputs.teacher.logits_LBQC[self.teacher_layers]
            probability_LBTC = soft_targets(teacher_logits_LBTC, inputs.teacher.scores, self.scores)
            score_LBT = inputs.teacher.probability[self.teacher_layers].amax(-1)
            teacher_boxes_LBT4 = inputs.teacher.boxes_LBQ4[self.teacher_layers]
            if self.clamp_teacher_boxes:
                teacher_boxes_LBT4 = clamp_to_image(teacher_boxes_LBT4)
        logits_LBQC = inputs.student.logits_LBQC[self.student_layers]
        boxes_LBQ4 = inputs.student.boxes_LBQ4[self.student_layers]
        selected_LBT = self._selected(inputs, score_LBT, teacher_boxes_LBT4)
        predictions = (logits_LBQC, boxes_LBQ4, probability_LBTC, teacher_boxes_LBT4)
        if self.split:
            positives, negatives = self._match_apart(*predictions, self._positive(inputs), selected_LBT)
        else:
            positives, negatives = self._match(*predictions, selected_LBT), None

        weight_P = self._pair_weights(positives, score_LBT, inputs.targets)
        terms = self._box_terms(boxes_LBQ4, teacher_boxes_LBT4, positives, weight_P)
        if self.class_weight > 0:
            student_PC = logits_LBQC[positives.layer_P, positives.image_P, positives.query_P]
            teacher_PC = probability_LBTC[positives.layer_P, positives.image_P, positives.target_P]
            terms["classification"] = (weight_P * divergence(student_PC, teacher_PC, self.scores)).sum()
        if self.split:
            terms = {name: self.positive_weight * term for name, term in terms.items()}
        if negatives is not None:
            weight_P = self.negative_weight * self._pair_weights(negatives, score_LBT, inputs.targets)
            box_terms = self._box_terms(boxes_LBQ4, teacher_boxes_LBT4, negatives, weight_P)
            terms |= {f"negative_{name}": term for name, term in box_terms.items()}
        if self.contrast is not None:
            terms["contrastive"] = self._contrastive(inputs, positives)
        return {f"{self.name}.{term}": value for term, value in terms.items()}

    def _class_cost(self, logits_LBQC: Tensor, probability_LBTC: Tensor) -> Tensor:
        if self.scores == "softmax":
            return soft_cross_entropy_cost(logits_LBQC, probability_LBTC)
        return soft_bce_cost(logits_LBQC, probability_LBTC)

    def _positive(self, inputs: MethodInputs) -> Tensor:
        """Teacher queries that the ground truth is assigned to: bool `[L, B, T]`."""
        logits_LBTC = inputs.teacher.logits_LBQC[self.teacher_layers]
        positive_LBT = torch.zeros_like(logits_LBTC[..., 0], dtype=torch.bool)
        chosen = inputs.teacher_assignment.select_layers(self.teacher_layers)
        positive_LBT[chosen.layer_P, chosen.image_P, chosen.query_P] = True
        return positive_LBT

    @torch.no_grad()
    def _selected(self, inputs: MethodInputs, score_LBT: Tensor, teacher_boxes_LBT4: Tensor) -> Tensor | None:
        """Teacher queries to distil: bool `[L, B, T]`, or None for all. Each condition narrows the choice."""
        valid_BT = inputs.teacher.valid_BQ
        if self.selection == "all" and self.top_queries is None and self.score_floor == 0 and valid_BT is None:
            return None
        selected_LBT = score_LBT >= self.score_floor
        if valid_BT is not None:
            selected_LBT &= valid_BT
        if self.top_queries is not None:
            best_LBK = score_LBT.topk(min(self.top_queries, score_LBT.shape[-1])).indices
            selected_LBT &= torch.zeros_like(selected_LBT).scatter(-1, best_LBK, value=True)
        if self.selection == "near_targets":
            giou_LBT = overlaps(teacher_boxes_LBT4, inputs.targets)[1].amax(-1)
            selected_LBT &= self._positive(inputs) | (giou_LBT > self.selection_giou)
        return selected_LBT

    @torch.no_grad()
    def _match(
        self,
        logits_LBQC: Tensor,
        boxes_LBQ4: Tensor,
        probability_LBTC: Tensor,
        teacher_boxes_LBT4: Tensor,
        selected_LBT: Tensor | None = None,
    ) -> Assignment:
        """Teacher queries to student queries, all in one assignment per layer and image."""
        cost_LBQT = box_cost(boxes_LBQ4, teacher_boxes_LBT4, l1=self.l1_weight, giou=self.giou_weight)
        if self.class_weight > 0:
            cost_LBQT = cost_LBQT + self.class_weight * self._class_cost(logits_LBQC, probability_LBTC)
        if selected_LBT is not None:
            return _assign_columns(cost_LBQT, selected_LBT)
        return assign(cost_LBQT, [cost_LBQT.shape[-1]] * cost_LBQT.shape[1])

    @torch.no_grad()
    def _match_apart(
        self,
        logits_LBQC: Tensor,
        boxes_LBQ4: Tensor,
        probability_LBTC: Tensor,
        teacher_boxes_LBT4: Tensor,
        positive_LBT: Tensor,
        selected_LBT: Tensor | None,
    ) -> tuple[Assignment, Assignment | None]:
        """The two assignments of Eqs. 3 and 4: positives by class and box, negatives by box alone, if they count.

        Positives and negatives are columns of the same cost matrix; the columns of the other kind are given a cost
        that no real pair reaches, and the pairs that took one nevertheless are dropped.
        """
        negative_LBT = ~positive_LBT
        if selected_LBT is not None:
            positive_LBT, negative_LBT = positive_LBT & selected_LBT, negative_LBT & selected_LBT
        box_LBQT = box_cost(boxes_LBQ4, teacher_boxes_LBT4, l1=self.l1_weight, giou=self.giou_weight)
        full_LBQT = box_LBQT
        if self.class_weight > 0:
            full_LBQT = box_LBQT + self.class_weight * self._class_cost(logits_LBQC, probability_LBTC)
        positives = _assign_columns(full_LBQT, positive_LBT)
        if self.negative_weight == 0:
            return positives, None
        if self.negative_pool == "remaining":
            box_LBQT[positives.layer_P, positives.image_P, positives.query_P] = _EXCLUDED
        return positives, _assign_columns(box_LBQT, negative_LBT)

    def _pair_weights(self, pairs: Assignment, score_LBT: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Weight of each pair, times the weight of its layer: sums to one over each layer's pairs, or to the pairs
        per ground truth of the batch. Eq. 5 sums over the layers.
        """
        if self.pair_weight == "teacher_confidence":
            weight_P = score_LBT[pairs.layer_P, pairs.image_P, pairs.target_P]
        else:
            weight_P = torch.ones_like(pairs.layer_P, dtype=score_LBT.dtype)
        layer_weight_L = weight_P.new_tensor(self.layer_weights)
        if self.normaliser == "targets":
            return weight_P * layer_weight_L[pairs.layer_P] / target_count(targets, weight_P.device)
        total_L = torch.zeros_like(layer_weight_L).index_add(0, pairs.layer_P, weight_P)
        return weight_P * (layer_weight_L / mean_over_ranks(total_L, at_least=1e-6))[pairs.layer_P]

    @staticmethod
    def _box_terms(
        boxes_LBQ4: Tensor, teacher_boxes_LBT4: Tensor, pairs: Assignment, weight_P: Tensor
    ) -> dict[str, Tensor]:
        student_P4 = boxes_LBQ4[pairs.layer_P, pairs.image_P, pairs.query_P]
        teacher_P4 = teacher_boxes_LBT4[pairs.layer_P, pairs.image_P, pairs.target_P]
        giou_P = iou_and_giou(to_xyxy(student_P4), to_xyxy(teacher_P4))[1]
        return {
            "l1": (weight_P * (student_P4 - teacher_P4).abs().sum(-1)).sum(),
            "giou": (weight_P * (1 - giou_P)).sum(),
        }

    def _contrastive(self, inputs: MethodInputs, pairs: Assignment) -> Tensor:
        assert self.contrast is not None
        student_LBQD = inputs.student.hidden_LBQD[self.student_layers]
        teacher_LBTD = inputs.teacher.hidden_LBQD[self.teacher_layers]
        student_PD = student_LBQD[pairs.layer_P, pairs.image_P, pairs.query_P]
        teacher_PD = teacher_LBTD[pairs.layer_P, pairs.image_P, pairs.target_P]
        total = student_PD.new_zeros(())
        for layer, weight in enumerate(self.layer_weights):
            of_layer = pairs.layer_P == layer
            if of_layer.sum() < 2:  # one pair has nothing to be contrasted with
                continue
            total = total + weight * self.contrast(teacher_PD[of_layer], student_PD[of_layer])
        return total


def _assign_columns(cost_LBQT: Tensor, wanted_LBT: Tensor) -> Assignment:
    """Assign only the wanted columns of each layer and image."""
    cost_LBQT = cost_LBQT.masked_fill(~wanted_LBT[:, :, None, :], _EXCLUDED)
    pairs = assign(cost_LBQT, [cost_LBQT.shape[-1]] * cost_LBQT.shape[1])
    allowed_P = cost_LBQT[pairs.layer_P, pairs.image_P, pairs.query_P, pairs.target_P] < _EXCLUDED
    return Assignment(*(index[allowed_P] for index in (pairs.layer_P, pairs.image_P, pairs.query_P, pairs.target_P)))
