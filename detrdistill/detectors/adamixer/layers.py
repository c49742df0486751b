"""Layers that start as the published code starts them.

`transformers` initialises whatever a file lacks by calling `reset_parameters`, so an initial value belongs to the
layer that holds it.
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization

_PRIOR = 0.01
"""Initial score of every class."""


class XavierLinear(nn.Linear):
    """Linear layer with Xavier weights and the usual bias."""

    def reset_parameters(self) -> None:
        """Draw the weights uniformly by fan-in and fan-out, the bias uniformly by fan-in."""
        super().reset_parameters()
        nn.init.xavier_uniform_(self.weight)


class QkvLinear(XavierLinear):
    """Linear layer of queries, keys and values, at first without a bias."""

    def reset_parameters(self) -> None:
        """Draw the weights as those of one matrix."""
        super().reset_parameters()
        nn.init.zeros_(self.bias)


class StaticLinear(XavierLinear):
    """Linear layer that does not look at its input in the beginning: only its bias is drawn."""

    def reset_parameters(self) -> None:
        """Zero the weights."""
        super().reset_parameters()
        nn.init.zeros_(self.weight)


class OffsetLinear(StaticLinear):
    """Linear layer of sampling offsets (x, y, z): scattered over the box, one level below its scale."""

    def reset_parameters(self) -> None:
        """Draw x and y from [-0.5, 0.5] of the box's sides and set z to -1."""
        super().reset_parameters()
        offsets = torch.empty_like(self.bias).uniform_(-0.5, 0.5).view(-1, 3)
        offsets[:, 2] = -1
        initialization.copy_(self.bias, offsets.flatten())


class ScoreLinear(XavierLinear):
    """Linear layer of class scores, at first about 0.01."""

    def reset_parameters(self) -> None:
        """Set the bias to the prior's logit."""
        super().reset_parameters()
        nn.init.constant_(self.bias, math.log(_PRIOR / (1 - _PRIOR)))


class DeltaLinear(StaticLinear):
    """Linear layer of box refinements, at first none."""

    def reset_parameters(self) -> None:
        """Zero everything."""
        super().reset_parameters()
        nn.init.zeros_(self.bias)


class LevelProjection(nn.Conv2d):
    """1x1 convolution from a backbone stage to the decoder's width."""

    def __init__(self, in_channels: int, width: int):
        super().__init__(in_channels, width, kernel_size=1)

    def reset_parameters(self) -> None:
        """Xavier weights, no bias."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Head(nn.Module):
    """Prediction head: one hidden layer with layer norm, then `output`."""

    def __init__(self, output: nn.Linear):
        super().__init__()
        width = output.in_features
        self.hidden = XavierLinear(width, width)
        self.norm = nn.LayerNorm(width)
        self.output = output

    def forward(self, hidden_BQD: Tensor) -> Tensor:
        """Float32 predictions of every query."""
        return self.output(self.norm(self.hidden(hidden_BQD)).relu()).float()
