"""From a catalog entry or a checkpoint folder to a `Detector`: selection by explicit match, no registry."""

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import nn
from transformers import PreTrainedModel

from detrdistill.catalog import CATALOG, FamilyName, Size, family_of
from detrdistill.detectors.adamixer.adapter import AdaMixer
from detrdistill.detectors.batch_norms import thaw_batch_norms
from detrdistill.detectors.conditional import ConditionalDetr
from detrdistill.detectors.d_fine import DFine
from detrdistill.detectors.dab import DabDetr
from detrdistill.detectors.deformable import DeformableDetr
from detrdistill.detectors.deimv2 import DeimV2
from detrdistill.detectors.detector import Detector
from detrdistill.detectors.detr import Detr, TableTransformer
from detrdistill.detectors.lw_detr import LwDetr, RfDetr
from detrdistill.detectors.rt_detr import RTDetr, RTDetrV2
from detrdistill.detectors.yolos import Yolos
from detrdistill.files.preprocessing import Preprocessing


def build_detector(family: FamilyName, size: Size, classes: Sequence[str], image_size: int, seed: int) -> Detector:
    """A new detector with random weights that depend on the seed alone.

    Args:
        family: of the catalog.
        size: dimensions, from the family's sizes or a variation of them.
        classes: names by output index.
        image_size: side of the square input in pixels.
        seed: of the initial weights.
    """
    labels = {
        "id2label": dict(enumerate(classes)),
        "label2id": {name: index for index, name in enumerate(classes)},
    }
    adapter = adapter_of(family)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config_class: Any = adapter.model_class.config_class
        model = adapter.model_class(config_class(**adapter.settings(size, image_size), **labels))
        thaw_batch_norms(model)
        _init_as_published(model)
        detector = adapter(model, Preprocessing.square(image_size, normalised=CATALOG[family].normalised))
        detector.init_weights()
    return detector


def wrap(model: PreTrainedModel, preprocessing: Preprocessing) -> Detector:
    """Put a model of `transformers` behind the project's interface.

    Raises:
        CheckpointError: its family is not supported.
    """
    return adapter_of(family_of(model.config.model_type))(model, preprocessing)


def adapter_of(family: FamilyName) -> type[Detector]:
    """The class behind which models of a family are put; a new family is one arm here, and one import."""
    match family:
        case "detr":
            adapter = Detr
        case "table-transformer":
            adapter = TableTransformer
        case "conditional-detr":
            adapter = ConditionalDetr
        case "dab-detr":
            adapter = DabDetr
        case "deformable-detr":
            adapter = DeformableDetr
        case "adamixer":
            adapter = AdaMixer
        case "rt-detr":
            adapter = RTDetr
        case "rt-detr-v2":
            adapter = RTDetrV2
        case "deimv2":
            adapter = DeimV2
        case "d-fine":
            adapter = DFine
        case "lw-detr":
            adapter = LwDetr
        case "rf-detr":
            adapter = RfDetr
        case "yolos":
            adapter = Yolos
        case _:
            assert_never(family)
    return adapter


def make_trainable(detector: Detector, *, backbone: bool = True) -> None:
    """Let every weight learn: transformers freezes some ResNet backbones altogether.

    Args:
        detector: to be trained.
        backbone: false keeps the weights of its backbone as they are, and saves their gradients.
    """
    constant = ("decoder.reg_scale", "decoder.up")  # of the distribution head
    for name, parameter in detector.named_parameters():
        if not name.endswith(constant):
            parameter.requires_grad_(backbone or not name.startswith(detector.backbone_prefixes()))


@torch.no_grad()
def _init_as_published(model: PreTrainedModel) -> None:
    """Draw initial weights as the published code does, where transformers differs to the harm of training.

    `transformers` draws every linear layer from a normal of deviation 0.01 or 0.02 whatever its width, and the scales
    of batch norms near zero. A narrow decoder then does not begin to refine boxes for hundreds of steps. The published
    codes draw linear layers by their fan-in and start scales at one; parts with an initialisation of their own (heads,
    sampling offsets) keep it.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    for module in model.modules():
        if type(module).__module__.startswith("transformers."):
            model._init_weights(module)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Linear) and name.endswith(("enc_bbox_head.layers.2", "pre_bbox_head.layers.2")):
            nn.init.zeros_(module.weight)  # first boxes are the anchors
            nn.init.zeros_(module.bias)
