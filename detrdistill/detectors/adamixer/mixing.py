"""Adaptive mixing: a query decodes its samples with matrices it generates itself.

Source: AdaMixer (arXiv 2203.16507), adaptive channel and spatial mixing.
"""

from torch import Tensor, nn
from torch.nn.functional import layer_norm

from detrdistill.detectors.adamixer.layers import StaticLinear, XavierLinear


class AdaptiveMixing(nn.Module):
    """Channel mixing, then spatial mixing, each with layer norm over points and channels and ReLU."""

    def __init__(self, width: int, in_points: int, out_points: int, groups: int):
        super().__init__()
        channels = width // groups
        self.channel_shape = (groups, channels, channels)
        self.spatial_shape = (groups, out_points, in_points)
        self.matrices = StaticLinear(width, groups * (channels * channels + out_points * in_points))
        self.output = XavierLinear(groups * out_points * channels, width)

    def forward(self, sampled_BQGIE: Tensor, hidden_BQD: Tensor) -> Tensor:
        """Update of every query, without the residual: `[B, Q, D]`."""
        groups, channels, _ = self.channel_shape
        parameters = self.matrices(hidden_BQD).unflatten(2, (groups, -1))
        channel_BQGEE = parameters[..., : channels * channels].unflatten(3, self.channel_shape[1:])
        spatial_BQGOI = parameters[..., channels * channels :].unflatten(3, self.spatial_shape[1:])
        mixed_BQGIE = _normalised(sampled_BQGIE.to(parameters.dtype) @ channel_BQGEE)
        mixed_BQGOE = _normalised(spatial_BQGOI @ mixed_BQGIE.to(parameters.dtype))
        return self.output(mixed_BQGOE.flatten(2))


def _normalised(mixed: Tensor) -> Tensor:
    return layer_norm(mixed, mixed.shape[-2:]).relu()
