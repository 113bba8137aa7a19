"""Faust fed by librdkafka: agents read polls (batches by partition) from a channel; Faust never talks to Kafka.

Faust's own consumer commits what crashed, clears its queues at a rebalance and costs 180 us a record
(ops/spec/architecture.md, section 7); so membership, offsets and production are ours (runtime/kafka/), agents,
timers and lifecycle Faust's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import faust
from faust.app.base import BootStrategy
from mode import ServiceT

QUEUED_POLLS = 2
"""Back-pressure: more waits in librdkafka's bounded queue."""


class _OnlyAgents(BootStrategy):
    enable_kafka = False
    enable_web = False

    def tables(self) -> Iterable[ServiceT]:
        return []


class App(faust.App):
    """A Faust App without Kafka, tables, web server or data folder."""

    BootStrategy = _OnlyAgents

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception that one of its timers raised: Faust only stops that timer then, and logs it."""

    async def crash(self, reason: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(reason)
        await super().crash(reason)

    def _create_directories(self) -> None:
        """Nothing is kept on disk."""


def faust_app(name: str) -> App:
    """One App per stage or sink: a stage that waits stops no other one."""
    return App(
        name,
        broker="kafka://unused:1",  # Faust wants an address; nothing connects to it
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        agent_supervisor="mode.supervisors.CrashingSupervisor",
    )


def channel(app: faust.App) -> Any:
    """The channel of polls that an agent reads and `PollHandler.offer` fills: an item costs Faust 0.1 to 0.2 ms."""
    return app.channel(maxsize=QUEUED_POLLS)
