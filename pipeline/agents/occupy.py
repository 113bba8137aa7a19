"""connector-status -> availability per site and slot -> price-signals: a batch at a time.

What a batch means is in occupancy.py, when it is committed in runtime/stage.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterable

import faust

from pipeline.domain.availability import SiteState
from pipeline.runtime.intake import Batch
from pipeline.runtime.stage import DurableStage


def attach(app: faust.App, stage: DurableStage[SiteState]) -> None:
    @app.agent(stage.channel(app), name="occupy")
    async def occupy(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            await stage.process(batch)
