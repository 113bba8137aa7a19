"""A sink of an arena's source in this process, as a worker would run it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import SinkConfig
from pipeline.runtime.kafka.leases import Poll
from pipeline.runtime.process.phases import Phases
from pipeline.runtime.process.transport import faust_app
from pipeline.runtime.stage.sink import Sink, Write
from tests.runtime.workers import Arena


@asynccontextmanager
async def running(arena: Arena, write: Write, meters: Meters, **options: Any) -> AsyncIterator[Sink]:
    """Runs inside, is closed at the end. `options` go into its SinkConfig; `topics`, if not the source alone."""
    given = {"topics": [arena.source], "client": {"bootstrap.servers": arena.bootstrap}} | options
    sink = Sink(SinkConfig(name="store", group=f"{arena.name}-store", **given), write, meters, Phases())
    app = faust_app("store")

    @app.agent(sink.channel(app), name="store")
    async def store(polls: AsyncIterable[Poll]) -> None:
        async for poll in polls:
            await sink.process(poll)

    await app.start()
    app.flow_control.resume()
    await sink.open()
    try:
        yield sink
    finally:
        await sink.close()
        await app.stop()
