"""The durable stage: batches in, state changed, outputs produced, a checkpoint when due, all of it exactly once.

This file only says when: what a batch does is in partition.py, the order of a checkpoint in checkpoint.py, that of a
restore in restore.py. The rule of the file: state and transaction are touched only under the lock, by one at a time.
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

from pipeline import metrics
from pipeline.metrics import Meters
from pipeline.runtime import transport
from pipeline.runtime.checkpoint import EVERYTHING, checkpoint
from pipeline.runtime.config import StageConfig
from pipeline.runtime.dead_letters import FloodGate
from pipeline.runtime.entries import TooLarge
from pipeline.runtime.feed import Batch, Lease, Poll
from pipeline.runtime.intake import Intake
from pipeline.runtime.kafka_history import Cancelled, KafkaHistory
from pipeline.runtime.kafka_topics import partitions_of
from pipeline.runtime.kafka_transaction import KafkaTransaction
from pipeline.runtime.logic import Logic, ReferenceBehind, State
from pipeline.runtime.partition import Partition
from pipeline.runtime.phases import Phases
from pipeline.runtime.ports import TransactionLost
from pipeline.runtime.restore import restore
from pipeline.runtime.retry import Backoff, Waits

log = logging.getLogger(__name__)

REFERENCE = "reference topics"


class DurableStage(Generic[State]):
    """Carries `logic` from `config.source` to the topics of its outputs. Use: channel, open, process..., close."""

    def __init__(self, config: StageConfig, logic: Logic[State], meters: Meters, phases: Phases) -> None:
        self.config = config
        self.name = config.name
        self.waits = Waits(config.name, meters)
        self.progress = 0
        """Rises with everything that gets done; the watchdog looks at it."""
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception that ends this worker."""
        self._logic = logic
        self._meters = meters
        self._enter = phases.register(config.name)
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, f"{config.name}-transaction")
        self.intake = Intake(config, self)
        self._transaction = KafkaTransaction(config, self.intake.membership, self.waits)
        self._gate = FloodGate(config.dead_letter_run, config.dead_letter_percent, self._count_dead_letter)
        self._leases: dict[int, Lease] = {}
        self._partitions: dict[int, Partition[State]] = {}
        self._total = 0
        self._answered = False
        """The group has said which partitions are ours, if any."""
        self._channel: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._uncommitted_since: float | None = None
        self._appended_ms: list[int] = []
        self._losses = Backoff()
        self._doomed = False
        """The open transaction must never be committed."""

    # --- what agents and the worker call -----------------------------------------------------------------------------

    def channel(self, app: faust.App) -> Any:
        """The channel for the agent that calls `process` with each poll."""
        self._channel = transport.channel(app)
        return self._channel

    async def open(self) -> None:
        """Returns when the group can be joined: a predecessor's transaction is aborted by then."""
        self._enter("restore")
        await self._in_thread(self._transaction.connect)
        self._total = await self._in_thread(lambda: partitions_of(self.config, self.waits))
        self._spawn(self._pulse())
        self.intake.open()

    async def process(self, poll: Poll) -> None:
        """Applies one poll; a checkpoint comes when it is due. Raises what must end the worker."""
        for batch in poll:
            await self._process(batch)
            await asyncio.sleep(0)  # timers and the watchdog's beat have their turn

    async def _process(self, batch: Batch) -> None:
        backoff = Backoff()
        while True:
            rest: Batch | None = None
            async with self._lock:
                partition = self._partitions.get(batch.lease.number)
                if self.failure.done() or partition is None or partition.epoch != batch.epoch or not batch.lease.owned:
                    return  # read before a revoke or a restore: somebody reads it again
                with self._guarded():
                    if batch.start != partition.position:
                        raise RuntimeError(f"records {partition.position} to {batch.start} never reached the stage")
                    rest = self._apply(partition, batch)
                if self._due():
                    await self._checkpoint(self.config.state_write_s)
            if rest is None:
                return
            batch = rest
            with self.waits.declared(REFERENCE):
                await asyncio.sleep(backoff.pause_s())

    async def close(self) -> None:
        """Last checkpoint (unless the worker failed), leaves the group."""
        await self._in_thread(self.intake.close, executor=None)
        for task in self._tasks:
            task.cancel()
        if self._transaction.open:
            await self._in_thread(self._transaction.discard)
        self._thread.shutdown(wait=False)

    def owned(self) -> Sequence[int]:
        """Partitions whose ticks are ours to write."""
        return [number for number, lease in list(self._leases.items()) if lease.owned]

    @property
    def ready(self) -> bool:
        """The group has answered, and everything it assigned is restored (nothing, of more workers than partitions)."""
        return self._answered and self.intake.alive and len(self._partitions) == len(self._leases)

    @property
    def uncommitted_s(self) -> float:
        since = self._uncommitted_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def lag(self) -> int:
        """Records that the owned partitions hold and that are not applied."""
        lag = 0
        for lease in list(self._leases.values()):
            partition = self._partitions.get(lease.number)
            if partition is not None:
                lag += lease.behind(partition.position)
            else:
                lag += 1  # its restore is work that waits
        return lag

    # --- the intake's thread calls these -----------------------------------------------------------------------------

    def assigned(self, leases: Sequence[Lease]) -> None:
        self._loop.call_soon_threadsafe(self._begin_restore, leases)

    def revoked(self, leases: Sequence[Lease]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._let_go(leases), self._loop)

    def lost(self, leases: Sequence[Lease]) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._forget(leases), self._loop)

    def offer(self, poll: Poll) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._channel.put(poll), self._loop)

    def finish(self) -> Future[None]:
        return asyncio.run_coroutine_threadsafe(self._let_go(list(self._leases.values())), self._loop)

    def failed(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._fail, error)

    # --- applying and checkpoints, under the lock --------------------------------------------------------------------

    def _apply(self, partition: Partition[State], batch: Batch) -> Batch | None:
        """Returns the rest of the batch when a tick in it names reference data that is not here yet."""
        self._enter("apply")
        if self._uncommitted_since is None:
            self._uncommitted_since = time.monotonic()
        self._transaction.begin()
        rest: Batch | None = None
        try:
            partition.take(batch.messages, self._transaction.produce)
        except ReferenceBehind as behind:
            self.waits.missed(REFERENCE, "reading reference data", behind, self._uncommitted_since)
            left = [message for message in batch.messages if (message.offset() or 0) >= partition.position]
            rest = batch._replace(start=partition.position, messages=left)
        self._transaction.serve()
        applied = len(batch.messages) - (len(rest.messages) if rest else 0)
        if applied:
            self.progress += 1
            self._appended_ms.append(batch.messages[0].timestamp()[1])
        self._meters.count(metrics.EVENTS, self.name, amount=applied)
        self._meters.count(metrics.BATCHES, self.name)
        if sum(len(each.entries) for each in self._partitions.values()) > self.config.max_keys:
            raise TooLarge(f"more than {self.config.max_keys} keys; add workers or raise CHARGELINE_MAX_STATIONS")
        return rest

    def _due(self) -> bool:
        return self.uncommitted_s >= self.config.checkpoint_s

    async def _checkpoint(self, write_s: float) -> None:
        """Runs in a thread, so that the loop lives; the lock is held, so that nothing is applied meanwhile."""
        partitions = list(self._partitions.values())
        if not partitions:
            return
        began = time.monotonic()

        def run() -> None:
            self._transaction.begin()
            for step in checkpoint(self._transaction, partitions, self.config.changelog, began, write_s):
                self._enter(step)

        with self._guarded():
            await self._in_thread(run)
            self._committed(began)
        gc.collect(0)  # automatic collection is off; what is young and cyclic must not pile up
        self._enter("idle")

    def _committed(self, began: float) -> None:
        self._uncommitted_since = None
        self._losses = Backoff()
        self.progress += 1
        self._meters.observe(metrics.CHECKPOINTS, self.name, value=time.monotonic() - began)
        now_ms = time.time() * 1000
        for appended in self._appended_ms:
            self._meters.observe(metrics.LATENCY, self.name, value=max(0.0, now_ms - appended) / 1000)
        self._appended_ms.clear()

    async def _pulse(self) -> None:
        """Checkpoints when nothing arrives any more, and the gauges."""
        while True:
            await asyncio.sleep(self.config.checkpoint_s / 2)
            async with self._lock:
                now, write_s = time.monotonic(), self.config.state_write_s
                if self._due() or any(each.overdue(now, write_s) for each in self._partitions.values()):
                    await self._checkpoint(write_s)
            self._show()

    def _show(self) -> None:
        live = len(self._partitions)
        self._meters.set(metrics.PARTITIONS, self.name, "live", value=live)
        self._meters.set(metrics.PARTITIONS, self.name, "restoring", value=len(self._leases) - live)
        self._meters.set(metrics.KEYS, self.name, value=sum(len(each.entries) for each in self._partitions.values()))
        self._meters.set(metrics.LAG, self.name, value=self.lag)
        self._meters.set(metrics.CHECKPOINT_AGE, self.name, value=self.uncommitted_s)
        totals = [each.totals for each in self._partitions.values() if each.totals]
        self._logic.show([sum(parts) for parts in zip(*totals, strict=True)], self.name, self._meters)

    # --- coming and going of partitions ------------------------------------------------------------------------------

    def _begin_restore(self, leases: Sequence[Lease]) -> None:
        self._leases.update({lease.number: lease for lease in leases if lease.owned})
        self._answered = True
        if leases:
            self._spawn(self._restore([(lease, lease.epoch) for lease in leases], reset=False))

    async def _restore(self, wanted: Sequence[tuple[Lease, int]], reset: bool) -> None:
        """Reads beside the other partitions' work; only the first (abort) and the last step hold the lock."""
        began = time.monotonic()
        if reset:
            await asyncio.sleep(self._losses.pause_s())
        async with self._lock:
            await self._abort_doomed()
        self._enter("restore")
        try:
            restored = await asyncio.to_thread(self._read, wanted)
        except Cancelled:
            return
        async with self._lock:
            await self._abort_doomed()
            current = {lease.number: lease for lease, epoch in wanted if lease.owned and lease.epoch == epoch}
            for partition in restored:
                lease = current.get(partition.number)
                if lease is not None:
                    partition.epoch = lease.epoch
                    self._partitions[partition.number] = partition
                    self.intake.start(lease, partition.position)
            self.progress += 1
            gc.freeze()  # the state lives long: no later collection shall walk through it
        took = time.monotonic() - began
        self._meters.observe(metrics.RESTORES, self.name, value=took)
        numbers, keys = sorted(current), sum(len(each.entries) for each in restored)
        log.info("%s: restored partitions %s: %d keys in %.1f s", self.name, numbers, keys, took)

    async def _abort_doomed(self) -> None:
        """Nothing is applied before: the given-up transaction may still be open, and healthy enough to commit."""
        if self._doomed:
            await self._in_thread(self._transaction.abort)
            self._doomed = False

    def _read(self, wanted: Sequence[tuple[Lease, int]]) -> Sequence[Partition[State]]:
        """In a thread: the whole of restore.py, with its progress in the log."""

        def cancelled() -> bool:
            return not any(lease.owned and lease.epoch == epoch for lease, epoch in wanted)

        config, restored = self.config, list[Partition[State]]()
        history = KafkaHistory(config, self.waits, cancelled)
        told = time.monotonic()
        try:
            numbers = [lease.number for lease, epoch in wanted if lease.owned and lease.epoch == epoch]
            if not numbers:
                return ()
            for step in restore(history, numbers, self._empty, self._lost_records, restored):
                self.progress += 1
                if time.monotonic() - told > 2:
                    told = time.monotonic()
                    log.info("%s: restoring partitions %s: %s, %s", self.name, numbers, step, history.progress)
        finally:
            history.close()
        return restored

    def _empty(self, number: int) -> Partition[State]:
        return Partition(number, self._total, self.config.source, self._logic, self._gate, self.config.max_state_bytes)

    def _lost_records(self, what: str) -> None:
        self._meters.count(metrics.RECORDS_LOST, self.name)
        log.error("%s: %s", self.name, what)

    async def _let_go(self, leases: Sequence[Lease]) -> None:
        """Revoked, or stopping: everything applied is committed, with all changed states, before others read on."""
        async with self._lock:
            if not self.failure.done() and any(lease.number in self._partitions for lease in leases):
                await self._checkpoint(EVERYTHING)
            self._drop(leases)

    async def _forget(self, leases: Sequence[Lease]) -> None:
        """Lost: the open transaction holds outputs of these, so none of it may be committed."""
        async with self._lock:
            self._drop(leases)
            if self._transaction.open:
                self._abandon("partitions were lost")

    def _drop(self, leases: Sequence[Lease]) -> None:
        for lease in leases:
            lease.owned = False
            if self._leases.get(lease.number) is lease:
                del self._leases[lease.number]
                self._partitions.pop(lease.number, None)

    # --- failures ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What an exception inside means: a lost transaction is restored, everything else ends the worker."""
        try:
            yield
        except TransactionLost as lost:
            self._abandon(lost)
        except Exception as error:
            self._fail(error)
            raise

    def _abandon(self, why: object) -> None:
        """The transaction is lost, and with it what the state has applied: restore all partitions in this process."""
        log.warning("%s: transaction given up, restoring: %s", self.name, why)
        self._meters.count(metrics.TRANSACTIONS_LOST, self.name)
        self._doomed = True
        self._partitions.clear()
        self._uncommitted_since = None
        self._appended_ms.clear()
        leases = [lease for lease in self._leases.values() if lease.owned]
        for lease in leases:
            lease.hold()
        self._spawn(self._restore([(lease, lease.epoch) for lease in leases], reset=True))

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _count_dead_letter(self, reason: str) -> None:
        self._meters.count(metrics.DEAD_LETTERS, self.name, reason)

    async def _in_thread(self, call: Callable[..., Any], executor: Any = ...) -> Any:
        chosen = self._thread if executor is ... else executor
        return await self._loop.run_in_executor(chosen, call)
