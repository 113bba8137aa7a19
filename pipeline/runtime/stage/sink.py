"""Copies records of our own topics into a store outside Kafka: at least once, in large batches.

The rule of the file: offsets are committed only after the rows are in, and a batch that was tried stays as it is until
it is in. A repeat after a crash may cut batches elsewhere; it is harmless because the rows are idempotent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import confluent_kafka as ck
import faust

from pipeline import metrics
from pipeline.errors import Unavailable
from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import SinkConfig
from pipeline.runtime.kafka.intake import Intake
from pipeline.runtime.kafka.leases import Batch, Lease, Poll
from pipeline.runtime.kafka.mailbox import ANSWER_S
from pipeline.runtime.kafka.retry import BROKER, Backoff, Waits
from pipeline.runtime.process import transport
from pipeline.runtime.process.background import Background
from pipeline.runtime.process.phases import Phases

log = logging.getLogger(__name__)

STORE = "store"
"""Name of the dependency in waits and metrics."""

Write = Callable[[Mapping[str, Sequence[ck.Message]]], None]
"""Stores records by topic and returns when they are in. Raises Unavailable when waiting may help. Runs in a thread."""


class Sink:
    """Passes records to `write`. Use: channel, open, process..., close; the same as a stage."""

    def __init__(self, config: SinkConfig, write: Write, meters: Meters, phases: Phases) -> None:
        self.config = config
        self.name = config.name
        self.waits = Waits(config.name, meters, config.client)
        self.progress = 0
        self._background = Background()
        self.failure = self._background.failure
        self._write = write
        self._meters = meters
        self._enter = phases.register(config.name)
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, f"{config.name}-insert")
        self.intake = Intake(config, self, self.waits)
        self._channel: Any = None
        self._leases: dict[tuple[str, int], Lease] = {}
        self._answered = False
        """The group has assigned our partitions, if any."""
        self._read: dict[tuple[str, int], int] = {}
        """Offset after the last record that reached `process`, by partition."""
        self._waiting: list[Batch] = []
        self._rows = 0
        self._oldest: float | None = None
        self._closing = False

    # --- what agents and the worker call -----------------------------------------------------------------------------

    def channel(self, app: faust.App) -> Any:
        """The channel for the agent that calls `process` with each poll."""
        self._channel = transport.channel(app)
        return self._channel

    async def open(self) -> None:
        self._background.spawn(self._beat())
        self.intake.open()

    async def process(self, poll: Poll) -> None:
        """Takes one poll; inserts when enough rows are together. Raises what must end the worker."""
        for batch in poll:
            await self._process(batch)

    async def _process(self, batch: Batch) -> None:
        async with self._lock:
            if self.failure.done() or not _current(batch):
                return
            lease = batch.lease
            place = lease.topic, lease.number
            if not batch.messages:  # the topic lacks what comes next
                await self._insert()
                lease.pause()
                self._take([lease])
                return
            if batch.start != self._read.get(place, batch.start):
                raise RuntimeError(f"{place}: records {self._read[place]} to {batch.start} never reached the sink")
            self._read[place] = (batch.messages[-1].offset() or 0) + 1
            self._waiting.append(batch)
            self._rows += len(batch.messages)
            self._oldest = self._oldest or time.monotonic()
            if self._rows >= self.config.batch_rows:
                await self._insert()

    async def close(self) -> None:
        """Inserts the waiting records if the store answers and leaves the group."""
        self._closing = True
        await self._loop.run_in_executor(None, self.intake.close)
        self._background.cancel()
        self._thread.shutdown(wait=False)

    @property
    def ready(self) -> bool:
        """As of a stage."""
        return self._answered and self.intake.alive and all(lease.running for lease in list(self._leases.values()))

    @property
    def uncommitted_s(self) -> float:
        return 0.0 if self._oldest is None else time.monotonic() - self._oldest

    @property
    def lag(self) -> int:
        """Records in the owned partitions that no agent has read yet."""
        leases = list(self._leases.items())
        return sum(lease.behind(self._read.get(place, lease.end)) for place, lease in leases)

    # --- the intake's thread calls these -----------------------------------------------------------------------------

    def assigned(self, leases: Sequence[Lease]) -> None:
        self._loop.call_soon_threadsafe(self._take, leases)

    def revoked(self, leases: Sequence[Lease]) -> Future[None]:
        """Never waits for the store: the next owner reads again what is not inserted yet."""
        return asyncio.run_coroutine_threadsafe(self._drop(leases), self._loop)

    def lost(self, leases: Sequence[Lease]) -> Future[None]:
        return self.revoked(leases)

    def offer(self, poll: Poll) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._channel.put(poll), self._loop)

    def finish(self) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._last(), self._loop)

    def skipped(self, lease: Lease, wanted: int, first: int) -> None:
        lost = max(0, first - wanted)
        self._meters.count(metrics.RECORDS_LOST, self.name, amount=lost)
        why = f"records {wanted} to {first - 1} were removed before they were stored" if lost else (
            f"it ends before offset {wanted}, up to which it was stored: it was recreated"
        )  # fmt: skip
        log.error(
            "%s: %s partition %d: %s; it is read on from offset %d; see ops/runbooks/lost-records.md",
            self.name, lease.topic, lease.number, why, first,
        )  # fmt: skip

    def failed(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._background.fail, error)

    # --- in the loop -------------------------------------------------------------------------------------------------

    def _take(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            if lease.owned:
                self._leases[lease.topic, lease.number] = lease
                self._read.pop((lease.topic, lease.number), None)
                self.intake.start(lease, None)
        self._answered = True

    async def _drop(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            self._leases.pop((lease.topic, lease.number), None)

    async def _last(self) -> None:
        async with self._lock:
            await self._insert()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.config.batch_s / 4)
            if self.uncommitted_s >= self.config.batch_s:
                async with self._lock:
                    await self._insert()
            self._meters.set(metrics.LAG, self.name, value=self.lag)
            self._meters.set(metrics.CHECKPOINT_AGE, self.name, value=self.uncommitted_s)

    async def _insert(self) -> None:
        """Under the lock: no other batch is read meanwhile, which is the back-pressure."""
        batches = [batch for batch in self._waiting if _current(batch)]
        self._waiting.clear()
        self._rows = 0
        if batches and not self.failure.done():
            frozen: dict[str, list[ck.Message]] = {}
            for batch in batches:
                frozen.setdefault(batch.lease.topic, []).extend(batch.messages)
            self._enter("insert")
            try:
                storing = self._loop.run_in_executor(self._thread, self._store, frozen)
                if not (await asyncio.wait([storing], timeout=self.config.patience_s))[0]:
                    with self.waits.declared(STORE):  # also of the first attempt, whose end nobody knows
                        await asyncio.wait([storing])
                if await storing:
                    self._stored(batches)
                    await self._loop.run_in_executor(self._thread, self._commit, batches)
            except Exception as error:
                self._background.fail(error)
                raise
            self._enter("idle")
        self._oldest = None

    def _store(self, frozen: Mapping[str, Sequence[ck.Message]]) -> bool:
        """Runs in the thread until the rows are in. False: the worker stops before that."""
        backoff, began = Backoff(), time.monotonic()
        with ExitStack() as waiting:
            while True:
                try:
                    self._write(frozen)
                except Unavailable as error:
                    self.waits.missed(STORE, "insert", error, began)
                    waiting.enter_context(self.waits.declared(STORE))  # the next attempts wait as well
                    time.sleep(backoff.pause_s())
                else:
                    return True
                if self._closing:
                    return False

    def _stored(self, batches: Sequence[Batch]) -> None:
        self.progress += 1
        now_ms = time.time() * 1000
        for batch in batches:
            self._meters.count(metrics.EVENTS, self.name, amount=len(batch.messages))
            appended = batch.messages[0].timestamp()[1]
            self._meters.observe(metrics.LATENCY, self.name, value=max(0.0, now_ms - appended) / 1000)
        self._meters.count(metrics.BATCHES, self.name)

    def _commit(self, batches: Sequence[Batch]) -> None:
        """In the thread. A commit that fails is made good by the next one, or repeated rows are replaced."""
        self._enter("offsets")
        ends = {(b.lease.topic, b.lease.number): (b.messages[-1].offset() or 0) + 1 for b in batches if _current(b)}
        offsets = [ck.TopicPartition(topic, number, end) for (topic, number), end in ends.items()]
        try:
            if offsets:
                self.intake.commit(offsets)
        except ck.KafkaException as error:
            self.waits.missed(BROKER, "commit of the sink's offsets", error.args[0].name(), time.monotonic())
        except TimeoutError:  # the broker is away: librdkafka's commit waits for it in the intake's thread
            self.waits.missed(BROKER, "commit of the sink's offsets", "no answer", time.monotonic() - ANSWER_S)


def _current(batch: Batch) -> bool:
    return batch.lease.owned and batch.lease.epoch == batch.epoch
