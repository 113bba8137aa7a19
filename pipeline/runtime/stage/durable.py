"""The durable stage: batches in, state changed, outputs produced, a checkpoint when due, all of it exactly once.

This file only decides when: runtime/partition says what a batch does and in which order a checkpoint and a restore
run; owned_partitions.py knows the partitions of this worker. The rule of the file: only the holder of the lock touches
state and transaction. It is longer than 300 lines because everything that takes this lock is to be read in one place.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic

import faust

from pipeline.errors import Unavailable
from pipeline.metrics import Meters
from pipeline.runtime.kafka.config import StageConfig
from pipeline.runtime.kafka.history import Cancelled
from pipeline.runtime.kafka.intake import Intake
from pipeline.runtime.kafka.leases import Batch, Lease, Poll
from pipeline.runtime.kafka.retry import Backoff, Waits
from pipeline.runtime.kafka.topics import REFERENCE_REPLACED, TopicWatch
from pipeline.runtime.kafka.transaction import KafkaTransaction
from pipeline.runtime.logic import Logic, ReferenceBehind, State
from pipeline.runtime.partition.checkpoint import EVERYTHING, checkpoint
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.entries import TooManyKeys
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.ports import TransactionLost
from pipeline.runtime.partition.restore import Refused
from pipeline.runtime.process import transport
from pipeline.runtime.process.background import Background
from pipeline.runtime.process.phases import Phases
from pipeline.runtime.stage.meters import StageMeters
from pipeline.runtime.stage.owned_partitions import OwnedPartitions, Wanted, still_wanted
from pipeline.runtime.stage.restorer import Restorer

log = logging.getLogger(__name__)

REFERENCE = "reference topics"
WATCH_S = 5.0
"""How often the stage checks that its topics were not replaced."""


class DurableStage(Generic[State]):
    """Carries `logic` from `config.source` to the topics of its outputs. Use: channel, open, process..., close."""

    def __init__(self, config: StageConfig, logic: Logic[State], meters: Meters, phases: Phases) -> None:
        self.config = config
        self.name = config.name
        self.waits = Waits(config.name, meters, config.client)
        self.progress = 0
        """Rises with every unit of work; the watchdog reads it."""
        self.before_joining: Callable[[], None] = lambda: None
        """`open` calls it in a thread when the topics exist and before anything is read."""
        self._background = Background()
        self.failure = self._background.failure
        self._meters = StageMeters(config.name, meters, logic)
        self._enter = phases.register(config.name)
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, f"{config.name}-transaction")
        self.intake = Intake(config, self, self.waits)
        self._transaction = KafkaTransaction(config, self.intake.membership, self.waits)
        gate = FloodGate(
            config.dead_letter_run, config.dead_letter_percent, self._meters.dead_letter,
            key_errors=config.key_errors, release_keys=config.release_keys, count_error=self._meters.internal_error,
        )  # fmt: skip
        self._restorer = Restorer(config, logic, gate, self.waits, self._meters)
        self._owned = OwnedPartitions[State](self.waits.troubles, config.source, config.reference_wait_s)
        self._channel: Any = None
        self._uncommitted_since: float | None = None
        self._losses = Backoff()
        self._doomed = False
        """The open transaction must never be committed."""

    # --- what agents and the worker call -----------------------------------------------------------------------------

    def channel(self, app: faust.App) -> Any:
        """The channel for the agent that calls `process` with each poll."""
        self._channel = transport.channel(app)
        return self._channel

    async def open(self) -> None:
        """Returns when the worker can join the group: a predecessor's transaction is aborted by then."""
        self._enter("restore")
        await self._in_thread(self._transaction.connect)
        await self._in_thread(self._restorer.count_partitions)
        await self._in_thread(self.before_joining)
        self._background.spawn(self._pulse())
        self._background.spawn(self._watch(TopicWatch(self.config, self.waits)))
        self.intake.open()

    async def process(self, poll: Poll) -> None:
        """Applies one poll and makes a checkpoint when it is due. Raises what must end the worker."""
        for batch in poll:
            await self._process(batch)
            await asyncio.sleep(0)  # timers and the watchdog's beat have their turn

    async def _process(self, batch: Batch) -> None:
        async with self._lock:
            partition = self._owned.of(batch)
            if self.failure.done() or partition is None:
                return
            if not batch.messages:
                await self._restore_after_gap(batch.lease)
                return
            with self._guarded():
                if batch.start != partition.position:
                    raise RuntimeError(f"records {partition.position} to {batch.start} never reached the stage")
                self._apply(partition, batch)
            if self._due():
                await self._checkpoint(self.config.state_write_s)

    async def close(self) -> None:
        """Makes the last checkpoint (unless the worker failed) and leaves the group."""
        await self._in_thread(self.intake.close, executor=None)
        self._background.cancel()
        if self._transaction.open:
            await self._in_thread(self._transaction.discard)
        self._thread.shutdown(wait=False)

    def owned(self) -> Sequence[int]:
        """Partitions for which this worker writes ticks."""
        return self._owned.owned

    @property
    def ready(self) -> bool:
        """The group has answered and every assigned partition (there may be none) is restored."""
        return self.intake.alive and self._owned.restored

    @property
    def uncommitted_s(self) -> float:
        since = self._uncommitted_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def lag(self) -> int:
        """Records that the owned partitions hold and that could be applied now."""
        return self._owned.workable

    # --- the intake's thread calls these -----------------------------------------------------------------------------

    def assigned(self, leases: Sequence[Lease]) -> None:
        self._loop.call_soon_threadsafe(self._begin_restore, leases)

    def revoked(self, leases: Sequence[Lease]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._let_go(leases), self._loop)

    def lost(self, leases: Sequence[Lease]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._forget(leases), self._loop)

    def skipped(self, lease: Lease, wanted: int, first: int) -> None:
        raise RuntimeError("a stage says where its partitions start")

    def offer(self, poll: Poll) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._channel.put(poll), self._loop)

    def finish(self) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._let_go(list(self._owned.leases.values())), self._loop)

    def failed(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._background.fail, error)

    # --- applying and checkpoints, under the lock --------------------------------------------------------------------

    def _apply(self, partition: Partition[State], batch: Batch) -> None:
        self._enter("apply")
        if self._uncommitted_since is None:
            self._uncommitted_since = time.monotonic()
        self._transaction.begin()
        applied = len(batch.messages)
        try:
            partition.take(batch.messages, self._transaction.produce)
        except ReferenceBehind as behind:
            applied = sum((message.offset() or 0) < partition.position for message in batch.messages)
            self._wait_for_reference(partition, batch.lease, behind)
        else:
            self._owned.free(partition.number)
        self._transaction.serve()
        if applied:
            self.progress += 1
        self._meters.applied(batch.messages, applied)
        if self._owned.keys > self.config.max_keys:
            raise TooManyKeys(f"more than {self.config.max_keys} keys; add workers or raise CHARGELINE_MAX_STATIONS")

    def _wait_for_reference(self, partition: Partition[State], lease: Lease, behind: ReferenceBehind) -> None:
        """A tick names reference data that is missing: retries its partition from there until the data arrives."""
        pause_s, epoch = self._owned.wait(partition, lease, behind), lease.epoch

        async def look_again() -> None:
            with self.waits.declared(REFERENCE, excuses=False):
                await asyncio.sleep(pause_s)
            if lease.owned and lease.epoch == epoch:
                self.intake.start(lease, partition.position)

        self._background.spawn(look_again())

    def _due(self) -> bool:
        return self.uncommitted_s >= self.config.checkpoint_s

    async def _checkpoint(self, write_s: float) -> None:
        """Runs in a thread, so that the loop lives; the lock is held, so that nothing is applied meanwhile."""
        partitions = list(self._owned.live.values())
        if not partitions:
            return
        began = time.monotonic()

        def run() -> None:
            self._transaction.begin()
            for phase in checkpoint(self._transaction, partitions, self.config.changelog, began, write_s):
                self._enter(phase)

        with self._guarded():
            await self._in_thread(run)
            self._uncommitted_since = None
            self._losses = Backoff()
            self.progress += 1
            self._meters.committed(began)
        gc.collect(0)  # automatic collection is off; what is young and cyclic must not pile up
        self._enter("idle")

    async def _pulse(self) -> None:
        """Checkpoints when nothing arrives any more, and the gauges."""
        while True:
            await asyncio.sleep(self.config.checkpoint_s / 2)
            async with self._lock:
                self._go_on_releasing()
                now, write_s = time.monotonic(), self.config.state_write_s
                if self._due() or any(each.unwritten.overdue(now, write_s) for each in self._owned.live.values()):
                    await self._checkpoint(write_s)
            self._meters.show(self._owned, self.uncommitted_s)

    def _go_on_releasing(self) -> None:
        """Does one step of each release; all other stations wait for it, so the next step comes with the next pulse."""
        for partition in [each for each in self._owned.live.values() if each.quarantine.releasing]:
            if self._doomed:
                return
            self._enter("apply")
            if self._uncommitted_since is None:
                self._uncommitted_since = time.monotonic()
            with self._guarded():
                self._transaction.begin()
                partition.go_on_releasing(self._transaction.produce)
                self._transaction.serve()
                self.progress += 1

    async def _watch(self, topics: TopicWatch) -> None:
        while True:
            replaced = await asyncio.to_thread(topics.replaced)
            if self.config.source in replaced:
                async with self._lock:
                    self._abandon(f"{self.config.source} was recreated")  # a restore refuses it
            for topic in set(self.config.reads).intersection(replaced):
                raise Unavailable(REFERENCE_REPLACED.format(topic=topic))
            await asyncio.sleep(WATCH_S)

    # --- coming and going of partitions ------------------------------------------------------------------------------

    def _begin_restore(self, leases: Sequence[Lease]) -> None:
        self._owned.take(leases)
        if leases:
            self._background.spawn(self._restore([(lease, lease.epoch) for lease in leases], reset=False))

    async def _restore(self, wanted: Wanted, reset: bool) -> None:
        """Restores partitions while others go on; only the first (abort) and the last part hold the lock."""
        began = time.monotonic()
        if reset:
            await asyncio.sleep(self._losses.pause_s())
        async with self._lock:
            await self._abort_doomed()
        self._enter("restore")
        try:
            restored = await asyncio.to_thread(self._restorer.read, wanted, self._advanced)
        except Cancelled:
            return
        async with self._lock:
            await self._abort_doomed()
            current = still_wanted(wanted)
            for partition in restored:
                lease = current.get(partition.number)
                if lease is None:
                    continue
                if isinstance(partition, Refused):
                    self._owned.refuse(partition)
                    continue
                self._owned.enter(partition, lease)
                self.intake.start(lease, partition.position)
            self._advanced()
            gc.freeze()  # the state lives long: no later collection shall walk through it
        took = time.monotonic() - began
        self._meters.restored(took)
        whole = [partition for partition in restored if not isinstance(partition, Refused)]
        numbers, keys = sorted(each.number for each in whole), sum(len(each.entries) for each in whole)
        log.info("%s: restored partitions %s: %d keys in %.1f s", self.name, numbers, keys, took)

    async def _restore_after_gap(self, lease: Lease) -> None:
        """The log lacks the partition's next record: commits what it has applied and restores it. The restore reports
        what is lost."""
        await self._checkpoint(EVERYTHING)
        if self._owned.live.pop(lease.number, None) is not None:  # else the checkpoint failed: it is restored already
            lease.pause()
            self._begin_restore([lease])

    async def _abort_doomed(self) -> None:
        """Aborts a transaction that was given up, before anything is applied: it may still be able to commit."""
        if self._doomed:
            await self._in_thread(self._transaction.abort)
            self._doomed = False

    def _advanced(self) -> None:
        self.progress += 1

    async def _let_go(self, leases: Sequence[Lease]) -> None:
        """Before a revoke or stop: commits everything applied with all changed states, then drops the partitions."""
        async with self._lock:
            if not self.failure.done() and any(lease.number in self._owned.live for lease in leases):
                await self._checkpoint(EVERYTHING)
            self._owned.drop(leases)

    async def _forget(self, leases: Sequence[Lease]) -> None:
        """Drops lost partitions. The open transaction has outputs of these and must not be committed."""
        async with self._lock:
            self._owned.drop(leases)
            if self._transaction.open:
                self._abandon("partitions were lost")

    # --- failures ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Restores after a lost transaction; any other exception ends the worker."""
        try:
            yield
        except TransactionLost as lost:
            self._abandon(lost)
        except Exception as error:
            self._background.fail(error)
            raise

    def _abandon(self, why: object) -> None:
        """The transaction is lost and the state with it: restores all partitions in this process."""
        log.warning("%s: transaction given up, restoring: %s", self.name, why)
        self._meters.given_up()
        self._doomed = True
        self._uncommitted_since = None
        self._background.spawn(self._restore(self._owned.void(), reset=True))

    async def _in_thread(self, call: Callable[..., Any], executor: Any = ...) -> Any:
        chosen = self._thread if executor is ... else executor
        return await self._loop.run_in_executor(chosen, call)
