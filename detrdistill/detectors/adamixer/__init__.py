"""AdaMixer (arXiv 2203.16507), which `transformers` lacks, as a model of that library.

A query-based detector without an encoder: every decoder layer samples the backbone's maps at points of its own, in
the two directions of the image and across levels, and mixes the samples with matrices that the query generates.
Written after the paper and the behaviour of its published code (github.com/MCG-NJU/AdaMixer with mmcv 1.3.3), which
decides where the paper leaves something open. Left out on purpose: dropout (0 in every published configuration) and
the regular grid of initial sampling points where their number is a square (unused in the published ones).

Letters beside those of `detrdistill.outputs`:

    G  group of channels that is sampled and mixed apart    E  channel of one group
    I  sampling point (the paper's P_in)                    O  mixed point (the paper's P_out)
"""

from transformers import AutoConfig, AutoModelForObjectDetection

from detrdistill.detectors.adamixer.configuration import AdaMixerConfig
from detrdistill.detectors.adamixer.modeling import AdaMixerForObjectDetection

__all__ = ["AdaMixerConfig", "AdaMixerForObjectDetection", "register"]


def register() -> None:
    """Teach transformers' auto classes the model type `adamixer`; repeating it changes nothing.

    Called where `detrdistill.detectors` is imported, the one thing that happens at import: `from_pretrained` finds
    a model's class in transformers' own table alone, and a folder must not load in one program and fail in another
    according to which of our modules happened to be imported.
    """
    AutoConfig.register(AdaMixerConfig.model_type, AdaMixerConfig, exist_ok=True)
    AutoModelForObjectDetection.register(AdaMixerConfig, AdaMixerForObjectDetection, exist_ok=True)
