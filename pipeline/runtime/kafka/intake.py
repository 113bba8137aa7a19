"""Reads records with librdkafka in a separate thread and hands them over, one batch per partition and poll.

The thread owns the consumer, and only it may call it: confluent-kafka 2.16 deadlocks when a second thread asks for
the membership or a watermark while the first one polls (measured). Other threads put calls into its mailbox, which it
serves between polls and while it waits for the handler. An assigned partition stays paused until `start`; after
`Lease.pause` or a revoke none of its records is handed over. The group is cooperative-sticky: a rebalance does not
disturb a worker that keeps its partitions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import confluent_kafka as ck

from pipeline.kafka_rights import Right
from pipeline.runtime.kafka.config import STEADY, GroupConfig
from pipeline.runtime.kafka.errors import TRY_AGAIN
from pipeline.runtime.kafka.leases import Batch, Lease, Poll, PollHandler
from pipeline.runtime.kafka.mailbox import Mailbox
from pipeline.runtime.kafka.retry import Waits
from pipeline.runtime.partition.ports import TransactionLost

log = logging.getLogger(__name__)

LARGEST_BATCH = 4000
"""Records per poll: bounds how long the event loop is kept busy at a time."""
POLL_S = 0.02
"""Limits how long a call in the mailbox waits."""
FULL_S = 1.0
"""After this long without an accepted poll the partitions are paused and polling continues."""


class Intake:
    """A consumer of `config.topics` in its own thread."""

    def __init__(self, config: GroupConfig, handler: PollHandler, waits: Waits) -> None:
        self.beat = time.monotonic()
        """When the thread last polled; the watchdog reads it."""
        self._config = config
        self._handler = handler
        self._waits = waits
        self._membership_right = Right("Read", "group", config.group)
        self._leases: dict[tuple[str, int], Lease] = {}
        self._member: str | None = None
        self._mailbox = Mailbox()
        self._looked = 0.0
        self._stopping = threading.Event()
        self._throttled = False
        self._gone: list[Lease] = []
        """Leases whose next record is not in the log; the handler learns this after the batches before it."""
        self._thread = threading.Thread(target=self._run, name=f"{config.name}-intake", daemon=True)
        self._consumer = ck.Consumer(
            dict(STEADY)
            | dict(config.client)
            | {
                "group.id": config.group,
                "auto.offset.reset": "error",  # a skip of records must be explicit
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,  # says that only markers of transactions are left: see Lease.tail
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": config.session_timeout_ms,
                "heartbeat.interval.ms": max(200, min(1000, config.session_timeout_ms // 6)),
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 4_000_000,
                "queued.min.messages": 50_000,
                "queued.max.messages.kbytes": 65_536,
            },
        )

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Calls the handler's `finish`, leaves the group and returns when the thread has ended."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self, lease: Lease, offset: int | None) -> None:
        """Hands over records from `offset` on; None: from the committed offset. From any thread."""
        self._mailbox.put(lambda: self._start(lease, offset))

    def membership(self) -> object:
        """The group's metadata, for a transaction; from any thread but the intake's own.

        Raises TransactionLost when this consumer is no longer the member that got the partitions: the broker would
        accept offsets without a membership, or with a later one.
        """
        try:
            return self._mailbox.ask(self._membership)
        except TimeoutError:
            raise TransactionLost("the consumer waits for the broker") from None

    def commit(self, offsets: Sequence[ck.TopicPartition]) -> None:
        """Commits offsets of a sink; from any thread but the intake's own. Raises KafkaException."""
        self._mailbox.ask(lambda: self._consumer.commit(offsets=list(offsets), asynchronous=False))

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                list(self._config.topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            while not self._stopping.is_set():
                self._poll()
            self._mailbox.serve_until(self._handler.finish())
        except BaseException as error:  # the supervisor ends the process
            self._handler.failed(error)
        finally:
            self._consumer.close()

    def _poll(self) -> None:
        self.beat = time.monotonic()
        self._mailbox.serve()
        messages = self._consumer.consume(LARGEST_BATCH, POLL_S)
        if messages or self._gone:
            if any(map(ck.Message.error, messages)):
                messages = [message for message in messages if not self._aside(message)]
            poll = self._batches(messages)
            taken = self._handler.offer([*poll, *self._gaps()] if self._gone else poll)
            while not self._mailbox.serve_until(taken, FULL_S) and not self._stopping.is_set():
                self._throttle()  # the handler itself waits for something
            self._relax()
        if self.beat - self._looked > 0.5:
            self._looked = self.beat
            for lease in self._leases.values():
                lease.high = self._consumer.get_watermark_offsets(_place(lease), cached=True)[1]

    def _throttle(self) -> None:
        """Keeps polling, so that the group keeps this member. Paused partitions bring no records."""
        if not self._throttled:
            self._throttled = True
            self._consumer.pause([_place(lease) for lease in self._leases.values()])
        self.beat = time.monotonic()
        late = self._consumer.consume(LARGEST_BATCH, 0.0)
        for message in late:
            if not self._aside(message):
                raise RuntimeError("a paused partition delivered a record")

    def _relax(self) -> None:
        if self._throttled:
            self._throttled = False
            self._consumer.resume([_place(lease) for lease in self._leases.values() if lease.running])

    def _aside(self, message: ck.Message) -> bool:
        """True if the message is no record: the end of a partition or an error. Most errors heal by themselves."""
        error = message.error()
        if error is None:
            return False
        lease = self._leases.get((message.topic() or "", message.partition() or 0))
        if error.code() == ck.KafkaError._PARTITION_EOF:
            if lease is not None and lease.running:
                lease.tail = message.offset() or 0
                self._waits.granted(Right("Read", "topic", lease.topic))
        elif error.code() == ck.KafkaError._AUTO_OFFSET_RESET:
            if lease is not None:
                if lease.running:  # otherwise the offset was none of ours: fetched between its assignment and its pause
                    lease.running = False
                    self._gone.append(lease)
                self._consumer.incremental_unassign(
                    [_place(lease)]
                )  # librdkafka has ended its fetcher: no seek heals it
                self._assign([lease])
        elif error.fatal():
            raise ck.KafkaException(error)
        elif not self._denied(error, message.topic()):
            log.warning("consumer: %s: %s", error.name(), error.str())
        return True

    def _denied(self, error: ck.KafkaError, topic: str | None) -> bool:
        is_of_topic = error.code() == ck.KafkaError.TOPIC_AUTHORIZATION_FAILED
        topic = topic or self._config.topics[0]
        return self._waits.denied(error, Right("Read", "topic", topic) if is_of_topic else self._membership_right)

    def _gaps(self) -> Poll:
        gaps = [Batch(lease, lease.epoch, lease.end, ()) for lease in self._gone if lease.owned]
        self._gone.clear()
        return gaps

    def _batches(self, messages: Iterable[ck.Message]) -> Poll:
        batches: list[Batch] = []
        topic = self._config.topics[0]
        several = len(self._config.topics) > 1
        runs: dict[Any, list[ck.Message]] = {}
        for place, run in groupby(messages, _topic_and_partition if several else ck.Message.partition):
            runs.setdefault(place, []).extend(run)  # a poll may bring several runs of one partition
        for place, batch in runs.items():
            lease = self._leases.get(place if several else (topic, place))
            if lease is None:
                continue  # revoked within this poll
            epoch = lease.epoch  # before `running`: a pause in between makes the batch stale
            if not lease.running:
                self._consumer.pause([_place(lease)])
                continue
            start, lease.end = lease.end, (batch[-1].offset() or 0) + 1
            self._waits.granted(Right("Read", "topic", lease.topic))
            batches.append(Batch(lease, epoch, start, batch))
        return batches

    def _start(self, lease: Lease, offset: int | None) -> None:
        if not lease.owned:
            return
        place = _place(lease)
        try:
            place.offset = end = self._committed(lease) if offset is None else offset
            self._consumer.seek(place)
        except ck.KafkaException as error:
            cause = error.args[0]
            if cause.code() not in TRY_AGAIN and not self._denied(cause, lease.topic):
                raise
            self.start(lease, offset)  # after the next poll
            return
        lease.end, lease.tail = end, 0
        lease.running = True
        if not self._throttled:
            self._consumer.resume([place])

    def _membership(self) -> object:
        metadata = self._consumer.consumer_group_metadata()
        member = self._consumer.memberid()  # after the metadata: an id never comes back, so it was valid then
        if not member or member != self._member:
            raise TransactionLost("not a member of the consumer group any more")
        return metadata

    def _committed(self, lease: Lease) -> int:
        """The offset at which the group continues, or that of the first record."""
        place = _place(lease)
        committed = self._consumer.committed([place], 2.0)[0]
        if committed.error is not None:
            raise ck.KafkaException(committed.error)
        first, end = self._consumer.get_watermark_offsets(place, 2.0)
        if committed.offset >= 0 and not first <= committed.offset <= end:
            self._handler.skipped(lease, committed.offset, first)
        return committed.offset if first <= committed.offset <= end else first

    def _assign(self, leases: Iterable[Lease]) -> None:
        """Assigns paused partitions. `start` seeks later; the offset 0 avoids a needless query of the committed one."""
        places = [ck.TopicPartition(lease.topic, lease.number, 0) for lease in leases]
        self._consumer.incremental_assign(places)
        self._consumer.pause(places)

    def _on_assign(self, consumer: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        self._member = consumer.memberid()
        self._waits.granted(self._membership_right)
        leases = [Lease(partition.topic, partition.partition) for partition in partitions]
        if leases:
            self._assign(leases)
            self._leases.update({(lease.topic, lease.number): lease for lease in leases})
            log.info("%s: assigned %s", self._config.name, _names(leases))
        self._handler.assigned(leases)

    def _on_revoke(self, _: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        leases = self._take_back(partitions)
        log.info("%s: revoked %s", self._config.name, _names(leases))
        self._mailbox.serve_until(self._handler.revoked(leases))

    def _on_lost(self, _: ck.Consumer, partitions: list[ck.TopicPartition]) -> None:
        leases = self._take_back(partitions)
        log.warning("%s: lost %s: this worker was away for longer than its session", self._config.name, _names(leases))
        self._mailbox.serve_until(self._handler.lost(leases))

    def _take_back(self, partitions: Iterable[ck.TopicPartition]) -> Sequence[Lease]:
        leases = [
            self._leases.pop((p.topic, p.partition)) for p in partitions if (p.topic, p.partition) in self._leases
        ]
        for lease in leases:
            lease.owned = lease.running = False
        return leases


def _topic_and_partition(message: ck.Message) -> tuple[str | None, int | None]:
    return message.topic(), message.partition()


def _place(lease: Lease) -> ck.TopicPartition:
    return ck.TopicPartition(lease.topic, lease.number)


def _names(leases: Iterable[Lease]) -> str:
    return ", ".join(sorted(f"{lease.topic}-{lease.number}" for lease in leases)) or "nothing"
