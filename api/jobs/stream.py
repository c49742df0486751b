"""`GET /jobs/{id}/events` and `GET /events`: what happens to one job or to several, as server-sent events.

A browser gives one origin six connections over HTTP/1.1, and a stream keeps one for itself. Whoever follows several
jobs at once does so with one stream: the id of an event is then where the reader stands in each job.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from api.db import get_engine
from api.errors import ApiError, NotFound, problems
from api.jobs import repository
from api.jobs.events import EVENTS
from api.jobs.models import JobEvent
from api.jobs.states import JobState
from api.live import POLL_SECONDS, Live
from api.routing import ApiRoute

router = APIRouter(tags=["jobs"], route_class=ApiRoute)
_DATA: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object])
_PING_SECONDS = 15.0
_RETRY_MILLISECONDS = 3000
_BATCH = 500
_MOST_JOBS = 50

_DESCRIPTION = f"""Follow a job live (text/event-stream).

Each event has an id, a name and a JSON object with the time (`at`) and the job (`job_id`). Names:
{", ".join(f"`{name}`" for name in EVENTS)}; `GET /catalog` describes each with its fields. All events after
`Last-Event-ID` (or `after`) are sent first, then each new one as it happens; after the last event of a finished job the
stream ends, and asking again answers 204."""

_DESCRIPTION_OF_SEVERAL = """Follow several jobs live with one connection (text/event-stream).

The events are those of `GET /jobs/{id}/events`. The id of an event holds the newest id so far of each job, in the order
of `job`, joined by commas; sent back as `Last-Event-ID` it goes on where the stream broke. The stream ends after the
last event of the last job that had not ended, and asking again answers 204."""

_RESPONSES = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    204: {"description": "no more events"},
}

EventId = Annotated[int, Query(ge=0, le=2**63 - 1)]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        pattern=r"^[0-9]{1,18}(,[0-9]{1,18})*$",
        description="as `after`, joined by commas; browsers send it when they reconnect",
    ),
]


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    description=_DESCRIPTION,
    responses=_RESPONSES | problems(404, 422, 503),
)
async def stream_events(
    job_id: UUID,
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="send events with a greater id")] = 0,
    last_event_id: LastEventId = None,
) -> Response:
    """Follow a job live."""
    return await _follow(request, {job_id: after}, last_event_id)


@router.get(
    "/events",
    response_class=StreamingResponse,
    description=_DESCRIPTION_OF_SEVERAL,
    responses=_RESPONSES | problems(404, 422, 503),
)
async def stream_jobs(
    request: Request,
    job: Annotated[list[UUID], Query(min_length=1, max_length=_MOST_JOBS, description="id of a job; once for each")],
    after: Annotated[
        list[EventId], Query(max_length=_MOST_JOBS, description="of each job, in the order of `job`: as above; or none")
    ] = [],  # noqa: B006  the framework copies it
    last_event_id: LastEventId = None,
) -> Response:
    """Follow several jobs live."""
    if len(set(job)) < len(job):
        raise ApiError("A job is named twice.", pointer="/job", hint="Name each job once.")
    if len(after) not in (0, len(job)):
        raise ApiError(
            f"{len(job)} jobs, but {len(after)} ids of events.",
            pointer="/after",
            hint="Give one for each job, or none.",
        )
    return await _follow(request, dict(zip(job, after or [0] * len(job), strict=True)), last_event_id)


async def _follow(request: Request, positions: dict[UUID, int], last_event_id: str | None) -> Response:
    """The stream of these jobs, each from where the reader stands in it.

    Raises:
        NotFound: there is no such job.
        ApiError: `last_event_id` is about another number of jobs.
    """
    if last_event_id is not None:
        positions = dict(zip(positions, _parsed(last_event_id, len(positions)), strict=True))
    events, ended = await run_in_threadpool(_news, positions)
    if ended and not events:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    live: Live = request.app.state.live
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(live, positions), media_type="text/event-stream", headers=headers)


def _parsed(last_event_id: str, jobs: int) -> list[int]:
    """Where the reader stands in each job."""
    ids = last_event_id.split(",")
    if len(ids) != jobs:
        raise ApiError(f"{jobs} jobs, but {len(ids)} ids of events.", pointer="/Last-Event-ID", hint="Leave it out.")
    return [int(part) for part in ids]


async def _stream(live: Live, positions: dict[UUID, int]) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=_RETRY_MILLISECONDS)
    silent = 0.0
    with live.watch(*map(str, positions)) as woken:
        while True:
            woken.clear()
            events, ended = await run_in_threadpool(_news, positions)
            for event in events:
                positions[event.job_id] = event.id
                data = _DATA.dump_json({**event.data, "job_id": event.job_id, "at": event.created_at}).decode()
                yield format_sse_event(data_str=data, event=event.kind, id=",".join(map(str, positions.values())))
            if len(events) >= _BATCH:
                continue
            if ended:
                return
            silent = 0.0 if events else silent + POLL_SECONDS
            if silent >= _PING_SECONDS:
                silent = 0.0
                yield format_sse_event(comment="ping")
            try:
                await asyncio.wait_for(woken.wait(), POLL_SECONDS)
            except TimeoutError:
                continue


def _news(positions: Mapping[UUID, int]) -> tuple[list[JobEvent], bool]:
    """Events of each job after an id, and whether all jobs have ended so that no more will come."""
    news: list[JobEvent] = []
    ended = True
    with Session(get_engine(), expire_on_commit=False) as session:
        for job_id, after in positions.items():
            job = repository.find(session, job_id)
            if job is None:
                raise NotFound(f"There is no job {job_id}.")
            ended &= JobState(job.state).final  # read first: what is committed before it is in the events
            news += repository.events_after(session, job_id, after, _BATCH)
    return news, ended
