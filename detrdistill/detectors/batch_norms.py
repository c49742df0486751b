"""Batch norms: thawing those that transformers freezes, freezing them, and keeping their statistics.

DETR, Conditional DETR, DAB-DETR, Deformable DETR and their relatives replace the batch norms of their backbone by
constants. That is right for a pre-trained backbone; in a new detector the constants are one and zero, so that the
backbone has no normalisation at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def thaw_batch_norms(module: nn.Module) -> None:
    """Replace every frozen batch norm by one that learns, under the same names and with the same values.

    The count of batches is left out of its state, so that the weights load into transformers' own class.
    """
    for child in module.modules():
        for name, frozen in list(child.named_children()):
            if type(frozen).__name__.endswith("FrozenBatchNorm2d"):
                values = frozen.state_dict()
                learning = nn.BatchNorm2d(len(values["weight"]))
                learning.register_buffer("num_batches_tracked", None)
                for name_of_value, value in learning.state_dict(keep_vars=True).items():
                    value.data.copy_(values[name_of_value])
                setattr(child, name, learning)


def freeze_batch_norms(module: nn.Module) -> None:
    """Put every batch norm in evaluation mode: statistics stay as they are. Scales and offsets still learn."""
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            child.eval()


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Context in which batch norms normalise as ever, but leave their running statistics as they are."""
    counting = [
        child
        for child in module.modules()
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and child.track_running_stats
    ]
    for child in counting:
        child.track_running_stats = False
    try:
        yield
    finally:
        for child in counting:
            child.track_running_stats = True
