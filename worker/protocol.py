"""What passes between a worker and the training process it starts.

The worker writes a `RunSpec` to a file, and then a byte to the process's standard input each time it has renewed its
lease. The process writes to its standard output: a line of the journal (`worker.journal`) for each event, and an empty
line as a sign of progress. It is given no credentials: it can neither reach the database nor the broker.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from api.jobs.pointers import STUDENT_POINTER, teacher_pointer
from detrdistill.schema.paths import RunPaths
from detrdistill.schema.run import RunConfig


class RunSpec(BaseModel):
    """One attempt at a job."""

    config: RunConfig
    paths: RunPaths
    digests: dict[str, str]
    """SHA-256 of the weights of each checkpoint when it was registered, by JSON pointer into the request."""
    journal: Path
    """File of this attempt's events."""
    sequence: int
    """Number of the last event before this attempt."""
    silence_seconds: float
    """The process ends itself when it has heard nothing from its worker for so long."""

    def checkpoints(self) -> Iterator[tuple[str, Path]]:
        """Folder of each checkpoint, with the JSON pointer into the request that names it."""
        for name, folder in self.paths.teachers.items():
            yield teacher_pointer(name), folder
        if self.paths.student is not None:
            yield STUDENT_POINTER, self.paths.student
