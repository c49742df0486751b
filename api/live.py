"""Wake watchers when a job has news: one LISTEN connection per api process, fanned out in memory.

A notification is only a wake-up; the news are read from the table. When the connection is lost watchers fall back to
looking every two seconds, so nothing depends on it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress

import psycopg

CHANNEL = "detrdistill_jobs"
POLL_SECONDS = 2.0
_RECONNECT_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Live:
    """Subscriptions to jobs, within one event loop."""

    def __init__(self, database_url: str):
        self._dsn = database_url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening and let every watcher look once more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def watch(self, *job_ids: str) -> Generator[asyncio.Event]:
        """An event that is set whenever one of the jobs has news."""
        event = asyncio.Event()
        for job_id in job_ids:
            self._watchers[job_id].add(event)
        try:
            yield event
        finally:
            for job_id in job_ids:
                self._watchers[job_id].discard(event)
                if not self._watchers[job_id]:
                    del self._watchers[job_id]

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    async for notice in connection.notifies():
                        for event in self._watchers.get(notice.payload, ()):
                            event.set()
            except psycopg.Error as error:
                _log.warning("live updates: %s; watchers poll until the database is back", error)
            await asyncio.sleep(_RECONNECT_SECONDS)
