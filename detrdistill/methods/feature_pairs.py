"""Feature maps of teacher and student, made comparable: what the methods that distil features share."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from detrdistill.errors import ConfigError
from detrdistill.methods.method import DetectorShape, MethodInputs
from detrdistill.outputs import strides

FeatureSource = Literal["neck", "memory"]
"""Feature maps before the transformer encoder, or those that the decoder attends to."""


class FeaturePairs(nn.Module):
    """Pairs the levels of two detectors by stride.

    The student's map is projected to the teacher's width by a 1x1 convolution where the widths differ, and resized to
    the teacher's grid where the input sizes differ.

    Attributes:
        widths: channels of each pair of maps, the teacher's.
    """

    def __init__(self, teacher: DetectorShape, student: DetectorShape, source: FeatureSource):
        super().__init__()
        self.source: FeatureSource = source
        self.teacher_height = teacher.image_height
        self.student_height = student.image_height
        teacher_levels, student_levels = _widths(teacher, source), _widths(student, source)
        shared = [stride for stride in teacher_levels if stride in student_levels]
        if not shared:
            raise ConfigError(
                f"Teacher and student share no feature stride in {source!r}: "
                f"{tuple(teacher_levels)} and {tuple(student_levels)}.",
                hint="Choose the other source, or leave this method out.",
            )
        self.widths = [teacher_levels[stride] for stride in shared]
        self.projections = nn.ModuleList(
            nn.Identity()
            if student_levels[stride] == teacher_levels[stride]
            else nn.Conv2d(student_levels[stride], teacher_levels[stride], kernel_size=1)
            for stride in shared
        )

    def forward(self, inputs: MethodInputs) -> list[tuple[Tensor, Tensor]]:
        """The teacher's and the student's `feature_BDHW` of each level both have, in float32."""
        teacher_maps: tuple[Tensor, ...] = getattr(inputs.teacher, self.source)
        student_maps: tuple[Tensor, ...] = getattr(inputs.student, self.source)
        teacher_at = dict(zip(strides(teacher_maps, self.teacher_height), teacher_maps, strict=True))
        student_at = dict(zip(strides(student_maps, self.student_height), student_maps, strict=True))
        shared = [stride for stride in teacher_at if stride in student_at]
        pairs: list[tuple[Tensor, Tensor]] = []
        for projection, stride in zip(self.projections, shared, strict=True):
            teacher_BDHW = teacher_at[stride].detach().float()
            student_BDHW = projection(student_at[stride].float())
            if student_BDHW.shape[-2:] != teacher_BDHW.shape[-2:]:
                student_BDHW = F.interpolate(student_BDHW, teacher_BDHW.shape[-2:], mode="bilinear")
            pairs.append((teacher_BDHW, student_BDHW))
        return pairs


def cell_mask(pixel_mask_BHW: Tensor | None, feature_BDHW: Tensor) -> Tensor | None:
    """Cells of a feature map with any pixel of the image in them: bool `[B, H, W]`; None where nothing is padded."""
    if pixel_mask_BHW is None:
        return None
    return F.adaptive_max_pool2d(pixel_mask_BHW[:, None].float(), feature_BDHW.shape[-2:])[:, 0] > 0


def _widths(detector: DetectorShape, source: FeatureSource) -> dict[int, int]:
    """Channels of each level by stride."""
    if source == "memory":
        return dict.fromkeys(detector.memory_strides, detector.width)
    return dict(zip(detector.neck_strides, detector.neck_widths, strict=True))
