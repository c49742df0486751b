"""What passes between a worker and the training process it starts.

The worker writes a `RunSpec` to a file, and then a byte to the process's standard input each time it has renewed its
lease. The process writes one event (`detrdistill.events`) per line to its standard output. It is given no
credentials: it can neither reach the database nor the broker.
"""

from pathlib import Path

from pydantic import BaseModel

from detrdistill.coco import DatasetOptions
from detrdistill.config import RunConfig


class RunSpec(BaseModel):
    """One attempt at a job."""

    config: RunConfig
    dataset: Path
    work: Path
    teacher: Path | None = None
    further_teachers: dict[str, Path] = {}
    student: Path | None = None
    dataset_options: DatasetOptions = DatasetOptions()
    silence_seconds: float
    """The process ends itself when it has heard nothing from its worker for so long."""
