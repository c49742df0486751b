"""NaN and infinity are no detections: where they are found, and who is to blame.

pycocotools counts a box of NaN as a match, because every comparison with NaN is false. So a detector that gives a
single score, logit or box coordinate that is NaN or infinite has diverged: its AP is 0 whatever its other detections
are, and the run ends. The same holds for the weights of a detector that is trained, whether or not a loss or a
detection depends on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detrdistill.errors import Diverged
from detrdistill.files.coco import Id
from detrdistill.outputs import DetectorOutput

Detections = Mapping[Id, tuple[Tensor, Tensor, Tensor]]
"""By image id: scores `[R]`, class indices `[R]` and boxes `[R, 4]`."""
_NAMED = 3
"""Tensors that a message names."""


@dataclass(frozen=True)
class NonFinite:
    """Detections of one evaluation that are no finite numbers."""

    detections: int
    images: int
    of_images: int

    def __str__(self) -> str:
        return (
            f"{self.detections} detections on {self.images} of {self.of_images} validation images are NaN or infinite"
        )


def non_finite_detections(found: Detections) -> NonFinite | None:
    """Count detections whose score or box is NaN or infinite; None where there is none."""
    counts = [int((~(scores.isfinite() & boxes.isfinite().all(-1))).sum()) for scores, _, boxes in found.values()]
    if not any(counts):
        return None
    return NonFinite(sum(counts), sum(count > 0 for count in counts), len(found))


def non_finite_tensors(module: nn.Module) -> list[str]:
    """Names of the weights and statistics that hold NaN or infinity."""
    numbers = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in numbers.values()]).tolist()
    return [name for name, is_finite in zip(numbers, finite, strict=True) if not is_finite]


def is_finite(output: DetectorOutput) -> bool:
    """Whether everything a method may read of an output is finite."""
    tensors = [output.logits_LBQC, output.boxes_LBQ4, output.hidden_LBQD, *output.neck, *output.memory]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def check_finite(
    whose: str,
    *,
    detections: NonFinite | None = None,
    tensors: list[str] | None = None,
    hint: str,
    path_pointer: str = "",
) -> None:
    """Refuse a detector with detections or tensors that are no finite numbers.

    Args:
        whose: they are, as the beginning of a sentence.
        detections: of an evaluation.
        tensors: names of weights that are not finite.
        hint: what to do.
        path_pointer: to the input that is to blame, if one is.

    Raises:
        Diverged: naming who is to blame, with counts.
    """
    reasons: list[str] = []
    if tensors:
        more = f" and {len(tensors) - _NAMED} more" if len(tensors) > _NAMED else ""
        reasons.append(f"{len(tensors)} of its tensors hold NaN or infinity ({', '.join(tensors[:_NAMED])}{more})")
    if detections is not None:
        reasons.append(str(detections))
    if reasons:
        raise Diverged(f"{whose} diverged: {'; '.join(reasons)}. Its AP is 0.", hint=hint, path_pointer=path_pointer)
