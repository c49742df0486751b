"""What sums of loss terms are divided by, so that ranks that share a batch find the loss of the whole batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from detrdistill.outputs import Targets


def mean_over_ranks(total: Tensor, at_least: float) -> Tensor:
    """A divisor of summed loss terms: the mean of a total over ranks; on one rank the total itself.

    Data parallelism averages loss and gradient over ranks. What was divided by this is then the sum over all ranks by
    the total over all ranks. A collective call: every rank must make it.

    Args:
        total: of this rank, any shape, without gradient.
        at_least: smallest total of all ranks.
    """
    if not dist.is_initialized():
        return total.clamp(min=at_least)
    total = total.clone()
    dist.all_reduce(total)
    return total.clamp(min=at_least) / dist.get_world_size()


def target_count(targets: Sequence[Targets], device: torch.device) -> Tensor:
    """Ground-truth boxes of the whole batch, at least one, per rank."""
    count = sum(len(target.labels_N) for target in targets)
    return mean_over_ranks(torch.tensor(float(count), device=device), at_least=1)
