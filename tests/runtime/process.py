"""A worker process for the failure tests: the counting stage, its config as JSON in the first argument."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from faust import StreamT

from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import StageConfig
from pipeline.runtime.kafka.leases import Poll
from pipeline.runtime.logic import NEVER
from pipeline.runtime.process.phases import Phases
from pipeline.runtime.process.transport import faust_app
from pipeline.runtime.process.worker import ProbeAddress, Unit, run_worker
from pipeline.runtime.stage.durable import DurableStage
from tests.runtime.counting import Count, Counting


async def main(options: dict[str, Any]) -> None:
    phases = Phases(Path(options["phase_file"]) if options.get("phase_file") else None, options.get("pause_at", ""))
    meters = Meters()
    logic = Counting(options["output"], options.get("reached", NEVER))
    logic.broken = options.get("broken", True)
    stage: DurableStage[Count] = DurableStage(StageConfig(**options["stage"]), logic, meters, phases)
    app = faust_app(stage.name)

    @app.agent(stage.channel(app), name="count")
    async def count(polls: StreamT[Poll]) -> None:
        async for poll in polls:
            await stage.process(poll)

    port = options.get("probe_port")
    probes = None if port is None else ProbeAddress("127.0.0.1", port)
    await run_worker([Unit(app, stage)], meters, stall_limit_s=options.get("stall_limit_s", 25), probes=probes)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asyncio.run(main(json.loads(sys.argv[1])))
