"""What passes between checker, fork server and checks: one JSON object a line."""

from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter


class Bounds(BaseModel):
    """What one check may take."""

    memory_bytes: int
    silence_seconds: float
    """Without a sign of progress."""
    total_seconds: float


class CheckRequest(BaseModel):
    """A check to be made."""

    id: UUID
    """Of this check; a resource that is checked again is another check."""
    kind: Literal["datasets", "checkpoints"]
    folder: Path
    options: dict[str, Any] = {}
    bounds: Bounds

    @property
    def noun(self) -> str:
        """For error codes."""
        return self.kind.removesuffix("s")


class Command(BaseModel):
    """What the checker asks of the fork server: to start a check, or to end one."""

    start: CheckRequest | None = None
    end: UUID | None = None


class Passed(BaseModel):
    """The files are right."""

    kind: Literal["passed"] = "passed"
    facts: dict[str, Any]
    """Columns of the row."""


class Refused(BaseModel):
    """The files are wrong."""

    kind: Literal["refused"] = "refused"
    code: str
    message: str
    hint: str = ""
    pointer: str = ""


class Crashed(BaseModel):
    """The process of the check ended without an answer."""

    kind: Literal["crashed"] = "crashed"
    how: str
    """As the end of a sentence: `was killed by SIGSEGV`."""


Outcome = Passed | Refused | Crashed
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Annotated[Outcome, Field(discriminator="kind")])


class Answer(BaseModel):
    """What the fork server tells the checker."""

    id: UUID | None
    """None: it has loaded its libraries and begins to work."""
    outcome: Annotated[Outcome, Field(discriminator="kind")] | None = None
    warnings: list[str] = []
    """Bounds that this machine cannot give to a check."""
