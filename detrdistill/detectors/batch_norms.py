"""Batch norms that learn, where the library has frozen ones.

DETR, Conditional DETR, DAB-DETR, Deformable DETR and their relatives replace the batch norms of their backbone by
constants. That is right for a pre-trained backbone; in a new detector the constants are one and zero, so that the
trunk has no normalisation at all.
"""

from torch import nn


def thaw_batch_norms(module: nn.Module) -> None:
    """Replace every frozen batch norm by one that learns, under the same names and with the same values.

    The count of batches is left out of its state, so that the weights load into the library's own class.
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
