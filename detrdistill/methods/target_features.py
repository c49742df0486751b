"""Target-aware feature distillation: DETRDistill (arXiv 2211.10156), Eqs. 6 to 9, and its release.

The squared difference of teacher and student features is weighted by how much each pixel responds to the teacher's
queries, and each query by how good its prediction is.
"""

from collections.abc import Mapping
from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from detrdistill.errors import ConfigError
from detrdistill.matching import overlaps, pad_targets
from detrdistill.methods.feature_pairs import FeaturePairs, FeatureSource, cell_mask
from detrdistill.methods.method import DetectorShape, Method, MethodInputs
from detrdistill.outputs import DetectorOutput, class_probability

Mask = Literal["cosine_sum", "dot_product"]
QualityIou = Literal["max_any", "same_class", "matched"]


class TargetFeatures(Method):
    """Distil the feature maps where the teacher's good queries look."""

    name = "target_features"

    def __init__(
        self,
        teacher: DetectorShape,
        student: DetectorShape,
        *,
        weight: float,
        source: FeatureSource,
        mask: Mask,
        queries: int | None,
        dedupe: bool,
        gamma: float | None,
        quality_iou: QualityIou,
        floor: float,
        layers: Literal["all", "last"],
        mask_padding: bool,
    ):
        super().__init__()
        self.weight = weight
        self.mask: Mask = mask
        self.queries = queries
        self.dedupe = dedupe
        self.gamma = gamma
        self.quality_iou: QualityIou = quality_iou
        self.floor = floor
        self.layers = layers
        self.mask_padding = mask_padding
        self.pairs = FeaturePairs(teacher, student, source)
        if set(self.pairs.widths) != {teacher.width}:
            raise ConfigError(
                f"The teacher's neck features have {self.pairs.widths} channels and its queries {teacher.width}: "
                "no mask can be computed.",
                hint='Use source "memory", or the method feature_maps, which needs no mask.',
            )

    def weights(self) -> Mapping[str, float]:
        """As the base class."""
        return {f"{self.name}.features": self.weight}

    def forward(self, inputs: MethodInputs) -> dict[str, Tensor]:
        """The term `features`, summed over levels and the teacher layers that build masks.

        Eq. 6: the squared error under a mask, averaged over channels and cells.
        """
        pairs = self.pairs(inputs)
        total = pairs[0][0].new_zeros(())
        for layer in self._mask_layers(inputs.teacher):
            with torch.no_grad():
                query_BMD, quality_BM = self._rated_queries(inputs, layer)
            for teacher_BDHW, student_BDHW in pairs:
                with torch.no_grad():
                    valid_BHW = cell_mask(inputs.teacher.pixel_mask_BHW, teacher_BDHW) if self.mask_padding else None
                    weight_BHW = self._pixel_weights(teacher_BDHW, query_BMD, quality_BM, valid_BHW)
                error_BHW = (teacher_BDHW - student_BDHW).square().mean(1)
                total = total + _mean_over_images(weight_BHW * error_BHW, valid_BHW)
        return {f"{self.name}.features": total}

    def _mask_layers(self, teacher: DetectorOutput) -> range:
        layers = len(teacher.logits_LBQC)
        return range(layers - 1, layers) if self.layers == "last" else range(layers)

    def _rated_queries(self, inputs: MethodInputs, layer: int) -> tuple[Tensor, Tensor]:
        """Query embeddings `[B, M, D]` of one teacher layer and their quality `[B, M]`.

        Eq. 8: q = c^gamma IoU^(1-gamma); the release takes c IoU. An image without ground truth is rated by c alone.
        """
        teacher = inputs.teacher
        probability_BQC = class_probability(teacher.logits_LBQC[layer], teacher.scores)
        queries, classes = probability_BQC.shape[1:]
        if self.queries is None or self.dedupe:
            best_BQ, class_BQ = probability_BQC.max(-1)
            score_BM, query_BM = best_BQ.topk(min(self.queries or queries, queries), dim=1)
            class_BM = class_BQ.gather(1, query_BM)
        else:
            count = min(self.queries, queries * classes)
            score_BM, flat_BM = probability_BQC.flatten(1).topk(count, dim=1)
            query_BM, class_BM = flat_BM // classes, flat_BM % classes  # a query once for each class that scores high
        iou_BM = self._iou(inputs, layer, query_BM, class_BM)
        if self.gamma is None:
            quality_BM = score_BM * iou_BM
        else:
            quality_BM = score_BM**self.gamma * iou_BM ** (1 - self.gamma)
        has_targets_B1 = torch.tensor([[len(t.labels_N) > 0] for t in inputs.targets], device=score_BM.device)
        quality_BM = torch.where(has_targets_B1, quality_BM, score_BM)
        hidden_BQD = teacher.hidden_LBQD[layer]
        query_BMD = hidden_BQD.gather(1, query_BM[..., None].expand(-1, -1, hidden_BQD.shape[-1]))
        return query_BMD, quality_BM

    def _iou(self, inputs: MethodInputs, layer: int, query_BM: Tensor, class_BM: Tensor) -> Tensor:
        """IoU of each picked query with the ground truth that `quality_iou` names, `[B, M]`; zero without any."""
        iou_BQN = overlaps(inputs.teacher.boxes_LBQ4[layer : layer + 1], inputs.targets)[0][0]
        index_BMN = query_BM[..., None].expand(-1, -1, iou_BQN.shape[-1])
        iou_BMN = iou_BQN.gather(1, index_BMN)
        match self.quality_iou:
            case "max_any":
                pass
            case "same_class":
                labels_BN = F.pad(pad_targets(inputs.targets)[0], (0, 1))  # with padding the IoU is zero anyway
                iou_BMN = iou_BMN * (labels_BN[:, None] == class_BM[..., None])
            case "matched":
                pairs = inputs.teacher_assignment.select_layers([layer])
                matched_BQN = torch.zeros_like(iou_BQN)
                matched_BQN[pairs.image_P, pairs.query_P, pairs.target_P] = 1
                iou_BMN = iou_BMN * matched_BQN.gather(1, index_BMN)
            case _:
                assert_never(self.quality_iou)
        return iou_BMN.amax(-1)

    def _pixel_weights(
        self, feature_BDHW: Tensor, query_BMD: Tensor, quality_BM: Tensor, valid_BHW: Tensor | None
    ) -> Tensor:
        """Weight of each pixel's mean squared error, `[B, H, W]`.

        `dot_product`: the response of each query, Eq. 7, squared and weighted by its quality, Eq. 9.
        """
        if self.mask == "cosine_sum":
            return cosine_mask(feature_BDHW, query_BMD, quality_BM, self.floor, valid_BHW).square()
        response_BMHW = torch.einsum("bdhw,bmd->bmhw", feature_BDHW, query_BMD)
        return torch.einsum("bm,bmhw->bhw", quality_BM, response_BMHW.square()) / query_BMD.shape[1]


def cosine_mask(
    feature_BDHW: Tensor, query_BMD: Tensor, quality_BM: Tensor, floor: float, valid_BHW: Tensor | None = None
) -> Tensor:
    """The release's mask in (0, 1]: `max(floor, sum_i q_i cos(Q_i, F_p))`, divided by its maximum over the map.

    Where no query responds the mask is one everywhere: plain feature imitation on that image and level. With
    `valid_BHW`, padding is zero and does not count for the maximum.
    """
    feature_BDHW = F.normalize(feature_BDHW, dim=1)
    query_BD = torch.einsum("bm,bmd->bd", quality_BM, F.normalize(query_BMD, dim=-1))
    mask_BHW = torch.einsum("bdhw,bd->bhw", feature_BDHW, query_BD).clamp(min=floor)
    if valid_BHW is not None:
        mask_BHW = mask_BHW.masked_fill(~valid_BHW, 0.0)
    return mask_BHW / mask_BHW.amax((1, 2), keepdim=True)


def _mean_over_images(values_BHW: Tensor, valid_BHW: Tensor | None) -> Tensor:
    """Mean over the pixels of each image, then over images; with `valid_BHW`, padding does not count."""
    if valid_BHW is None:
        return values_BHW.mean()
    sum_B = values_BHW.masked_fill(~valid_BHW, 0.0).sum((1, 2))
    return (sum_B / valid_BHW.sum((1, 2))).mean()
