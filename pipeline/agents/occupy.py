"""connector-status -> availability per site and slot -> price-signals: a poll at a time.

What a record means is in occupancy.py, when it is committed in runtime/stage/durable.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

import faust

from pipeline.domain.sites.availability import SiteState
from pipeline.runtime.kafka.leases import Poll
from pipeline.runtime.stage.durable import DurableStage


def attach(app: faust.App, stage: DurableStage[SiteState]) -> None:
    @app.agent(stage.channel(app), name="occupy")
    async def occupy(polls: AsyncIterable[Poll]) -> None:
        async for poll in polls:
            await stage.process(poll)
