"""Distillation points: KD-DETR (CVPR 2024, arXiv 2211.08071) and its release.

Teacher and student are given the same queries, so that their predictions correspond by index and nothing is matched.
*General* points are drawn at random in every step and probe the teacher everywhere; *specific* points are the
teacher's own queries. In self-attention a prediction depends on the other queries of its group, so the two kinds are
two groups for the student as they are for the teacher.

Left out on purpose: the release's draw of general references (a normal through a sigmoid, where the paper draws
uniformly), and its mean over classes, which is `class_weight` divided by their number.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from detrdistill.boxes import iou_and_giou, to_xyxy
from detrdistill.catalog import Scores
from detrdistill.losses.divergence import check_scores, divergence, soft_targets, softened_kl
from detrdistill.losses.normaliser import mean_over_ranks
from detrdistill.matching import supervising_layers
from detrdistill.methods.bridge import QueryBridge
from detrdistill.methods.method import DetectorShape, GroupMode, Method, MethodInputs, QueryRequest
from detrdistill.outputs import DetectorOutput, Queries, class_probability

ClassForm = Literal["softmax_kl", "binary"]


class DistillationPoints(Method):
    """Imitate the teacher's prediction from each shared query i, weighted by the teacher's confidence.

    `sum_i w_i (class_weight KL_i + l1_weight L1_i + giou_weight (1 - GIoU_i)) / sum_i w_i`, where w_i is the highest
    class probability the teacher gives query i; summed over student layers.

    The class term between sigmoid scores is `softmax_kl` (the paper's: both heads' logits through a softmax of
    `temperature`; nothing over a single class) or `binary` (per class, above its floor). A softmax student takes the
    former over its classes and 'no object', a sigmoid student of a softmax teacher the latter.
    """

    name = "distillation_points"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        *,
        weight: float,
        general: int,
        specific: bool,
        class_weight: float,
        l1_weight: float,
        giou_weight: float,
        class_form: ClassForm,
        temperature: float,
        layers: Literal["teacher_last", "paired"],
        group: GroupMode,
    ):
        super().__init__()
        if class_weight > 0:
            check_scores(teacher.scores, student.scores)
        if (teacher.scores, student.scores) == ("softmax", "sigmoid"):
            class_form = "binary"
        elif student.scores == "softmax":
            class_form = "softmax_kl"
        self.scores: Scores = student.scores
        self.teacher_scores: Scores = teacher.scores
        self.weight = weight
        self.general = general
        self.specific = specific
        self.class_weight = class_weight
        self.l1_weight = l1_weight
        self.giou_weight = giou_weight
        self.class_form: ClassForm = class_form
        self.temperature = temperature
        self.group: GroupMode = group
        last = [teacher.layers - 1] * student.layers
        self.teacher_layers = last if layers == "teacher_last" else supervising_layers(teacher.layers, student.layers)
        self.bridge = QueryBridge(teacher, student)

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        weights = {"classification": self.class_weight, "l1": self.l1_weight, "giou": self.giou_weight}
        return {f"{self.name}.{term}": self.weight * weight for term, weight in weights.items()}

    def teacher_queries(self, teacher: DetectorOutput) -> Queries | None:
        """General points: uniform references, content and position distributed as the teacher's own queries.

        Drawn anew from the global generator, whose state a checkpoint holds.
        """
        if self.general == 0:
            return None
        own = teacher.queries
        position_BGD = None if own.position_BQD is None else _drawn_like(own.position_BQD, self.general)
        reference_BGK = None
        if own.reference_BQK is not None:
            images, _, coordinates = own.reference_BQK.shape
            reference_BGK = torch.rand(images, self.general, coordinates, device=own.reference_BQK.device)
        return Queries(_drawn_like(own.content_BQD, self.general), position_BGD, reference_BGK)

    def student_queries(self, teacher: DetectorOutput, teacher_predictions: DetectorOutput | None) -> QueryRequest:
        """Specific, then general points in the student's form: a group each, as for the teacher."""
        outputs = self._teacher_outputs(teacher, teacher_predictions)
        return QueryRequest(self.group, tuple(self.bridge(output.queries, output) for output in outputs))

    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """Terms `classification`, `l1` and `giou`."""
        outputs = self._teacher_outputs(inputs.teacher, inputs.teacher_predictions)
        with torch.no_grad():
            wanted_LBQC = torch.cat([output.logits_LBQC[self.teacher_layers] for output in outputs], dim=2)
            wanted_LBQ4 = torch.cat([output.boxes_LBQ4[self.teacher_layers] for output in outputs], dim=2)
            weight_LBQ = class_probability(wanted_LBQC, self.teacher_scores).amax(-1)
            weight_LBQ = weight_LBQ / mean_over_ranks(weight_LBQ.sum((1, 2), keepdim=True), at_least=1e-6)
        logits_LBQC = torch.cat([group.logits_LBQC for group in inputs.extra_predictions], dim=2)
        boxes_LBQ4 = torch.cat([group.boxes_LBQ4 for group in inputs.extra_predictions], dim=2)
        giou_LBQ = iou_and_giou(to_xyxy(boxes_LBQ4), to_xyxy(wanted_LBQ4))[1]
        terms = {
            "l1": (weight_LBQ * (boxes_LBQ4 - wanted_LBQ4).abs().sum(-1)).sum(),
            "giou": (weight_LBQ * (1 - giou_LBQ)).sum(),
        }
        if self.class_weight > 0:
            terms["classification"] = (weight_LBQ * self._class_loss(logits_LBQC, wanted_LBQC)).sum()
        return {f"{self.name}.{term}": value for term, value in terms.items()}

    def _teacher_outputs(
        self, teacher: DetectorOutput, teacher_predictions: DetectorOutput | None
    ) -> list[DetectorOutput]:
        """The teacher's predictions from specific and from general points."""
        outputs = [teacher] if self.specific else []
        if self.general > 0:
            assert teacher_predictions is not None, "the step runs the queries this method asks for"
            outputs.append(teacher_predictions)
        return outputs

    def _class_loss(self, logits_LBQC: Tensor, wanted_LBQC: Tensor) -> Tensor:
        if self.class_form == "softmax_kl":
            return softened_kl(logits_LBQC, wanted_LBQC, self.temperature)
        probability_LBQC = soft_targets(wanted_LBQC, self.teacher_scores, self.scores)
        return divergence(logits_LBQC, probability_LBQC, self.scores)


def _drawn_like(parts_BQD: Tensor, count: int) -> Tensor:
    """Normal draws `[B, count, D]` with the mean and deviation that each channel has over the queries of an image."""
    parts_BQD = parts_BQD.float()
    deviation_B1D, mean_B1D = torch.std_mean(parts_BQD, dim=1, correction=0, keepdim=True)
    images, _, channels = parts_BQD.shape
    return mean_B1D + deviation_B1D * torch.randn(images, count, channels, device=parts_BQD.device)
