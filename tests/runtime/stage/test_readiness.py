"""A worker is ready when the group has given it its partitions, or none, and these are restored; not before."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import confluent_kafka as ck
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import SinkConfig, StageConfig
from pipeline.runtime.process.liveness import Part
from pipeline.runtime.process.phases import Phases
from pipeline.runtime.process.transport import faust_app
from pipeline.runtime.stage.durable import DurableStage
from pipeline.runtime.stage.sink import Sink
from tests.runtime.counting import Count, Counting

Make = Callable[[str, str, str], Part]
"""A part of the given group, slot and broker."""


def stage(kafka: str, group: str, slot: str) -> Part:
    config = StageConfig(
        name="count", topics=[f"{group}-in"], changelog=f"{group}-state", group=group, slot=slot,
        client={"bootstrap.servers": kafka},
    )  # fmt: skip
    stage: DurableStage[Count] = DurableStage(config, Counting(), Meters(), Phases())
    stage.channel(faust_app(stage.name))  # nobody reads it: the topic is empty
    return stage


def sink(kafka: str, group: str, _: str) -> Part:
    config = SinkConfig(name="store", topics=[f"{group}-in"], group=group, client={"bootstrap.servers": kafka})
    sink = Sink(config, lambda _: None, Meters(), Phases())
    sink.channel(faust_app(sink.name))
    return sink


@pytest.fixture
def group(kafka: str) -> str:
    """Of two topics with one partition each."""
    group = f"ready-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka})  # it must live until the answers are there
    made = admin.create_topics(
        [NewTopic(f"{group}-in", 1, 1), NewTopic(f"{group}-state", 1, 1, config={"cleanup.policy": "compact"})]
    )
    for each in made.values():
        each.result(20)
    return group


@contextmanager
def silent_member(kafka: str, group: str) -> Iterator[None]:
    """While inside, the group answers nobody who joins: this member hears of it with its next heartbeat only."""
    consumer = ck.Consumer(
        {
            "bootstrap.servers": kafka, "group.id": group, "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 45_000, "heartbeat.interval.ms": 30_000,
        }
    )  # fmt: skip
    assigned: list[Any] = []
    consumer.subscribe([f"{group}-in"], on_assign=lambda _, partitions: assigned.extend(partitions))
    until = time.monotonic() + 20
    while not assigned and time.monotonic() < until:
        consumer.poll(0.1)
    assert assigned
    try:
        yield
    finally:
        consumer.close()


async def readiness(part: Part, wanted: bool, timeout_s: float) -> bool:
    """What `ready` says once it is `wanted`, or at the end."""
    until = time.monotonic() + timeout_s
    while part.ready != wanted and time.monotonic() < until:
        await asyncio.sleep(0.02)
    return part.ready


async def with_parts(parts: Sequence[Part], use: Callable[[], Awaitable[None]]) -> None:
    try:
        await use()
        for part in parts:
            if part.failure.done():
                part.failure.result()
    finally:
        await asyncio.gather(*(part.close() for part in parts if part.intake.alive))


@pytest.mark.parametrize("make", [stage, sink])
def test_nobody_is_ready_before_the_group_has_answered(kafka: str, group: str, make: Make) -> None:
    async def run() -> None:
        part = make(kafka, group, "a")

        async def use() -> None:
            assert not part.ready
            with silent_member(kafka, group):
                await part.open()
                assert not await readiness(part, True, 2.0)
                assert part.intake.alive
            assert await readiness(part, True, 20)

        await with_parts([part], use)

    asyncio.run(run())


@pytest.mark.parametrize("make", [stage, sink])
def test_a_worker_that_gets_no_partition_is_ready(kafka: str, group: str, make: Make) -> None:
    async def run() -> None:
        parts = [make(kafka, group, slot) for slot in "ab"]

        async def use() -> None:
            for part in parts:
                await part.open()
                assert await readiness(part, True, 20)

        await with_parts(parts, use)

    asyncio.run(run())
