"""What is found out about a checkpoint when it is registered."""

from pathlib import Path

from detrdistill.black_boxes import inspect_black_box, kind_of
from detrdistill.catalog import CATALOG
from detrdistill.checkpoints import CheckpointFacts, inspect_checkpoint


def check_checkpoint(folder: Path) -> CheckpointFacts:
    """Check that a folder is a detector or a black box that the engine can load, and describe it.

    Raises:
        CheckpointError: it is neither.
    """
    kind = kind_of(folder)
    if kind is not None:
        box = inspect_black_box(folder, kind)
        return CheckpointFacts(kind=box.kind, scores=box.scores, classes=box.classes, image_size=box.image_size)
    card = inspect_checkpoint(folder)
    return CheckpointFacts(
        kind="detector",
        family=card.family,
        scores=CATALOG[card.family].scores,
        classes=card.classes,
        parameters=card.parameters,
        queries=card.queries,
        two_stage=card.two_stage,
        decoder_layers=card.decoder_layers,
        width=card.width,
        image_size=card.image_size,
    )
