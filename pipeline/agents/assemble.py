"""meter-events -> decode, assemble, rate -> sessions, session-updates, anomalies, dead-letters: a batch at a time.

What a batch means is in assembly.py, when it is committed in runtime/stage.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

import faust

from pipeline.domain.station import Station
from pipeline.runtime.intake import Batch
from pipeline.runtime.stage import DurableStage


def attach(app: faust.App, stage: DurableStage[Station]) -> None:
    @app.agent(stage.channel(app), name="assemble")
    async def assemble(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            await stage.process(batch)
