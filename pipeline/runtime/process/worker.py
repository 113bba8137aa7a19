"""One process: stages and sinks, their Faust apps, signals, watchdog and probes. The end of one ends the process.

SIGTERM: last checkpoints, exit 0. A failure of any part: nothing more is committed, exit 1, and the supervisor (or
Compose, systemd, Kubernetes) starts the worker again. A stall: exit 70 by the watchdog.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline.metrics import Meters
from pipeline.runtime.process.liveness import Part, Watchdog
from pipeline.runtime.process.probes import ProbeServer
from pipeline.runtime.process.transport import App

log = logging.getLogger(__name__)

STOP_S = 9.0
"""A graceful stop takes at most this long (a supervisor waits 10 s)."""


class Unit(NamedTuple):
    """A Faust app, and the stage or sink whose polls its agent processes."""

    app: App
    part: Part


class ProbeAddress(NamedTuple):
    host: str
    port: int


async def run_worker(
    units: Sequence[Unit], meters: Meters, *, stall_limit_s: float, probes: ProbeAddress | None = None
) -> None:
    """Runs until SIGTERM or SIGINT. Raises what ended a part; does not return when parts cannot be closed in time."""
    gc.disable()  # the stages collect at their checkpoints: a full collection would stop everything for long
    parts = [unit.part for unit in units]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watchdog = Watchdog(parts, stall_limit_s)
    server = None if probes is None else _probe_server(probes, watchdog, parts, meters)
    watchdog.start()
    beating = loop.create_task(_beat(watchdog))
    opening = loop.create_task(_open(units))
    stopping = loop.create_task(stop.wait())
    try:
        waiting = {opening, *(failure for app, part in units for failure in (app.failure, part.failure))}
        while not stopping.done() and not _failures(waiting):
            pending: set[asyncio.Future[Any]] = {stopping, *(each for each in waiting if not each.done())}
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for failure in _failures(waiting):
            raise failure
        log.info("stopping")
    finally:
        watchdog.stop()
        for task in (beating, opening, stopping):
            task.cancel()
        await _close(units)
        if server is not None:
            server.stop()


def _failures(waiting: set[asyncio.Future[None]]) -> list[BaseException]:
    ended = [each for each in waiting if each.done() and not each.cancelled()]
    return [error for each in ended if (error := each.exception()) is not None]


async def _open(units: Sequence[Unit]) -> None:
    for app, part in units:
        await app.start()
        app.flow_control.resume()  # Faust holds its queues until Kafka has assigned something; ours is not Faust's
        await part.open()


async def _close(units: Sequence[Unit]) -> None:
    try:
        await asyncio.wait_for(asyncio.gather(*(unit.part.close() for unit in units)), STOP_S)
        await asyncio.wait_for(asyncio.gather(*(unit.app.stop() for unit in units)), STOP_S)
    except TimeoutError:
        log.error("not closed within %.0f s; what is not committed is done again at the next start", STOP_S)
        logging.shutdown()
        os._exit(1)


async def _beat(watchdog: Watchdog) -> None:
    while True:
        watchdog.beat()
        await asyncio.sleep(0.5)


def _probe_server(probes: ProbeAddress, watchdog: Watchdog, parts: Sequence[Part], meters: Meters) -> ProbeServer:
    def unready() -> str | None:
        names = [part.name for part in parts if not part.ready]
        sentences = [f"not ready: {', '.join(names)}"] if names else []
        sentences += [f"{part.name}: {sentence}" for part in parts for sentence in part.waits.troubles.sentences()]
        return "\n".join(sentences) or None

    server = ProbeServer(probes.host, probes.port, watchdog.complaint, unready, meters.text)
    server.start()
    log.info("probes and metrics on http://%s:%d", probes.host, server.port)
    return server
