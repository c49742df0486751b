"""Target-aware feature distillation: DETRDistill (arXiv 2211.10156), Eqs. 6 to 9, and its release.

The squared difference of teacher and student features is weighted by how much each pixel responds to the teacher's
queries, and each query by how good its prediction is.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detrdistill.boxes import pairwise_iou_and_giou
from detrdistill.errors import ConfigError
from detrdistill.methods.method import DetectorShape, Method, Signals
from detrdistill.outputs import DetectorOutput, Targets, class_probability, strides

Source = Literal["neck", "memory"]
Mask = Literal["cosine_sum", "dot_product", "none"]


class TargetFeatures(Method):
    """Distil the feature maps where the teacher's good queries look.

    The student's map is projected to the teacher's width by a 1x1 convolution where the widths differ. Levels are
    paired by stride and the student's map is resized to the teacher's grid where the input sizes differ.
    """

    name = "target_features"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        *,
        weight: float = 1.0,
        source: Source = "neck",
        mask: Mask = "cosine_sum",
        queries: int | None = 100,
        gamma: float | None = None,
        floor: float = 0.01,
        layers: Literal["all", "last"] = "all",
    ):
        super().__init__()
        self.teacher_height = teacher.image_height
        self.student_height = student.image_height
        self.weight = weight
        self.source: Source = source
        self.mask: Mask = mask
        self.queries = queries
        self.gamma = gamma
        self.floor = floor
        self.layers = layers
        teacher_widths = self._widths(teacher, student)
        if not teacher_widths:
            raise ConfigError(
                f"Teacher and student share no feature stride in {source!r}: "
                f"{teacher.neck_strides, teacher.memory_strides} and {student.neck_strides, student.memory_strides}.",
                hint="Choose the other source, or leave target_features out.",
            )
        student_widths = self._widths(student, teacher)
        if mask != "none" and set(teacher_widths) != {teacher.width}:
            raise ConfigError(
                f"The teacher's neck features have {teacher_widths} channels and its queries {teacher.width}: "
                "no mask can be computed.",
                hint='Use source "memory", or mask "none".',
            )
        self.projections = nn.ModuleList(
            nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1)
            for inputs, outputs in zip(student_widths, teacher_widths, strict=True)
        )

    def _widths(self, detector: DetectorShape, other: DetectorShape) -> list[int]:
        """Channels of the levels that both detectors have."""
        if self.source == "memory":
            shared = set(detector.memory_strides) & set(other.memory_strides)
            return [detector.width for stride in detector.memory_strides if stride in shared]
        shared = set(detector.neck_strides) & set(other.neck_strides)
        levels = zip(detector.neck_strides, detector.neck_widths, strict=True)
        return [width for stride, width in levels if stride in shared]

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        return {f"{self.name}.features": self.weight}

    def forward(self, signals: Signals) -> dict[str, Tensor]:
        """The term `features`, summed over levels and the teacher layers that build masks."""
        teacher_maps, student_maps = self._paired_maps(signals)
        total = teacher_maps[0].new_zeros(())
        if self.mask == "none":
            for teacher_BDHW, student_BDHW in zip(teacher_maps, student_maps, strict=True):
                total = total + F.mse_loss(student_BDHW, teacher_BDHW)
            return {f"{self.name}.features": total}
        for layer in self._mask_layers(signals.teacher):
            with torch.no_grad():
                query_BMD, quality_BM = self._rated_queries(signals.teacher, layer, signals.targets)
            for teacher_BDHW, student_BDHW in zip(teacher_maps, student_maps, strict=True):
                with torch.no_grad():
                    weight_BHW = self._pixel_weights(teacher_BDHW, query_BMD, quality_BM)
                error_BHW = (teacher_BDHW - student_BDHW).square().mean(1)
                total = total + (weight_BHW * error_BHW).mean()
        return {f"{self.name}.features": total}

    def _mask_layers(self, teacher: DetectorOutput) -> range:
        layers = len(teacher.logits_LBQC)
        return range(layers - 1, layers) if self.layers == "last" else range(layers)

    def _rated_queries(self, teacher: DetectorOutput, layer: int, targets: Sequence[Targets]) -> tuple[Tensor, Tensor]:
        """Query embeddings `[B, M, D]` of one layer and their quality `[B, M]`.

        Eq. 8: q = c^gamma IoU^(1-gamma); the release takes c IoU. IoU is the best over all ground truth of the
        image, whatever its class; an image without any is rated by c alone.
        """
        probability_BQC = class_probability(teacher.logits_LBQC[layer], teacher.scores)
        classes = probability_BQC.shape[-1]
        if self.queries is None:
            score_BM = probability_BQC.amax(-1)
            query_BM = torch.arange(score_BM.shape[1], device=score_BM.device).expand_as(score_BM)
        else:
            count = min(self.queries, probability_BQC[0].numel())
            score_BM, flat_BM = probability_BQC.flatten(1).topk(count, dim=1)
            query_BM = flat_BM // classes  # a query is taken once for each class that scores high
        iou_BM = best_iou(teacher.boxes_LBQ4[layer], targets).gather(1, query_BM)
        if self.gamma is None:
            quality_BM = score_BM * iou_BM
        else:
            quality_BM = score_BM**self.gamma * iou_BM ** (1 - self.gamma)
        has_targets_B1 = torch.tensor([[len(t.labels_N) > 0] for t in targets], device=score_BM.device)
        quality_BM = torch.where(has_targets_B1, quality_BM, score_BM)
        hidden_BQD = teacher.hidden_LBQD[layer]
        query_BMD = hidden_BQD.gather(1, query_BM[..., None].expand(-1, -1, hidden_BQD.shape[-1]))
        return query_BMD, quality_BM

    def _pixel_weights(self, feature_BDHW: Tensor, query_BMD: Tensor, quality_BM: Tensor) -> Tensor:
        """Weight of each pixel's mean squared error, `[B, H, W]`."""
        if self.mask == "cosine_sum":
            return cosine_mask(feature_BDHW, query_BMD, quality_BM, self.floor).square()
        response_BMHW = torch.einsum("bdhw,bmd->bmhw", feature_BDHW, query_BMD)
        return torch.einsum("bm,bmhw->bhw", quality_BM, response_BMHW.square()) / query_BMD.shape[1]

    def _paired_maps(self, signals: Signals) -> tuple[list[Tensor], list[Tensor]]:
        """Feature maps of the strides both have, the student's projected and on the teacher's grid."""
        teacher_maps, student_maps = (
            getattr(signals.teacher, self.source),
            getattr(signals.student, self.source),
        )
        teacher_strides = strides(teacher_maps, self.teacher_height)
        student_at = dict(zip(strides(student_maps, self.student_height), student_maps, strict=True))
        teacher_at = dict(zip(teacher_strides, teacher_maps, strict=True))
        shared = [stride for stride in teacher_strides if stride in student_at]
        pairs: tuple[list[Tensor], list[Tensor]] = ([], [])
        for projection, stride in zip(self.projections, shared, strict=True):
            teacher_BDHW = teacher_at[stride].detach().float()
            student_BDHW = projection(student_at[stride].float())
            if student_BDHW.shape[-2:] != teacher_BDHW.shape[-2:]:
                student_BDHW = F.interpolate(student_BDHW, teacher_BDHW.shape[-2:], mode="bilinear")
            pairs[0].append(teacher_BDHW)
            pairs[1].append(student_BDHW)
        return pairs


def cosine_mask(feature_BDHW: Tensor, query_BMD: Tensor, quality_BM: Tensor, floor: float) -> Tensor:
    """The release's mask in (0, 1]: `max(floor, sum_i q_i cos(Q_i, F_p))`, divided by its maximum over the map.

    Where no query responds the mask is one everywhere: plain feature imitation on that image and level.
    """
    feature_BDHW = F.normalize(feature_BDHW, dim=1)
    query_BD = torch.einsum("bm,bmd->bd", quality_BM, F.normalize(query_BMD, dim=-1))
    mask_BHW = torch.einsum("bdhw,bd->bhw", feature_BDHW, query_BD).clamp(min=floor)
    return mask_BHW / mask_BHW.amax((1, 2), keepdim=True)


def best_iou(boxes_BQ4: Tensor, targets: Sequence[Targets]) -> Tensor:
    """Highest IoU of each box with any ground truth of its image, `[B, Q]`; zero where there is none."""
    best_BQ = torch.zeros_like(boxes_BQ4[..., 0])
    for image, target in enumerate(targets):
        if len(target.boxes_N4):
            best_BQ[image] = pairwise_iou_and_giou(boxes_BQ4[image], target.boxes_N4)[0].amax(-1)
    return best_BQ
