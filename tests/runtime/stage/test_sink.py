"""The sink stores every record at least once, keeps a tried batch as it is, and waits without losing its partitions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import confluent_kafka as ck
import pytest

from pipeline.errors import Unavailable
from pipeline.metrics import Meters
from pipeline.runtime.kafka.leases import Batch
from pipeline.runtime.stage.sink import Sink, Write
from tests.runtime.sinks import running
from tests.runtime.workers import Arena, numbers


async def run_sink(arena: Arena, write: Write, until: Callable[[], bool], timeout_s: float) -> Sink:
    """Runs a sink of the arena's source in this process until `until`, then closes it."""
    topics = [arena.source, arena.output]
    async with running(arena, write, Meters(), topics=topics, batch_rows=2000, batch_s=0.3) as sink:
        began = time.monotonic()
        while not until() and not sink.failure.done() and time.monotonic() - began < timeout_s:
            await asyncio.sleep(0.05)
    return sink


def test_every_record_is_stored_also_when_the_store_is_away_longer_than_the_intake_waits(
    kafka: str, tmp_path: Path
) -> None:
    arena = Arena(kafka, tmp_path)
    arena.fill(numbers(keys=100, count=30_000))
    stored: dict[tuple[str, int, int], bytes] = {}
    tried: list[list[tuple[int | None, int | None]]] = []
    away_until = time.monotonic() + 6

    def write(records: Mapping[str, Sequence[ck.Message]]) -> None:
        messages = [message for several in records.values() for message in several]
        tried.append([(message.partition(), message.offset()) for message in messages])
        if len(tried) > 3 and time.monotonic() < away_until:
            raise Unavailable("away")
        for message in messages:
            stored[message.topic() or "", message.partition() or 0, message.offset() or 0] = message.value() or b""

    total = sum(len(records) for records in arena.records.values())
    asyncio.run(run_sink(arena, write, lambda: len(stored) >= total, 40))
    assert len(stored) == total
    for number, records in arena.records.items():
        assert [stored[arena.source, number, at] for at in range(len(records))] == [value for _, value in records]
    assert time.monotonic() >= away_until
    assert tried[3] == tried[4] == tried[5], "a batch that was tried stays as it is"


def test_a_second_run_goes_on_after_what_is_stored(kafka: str, tmp_path: Path) -> None:
    arena = Arena(kafka, tmp_path)
    arena.fill(numbers(keys=100, count=5_000))
    rows: list[int] = []

    def write(records: Mapping[str, Sequence[ck.Message]]) -> None:
        rows.append(sum(len(several) for several in records.values()))

    total = sum(len(records) for records in arena.records.values())
    asyncio.run(run_sink(arena, write, lambda: sum(rows) >= total, 20))
    assert sum(rows) == total
    arena.fill(numbers(keys=100, count=1_000))
    rows.clear()
    asyncio.run(run_sink(arena, write, lambda: sum(rows) >= 1_000, 20))
    assert sum(rows) == 1_000


def test_a_defect_in_our_own_records_ends_the_worker(kafka: str, tmp_path: Path) -> None:
    arena = Arena(kafka, tmp_path)
    arena.fill(numbers(keys=10, count=100))

    def write(_: Mapping[str, Sequence[ck.Message]]) -> None:
        raise ValueError("not one of our records")

    sink = asyncio.run(run_sink(arena, write, lambda: False, 20))
    with pytest.raises(ValueError, match="not one of our records"):
        sink.failure.result()


def test_records_removed_before_they_are_stored_are_counted_and_the_rest_is_stored(
    kafka: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arena, meters = Arena(kafka, tmp_path), Meters()
    seen: set[tuple[int | None, int | None]] = set()

    def write(records: Mapping[str, Sequence[ck.Message]]) -> None:
        seen.update((message.partition(), message.offset()) for several in records.values() for message in several)

    def total() -> int:
        return sum(map(len, arena.records.values()))

    async def stores(count: Callable[[], int]) -> None:
        async with running(arena, write, meters, batch_s=0.2) as sink:
            until = time.monotonic() + 30
            while len(seen) < count() and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert len(seen) == count()
            (lease, *_) = list(sink._leases.values())
            await sink.process([Batch(lease, lease.epoch, lease.end, ())])  # as when they are removed while it runs
            await asyncio.to_thread(arena.fill, numbers(keys=20, count=100))
            while len(seen) < count() and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert len(seen) == count()

    arena.fill(numbers(keys=20, count=400))
    asyncio.run(stores(total))
    stored = arena.ends()
    arena.fill(numbers(keys=20, count=400))
    left = {number: end - 5 for number, end in arena.ends().items()}
    arena.delete_up_to(left)
    lost = sum(left.values()) - sum(stored.values())
    asyncio.run(stores(lambda: total() - lost))
    assert f'chargeline_records_lost_total{{stage="store"}} {lost:.1f}' in meters.text().decode()
    assert "were removed before they were stored; it is read on from offset" in caplog.text
