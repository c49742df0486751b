"""Self-attention among queries that know where they are."""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from detrdistill.detectors.adamixer.geometry import intersection_over_foreground
from detrdistill.detectors.adamixer.layers import QkvLinear, XavierLinear

_EPSILON = 1e-7


class OverlapAttention(nn.Module):
    """Multi-head self-attention that prefers the boxes which contain the query's own.

    Head h adds `tau_h log(IoF + 1e-7)` to the logits, where IoF is the share of the query's box that lies within
    the other box. Source: AdaMixer (arXiv 2203.16507), its self-attention between queries.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.projection = QkvLinear(width, 3 * width)
        self.output = XavierLinear(width, width)
        self.tau = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw tau from [0, 4]."""
        nn.init.uniform_(self.tau, 0, 4)

    def forward(self, hidden_states: Tensor, xyzr: Tensor) -> tuple[Tensor, None]:
        """Attend.

        Args:
            hidden_states: queries with their position embeddings, `[B, Q, D]`.
            xyzr: their boxes, `[B, Q, 4]`.

        Returns:
            `[B, Q, D]`, and None where transformers' attentions return their weights.
        """
        with torch.no_grad():
            overlap_BQQ = (intersection_over_foreground(xyzr) + _EPSILON).log()
        projected = self.projection(hidden_states).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # In another layout the export to ONNX has the strides of the attention's output wrong.
        query, key, value = projected.contiguous()
        bias = (self.tau[:, None, None] * overlap_BQQ[:, None]).to(query.dtype)
        attended = scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.output(attended.transpose(1, 2).flatten(2)), None
