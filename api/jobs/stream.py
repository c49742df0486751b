"""`GET /jobs/{id}/events`: what happens to a job, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response, status
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from api.db import get_engine
from api.errors import NotFound, problems
from api.jobs import repository
from api.jobs.models import JobEvent
from api.jobs.states import JobState
from api.live import POLL_SECONDS, Live
from api.routing import ApiRoute

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=ApiRoute)
_DATA: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object])
_PING_SECONDS = 15.0
_RETRY_MILLISECONDS = 3000
_BATCH = 500

_DESCRIPTION = """Follow a job live (text/event-stream).

Each event has an id, a name and a JSON object. Names: `state`, `stage`, `weights_loaded`, `step`, `evaluated`,
`checkpoint`, `finished`, `failed`, `requeued`, `artifacts`. All events after `Last-Event-ID` (or `after`) are sent
first, then each new one as it happens; after the last event of a finished job the stream ends, and asking again
answers 204."""


@router.get(
    "/{job_id}/events",
    response_class=StreamingResponse,
    description=_DESCRIPTION,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "no more events"},
    }
    | problems(404, 422, 503),
)
async def stream_events(
    job_id: UUID,
    request: Request,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="send events with a greater id")] = 0,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern=r"^[0-9]{1,18}$",
            description="as `after`; browsers send it when they reconnect",
        ),
    ] = None,
) -> Response:
    """Follow a job live."""
    if last_event_id is not None:
        after = int(last_event_id)
    events, ended = await run_in_threadpool(_news, job_id, after)
    if ended and not events:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    live: Live = request.app.state.live
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(live, job_id, after), media_type="text/event-stream", headers=headers)


async def _stream(live: Live, job_id: UUID, after: int) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=_RETRY_MILLISECONDS)
    silent = 0.0
    with live.watch(str(job_id)) as woken:
        while True:
            woken.clear()
            events, ended = await run_in_threadpool(_news, job_id, after)
            for event in events:
                after = event.id
                data = _DATA.dump_json({**event.data, "at": event.created_at}).decode()
                yield format_sse_event(data_str=data, event=event.kind, id=str(event.id))
            if len(events) == _BATCH:
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


def _news(job_id: UUID, after: int) -> tuple[Sequence[JobEvent], bool]:
    """Events after an id, and whether the job has ended so that no more will come."""
    with Session(get_engine(), expire_on_commit=False) as session:
        job = repository.find(session, job_id)
        if job is None:
            raise NotFound(f"There is no job {job_id}.")
        ended = JobState(job.state).final  # read first: what is committed before it is in the events
        events = repository.events_after(session, job_id, after, _BATCH)
    return events, ended
