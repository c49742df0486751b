"""The teacher's queries in a form that the student's decoder takes."""

import math

import torch
from torch import Tensor, nn

from detrdistill.boxes import clamp_to_image
from detrdistill.methods.method import DetectorShape
from detrdistill.outputs import DetectorOutput, Queries

_WAVES = 16
"""Wavelengths of the sine embedding of each box coordinate."""


class QueryBridge(nn.Module):
    """Projects content and positional part to the student's width, and completes what the student needs.

    A student whose queries have a learned positional part gets the teacher's, projected; where the teacher has none,
    a projection of its content and of its reference box. A student that takes references gets the teacher's; where
    those have too few coordinates or are missing, the boxes of the teacher's first decoder layer.

    Args:
        teacher: whose queries they are.
        student: whose decoder is given them.
        own_reference: let the student derive the references from the projected positional part, where its family can.
    """

    def __init__(self, teacher: DetectorShape, student: DetectorShape, *, own_reference: bool = False):
        super().__init__()
        self.reference_size = student.reference_size
        self.own_reference = own_reference and student.derives_reference
        self.content = _projection(teacher.width, student.width)
        self.position: nn.Module | None = None
        self.place: nn.Module | None = None
        if student.has_position:
            self.position = _projection(teacher.width, student.width)
            if not teacher.has_position:
                self.place = nn.Linear(8 * _WAVES, student.width)

    def forward(self, queries: Queries, predictions: DetectorOutput) -> Queries:
        """Convert queries.

        Args:
            queries: in the teacher's form.
            predictions: the teacher's predictions from these queries.

        Returns:
            The same queries in the student's form. No gradient reaches the teacher's.
        """
        content_BQD = queries.content_BQD.detach().float()
        boxes_BQ4 = queries.reference_BQK
        if boxes_BQ4 is None or boxes_BQ4.shape[-1] < 4:
            boxes_BQ4 = clamp_to_image(predictions.boxes_LBQ4[0])
        position_BQD = None
        if self.position is not None:
            source_BQD = content_BQD if queries.position_BQD is None else queries.position_BQD.detach().float()
            position_BQD = self.position(source_BQD)
            if self.place is not None:
                position_BQD = position_BQD + self.place(_sine(boxes_BQ4.detach().float()))
        reference_BQK = None
        if self.reference_size and not self.own_reference:
            reference_BQK = queries.reference_BQK
            if reference_BQK is None or reference_BQK.shape[-1] < self.reference_size:
                reference_BQK = boxes_BQ4
            reference_BQK = reference_BQK[..., : self.reference_size].detach()
        return Queries(self.content(content_BQD), position_BQD, reference_BQK)


def _sine(boxes_BQ4: Tensor) -> Tensor:
    """Sines and cosines of each coordinate in octaves: `[B, Q, 8 * _WAVES]`.

    Wavelengths fall from 2 (the whole image and the empty half beside it) by equal ratios to 1/128 of the image.
    """
    frequency_W = math.pi * 2 ** torch.linspace(0, 8, _WAVES, device=boxes_BQ4.device)
    angle_BQ4W = boxes_BQ4[..., None] * frequency_W
    return torch.cat([angle_BQ4W.sin(), angle_BQ4W.cos()], dim=-1).flatten(-2)


def _projection(inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)
