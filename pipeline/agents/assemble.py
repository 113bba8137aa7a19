"""meter-events -> decode, assemble, rate -> sessions, session-updates, anomalies, dead-letters: a poll at a time.

What a record means is in assembly.py, when it is committed in runtime/stage/durable.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

import faust

from pipeline.domain.station import Station
from pipeline.runtime.kafka.leases import Poll
from pipeline.runtime.stage.durable import DurableStage


def attach(app: faust.App, stage: DurableStage[Station]) -> None:
    @app.agent(stage.channel(app), name="assemble")
    async def assemble(polls: AsyncIterable[Poll]) -> None:
        async for poll in polls:
            await stage.process(poll)
