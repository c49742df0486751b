"""The events of a job's log: those of its run, and the one that the service adds. Every event that is sent is declared
here or in `detrdistill.events`."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.jobs.states import JobState
from detrdistill.events import RUN_EVENTS, Event


class StateChanged(BaseModel):
    """The job is in another state, or somebody has asked for one. Fields that do not apply are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["state"] = "state"
    state: JobState = Field(description="state from now on")
    attempt: int | None = Field(default=None, description="number of the attempt that a worker begins")
    worker: str | None = Field(default=None, description="name of the worker that begins an attempt")
    waiting_for: list[str] | None = Field(
        default=None, description="pointers to the dataset and checkpoints that are still being checked"
    )
    cancel_requested: bool | None = Field(default=None, description="true: somebody has asked to cancel the job")
    retry: Literal["checkpoint", "start"] | None = Field(
        default=None, description="somebody has asked to run the job again, from there"
    )
    error: dict[str, str] | None = Field(
        default=None, description="why the job ended or goes back into the queue: code, message, hint and pointer"
    )


AnyEvent = Event | StateChanged
EVENTS: Mapping[str, type[BaseModel]] = MappingProxyType({"state": StateChanged, **RUN_EVENTS})
"""Every event of a job's log by its name."""


def data_of(event: AnyEvent) -> dict[str, Any]:
    """What the log keeps of an event beside its name.

    Raises:
        ValueError: the event is not declared.
    """
    if EVENTS.get(event.kind) is not type(event):
        raise ValueError(f"the event {event.kind!r} is not declared")
    return json.loads(event.model_dump_json(exclude={"kind"}, exclude_none=isinstance(event, StateChanged)))
