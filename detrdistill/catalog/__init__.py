"""What can be trained: detector families, their sizes, and what each needs. Data only, no torch.

Adding a size is one entry; `ARCHITECTURE.md` has the checklist for a family.
"""

from detrdistill.catalog.entries import (
    Backbone,
    ClassificationLoss,
    ConfigFields,
    Family,
    FamilyName,
    HGNetV2,
    MobileNetV2,
    Patches,
    ResNet,
    Scores,
    Size,
    ViT,
)
from detrdistill.catalog.lookup import CATALOG, check_queries, check_side, family_of, size_of

__all__ = [
    "CATALOG",
    "Backbone",
    "ClassificationLoss",
    "ConfigFields",
    "Family",
    "FamilyName",
    "HGNetV2",
    "MobileNetV2",
    "Patches",
    "ResNet",
    "Scores",
    "Size",
    "ViT",
    "check_queries",
    "check_side",
    "family_of",
    "size_of",
]
