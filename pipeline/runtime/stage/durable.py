"""The durable stage: batches in, state changed, outputs produced, a checkpoint when due, all of it exactly once.

This file only says when: what a batch does, and the order of a checkpoint and of a restore, is in runtime/partition,
which partitions are ours in holdings.py. The rule of the file: state and transaction are touched only under the lock,
by one at a time. It is longer than 300 lines because all that takes this lock is in one place, to be seen together.
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
from pipeline.runtime.kafka.feed import Batch, Lease, Poll
from pipeline.runtime.kafka.history import Cancelled
from pipeline.runtime.kafka.intake import Intake
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
from pipeline.runtime.stage.holdings import Holdings, Wanted, still_wanted
from pipeline.runtime.stage.meters import StageMeters
from pipeline.runtime.stage.restorer import Restorer

log = logging.getLogger(__name__)

REFERENCE = "reference topics"
WATCH_S = 5.0
"""How often the stage looks whether its topics are still the same."""


class DurableStage(Generic[State]):
    """Carries `logic` from `config.source` to the topics of its outputs. Use: channel, open, process..., close."""

    def __init__(self, config: StageConfig, logic: Logic[State], meters: Meters, phases: Phases) -> None:
        self.config = config
        self.name = config.name
        self.waits = Waits(config.name, meters, config.client)
        self.progress = 0
        """Rises with everything that gets done; the watchdog looks at it."""
        self.before_joining: Callable[[], None] = lambda: None
        """Called by `open` in a thread when the topics are there, and nobody reads yet."""
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
        self._held: Holdings[State] = Holdings(self.waits.troubles, config.source, config.reference_wait_s)
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
        """Returns when the group can be joined: a predecessor's transaction is aborted by then."""
        self._enter("restore")
        await self._in_thread(self._transaction.connect)
        await self._in_thread(self._restorer.count_partitions)
        await self._in_thread(self.before_joining)
        self._background.spawn(self._pulse())
        self._background.spawn(self._watch(TopicWatch(self.config, self.waits)))
        self.intake.open()

    async def process(self, poll: Poll) -> None:
        """Applies one poll; a checkpoint comes when it is due. Raises what must end the worker."""
        for batch in poll:
            await self._process(batch)
            await asyncio.sleep(0)  # timers and the watchdog's beat have their turn

    async def _process(self, batch: Batch) -> None:
        async with self._lock:
            partition = self._held.of(batch)
            if self.failure.done() or partition is None:
                return
            if not batch.messages:
                await self._read_anew(batch.lease)
                return
            with self._guarded():
                if batch.start != partition.position:
                    raise RuntimeError(f"records {partition.position} to {batch.start} never reached the stage")
                self._apply(partition, batch)
            if self._due():
                await self._checkpoint(self.config.state_write_s)

    async def close(self) -> None:
        """Last checkpoint (unless the worker failed), leaves the group."""
        await self._in_thread(self.intake.close, executor=None)
        self._background.cancel()
        if self._transaction.open:
            await self._in_thread(self._transaction.discard)
        self._thread.shutdown(wait=False)

    def owned(self) -> Sequence[int]:
        """Partitions whose ticks are ours to write."""
        return self._held.owned

    @property
    def ready(self) -> bool:
        """The group has answered, and everything it assigned is restored (nothing, of more workers than partitions)."""
        return self.intake.alive and self._held.restored

    @property
    def uncommitted_s(self) -> float:
        since = self._uncommitted_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def lag(self) -> int:
        """Records that the owned partitions hold and that could be applied now."""
        return self._held.workable

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
        return asyncio.run_coroutine_threadsafe(self._let_go(list(self._held.leases.values())), self._loop)

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
            self._held.free(partition.number)
        self._transaction.serve()
        if applied:
            self.progress += 1
        self._meters.applied(batch.messages, applied)
        if self._held.keys > self.config.max_keys:
            raise TooManyKeys(f"more than {self.config.max_keys} keys; add workers or raise CHARGELINE_MAX_STATIONS")

    def _wait_for_reference(self, partition: Partition[State], lease: Lease, behind: ReferenceBehind) -> None:
        """A tick names reference data that is not here yet. Its partition is read on from there, again and again."""
        pause_s, epoch = self._held.wait(partition, lease, behind), lease.epoch

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
        partitions = list(self._held.live.values())
        if not partitions:
            return
        began = time.monotonic()

        def run() -> None:
            self._transaction.begin()
            for step in checkpoint(self._transaction, partitions, self.config.changelog, began, write_s):
                self._enter(step)

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
                if self._due() or any(each.unwritten.overdue(now, write_s) for each in self._held.live.values()):
                    await self._checkpoint(write_s)
            self._meters.show(self._held, self.uncommitted_s)

    def _go_on_releasing(self) -> None:
        """A step of each release of a station; all others wait for it, so the next one comes with the next pulse."""
        for partition in [each for each in self._held.live.values() if each.quarantine.releasing]:
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
                    self._abandon(f"{self.config.source} was made anew")  # a restore refuses it
            for topic in set(self.config.reads).intersection(replaced):
                raise Unavailable(REFERENCE_REPLACED.format(topic=topic))
            await asyncio.sleep(WATCH_S)

    # --- coming and going of partitions ------------------------------------------------------------------------------

    def _begin_restore(self, leases: Sequence[Lease]) -> None:
        self._held.take(leases)
        if leases:
            self._background.spawn(self._restore([(lease, lease.epoch) for lease in leases], reset=False))

    async def _restore(self, wanted: Wanted, reset: bool) -> None:
        """Reads beside the other partitions' work; only the first (abort) and the last step hold the lock."""
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
                    self._held.refuse(partition)
                    continue
                self._held.enter(partition, lease)
                self.intake.start(lease, partition.position)
            self._advanced()
            gc.freeze()  # the state lives long: no later collection shall walk through it
        took = time.monotonic() - began
        self._meters.restored(took)
        whole = [partition for partition in restored if not isinstance(partition, Refused)]
        numbers, keys = sorted(each.number for each in whole), sum(len(each.entries) for each in whole)
        log.info("%s: restored partitions %s: %d keys in %.1f s", self.name, numbers, keys, took)

    async def _read_anew(self, lease: Lease) -> None:
        """The log lacks what the partition was to read next. All that it has applied is committed; then a restore looks
        what the log has, and says what is lost."""
        await self._checkpoint(EVERYTHING)
        if (
            self._held.live.pop(lease.number, None) is not None
        ):  # otherwise the checkpoint failed: it is restored already
            lease.hold()
            self._begin_restore([lease])

    async def _abort_doomed(self) -> None:
        """Nothing is applied before: the given-up transaction may still be open, and healthy enough to commit."""
        if self._doomed:
            await self._in_thread(self._transaction.abort)
            self._doomed = False

    def _advanced(self) -> None:
        self.progress += 1

    async def _let_go(self, leases: Sequence[Lease]) -> None:
        """Revoked, or stopping: everything applied is committed, with all changed states, before others read on."""
        async with self._lock:
            if not self.failure.done() and any(lease.number in self._held.live for lease in leases):
                await self._checkpoint(EVERYTHING)
            self._held.drop(leases)

    async def _forget(self, leases: Sequence[Lease]) -> None:
        """Lost: the open transaction holds outputs of these, so none of it may be committed."""
        async with self._lock:
            self._held.drop(leases)
            if self._transaction.open:
                self._abandon("partitions were lost")

    # --- failures ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What an exception inside means: a lost transaction is restored, everything else ends the worker."""
        try:
            yield
        except TransactionLost as lost:
            self._abandon(lost)
        except Exception as error:
            self._background.fail(error)
            raise

    def _abandon(self, why: object) -> None:
        """The transaction is lost, and with it what the state has applied: restore all partitions in this process."""
        log.warning("%s: transaction given up, restoring: %s", self.name, why)
        self._meters.given_up()
        self._doomed = True
        self._uncommitted_since = None
        self._background.spawn(self._restore(self._held.void(), reset=True))

    async def _in_thread(self, call: Callable[..., Any], executor: Any = ...) -> Any:
        chosen = self._thread if executor is ... else executor
        return await self._loop.run_in_executor(chosen, call)
