"""A ClickHouse that takes connections and does not answer is a dependency that is down: waited for, not a stall."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka as ck

from pipeline.embedded.clickhouse import EmbeddedClickHouse
from pipeline.metrics import Meters
from pipeline.runtime.process.liveness import Watchdog
from pipeline.storage import migrate
from pipeline.storage.connection import connect
from pipeline.storage.rows import Rejection
from pipeline.storage.writer import ClickHouseWriter
from tests.endpoint import owner_url
from tests.runtime.sinks import running
from tests.runtime.workers import Arena, numbers

MIGRATIONS = Path(__file__).parents[2] / "schemas" / "clickhouse"
PATIENCE_S, STALL_LIMIT_S, TIMEOUT_S = 0.3, 1.5, 3
WAITING = 'chargeline_waiting{dependency="store",stage="store"} 1.0'


@contextmanager
def database(folder: Path) -> Iterator[EmbeddedClickHouse]:
    with EmbeddedClickHouse(folder, port=0) as server:
        client = connect(owner_url(server), "default", "")
        migrate.migrate(client, "charging", migrate.read(MIGRATIONS))
        client.close()
        yield server


@contextmanager
def hanging(server: EmbeddedClickHouse) -> Iterator[None]:
    """Inside, the kernel takes connections for the server, and nobody answers."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def until(reached: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "not reached in time"
        await asyncio.sleep(0.02)


def test_a_clickhouse_that_hangs_is_waited_for_and_the_same_batch_repeated(kafka: str, tmp_path: Path) -> None:
    arena, meters = Arena(kafka, tmp_path), Meters()
    tried: list[list[tuple[int | None, int | None]]] = []
    stored: set[tuple[int | None, int | None]] = set()

    async def run(server: EmbeddedClickHouse) -> None:
        writer = ClickHouseWriter(owner_url(server), "default", "", "charging", TIMEOUT_S)

        def write(records: Mapping[str, Sequence[ck.Message]]) -> None:
            messages = records[arena.source]
            tried.append([(message.partition(), message.offset()) for message in messages])
            writer.insert_rejections(
                [Rejection(m.partition() or 0, m.offset() or 0, arena.source, 0, 0, "-", 0) for m in messages]
            )
            stored.update(tried[-1])

        async with running(arena, write, meters, batch_rows=500, batch_s=0.1, patience_s=PATIENCE_S) as sink:
            arena.fill(numbers(keys=100, count=1_000))
            await until(lambda: len(stored) == 1_000, 30)
            with hanging(server):
                before, watchdog = len(tried), Watchdog([sink], STALL_LIMIT_S)
                arena.fill(numbers(keys=100, count=1_000))
                while len(tried) < before + 2:  # the first attempt has got no answer by then
                    watchdog.beat()
                    assert watchdog.complaint() is None
                    await asyncio.sleep(0.05)
                assert WAITING in meters.text().decode()
            await until(lambda: len(stored) == 2_000, 30)
            assert tried[before] == tried[before + 1], "the batch that had no answer stays as it is"
            await until(lambda: WAITING not in meters.text().decode(), 5)
        writer.close()

    with database(tmp_path / "clickhouse") as server:
        asyncio.run(run(server))
        client = connect(owner_url(server), "default", "")
        found = client.query("SELECT count(), uniqExact(partition, offset) FROM charging.rejections FINAL")
        assert [tuple(row) for row in found.result_rows] == [(2_000, 2_000)]
        client.close()
