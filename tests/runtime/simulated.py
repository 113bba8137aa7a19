"""A broker in memory with what a checkpoint depends on: transactions, fencing, the last stable offset, group members.

It implements the ports of the stage, so that the very code of partition.py, checkpoint.py and restore.py runs on it,
with a crash or a pause between any two steps. The rule of the file: it does what Kafka does, no more.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.runtime.partition.changelog import decode_metadata, encode_metadata
from pipeline.runtime.partition.ports import Committed, Headers, Position, TransactionLost

Record = tuple[bytes | None, bytes]


class Blocked(Exception):
    """A real client would wait here."""


@dataclass(slots=True)
class Appended:
    producer: str
    epoch: int
    topic: str
    partition: int
    key: bytes
    value: bytes | None
    state: str = "open"


@dataclass(slots=True)
class Open:
    """The transaction that a transactional id has open: its epoch and offsets that wait for the commit."""

    epoch: int = 0
    offsets: dict[int, tuple[int, str]] = field(default_factory=dict)
    begun: bool = False


@dataclass(slots=True)
class Broker:
    source: list[list[Record]]
    logs: dict[tuple[str, int], list[Appended]] = field(default_factory=dict)
    producers: dict[str, Open] = field(default_factory=dict)
    committed: dict[int, tuple[int, str]] = field(default_factory=dict)
    members: dict[str, set[int]] = field(default_factory=dict)
    generation: int = 0

    # --- transactions ------------------------------------------------------------------------------------------------

    def init(self, producer: str) -> int:
        """A new epoch; what the old one left open is aborted, and whoever has it is fenced."""
        found = self.producers.setdefault(producer, Open())
        self._end(producer, "aborted")
        found.epoch += 1
        return found.epoch

    def append(self, record: Appended) -> None:
        self._fence(record.producer, record.epoch).begun = True
        self.logs.setdefault((record.topic, record.partition), []).append(record)

    def add_offsets(self, producer: str, epoch: int, offsets: Mapping[int, tuple[int, str]], member: str) -> None:
        if member not in self.members:
            raise TransactionLost("unknown member")
        transaction = self._fence(producer, epoch)
        transaction.begun = True
        transaction.offsets.update(offsets)

    def commit(self, producer: str, epoch: int) -> None:
        self.committed.update(self._fence(producer, epoch).offsets)
        self._end(producer, "committed")

    def abort(self, producer: str, epoch: int) -> None:
        self._fence(producer, epoch)
        self._end(producer, "aborted")

    def time_out(self, producer: str) -> None:
        """The coordinator aborts what was open for too long, and fences its owner."""
        if producer in self.producers and self.producers[producer].begun:
            self.init(producer)

    def _fence(self, producer: str, epoch: int) -> Open:
        if self.producers[producer].epoch != epoch:
            raise TransactionLost("fenced")
        return self.producers[producer]

    def _end(self, producer: str, state: str) -> None:
        for log in self.logs.values():
            for record in log:
                if record.producer == producer and record.state == "open":
                    record.state = state
        self.producers[producer].offsets.clear()
        self.producers[producer].begun = False

    def visible(self, topic: str) -> list[Appended]:
        """What a read-committed consumer of an output topic sees when nothing is open any more."""
        return [record for (name, _), log in self.logs.items() if name == topic for record in log
                if record.state == "committed"]  # fmt: skip

    # --- the group ---------------------------------------------------------------------------------------------------

    def join(self, member: str) -> None:
        self.members[member] = set()

    def leave(self, member: str) -> None:
        """Left, or its session ended; what it owned is free for others."""
        self.members.pop(member, None)

    def free(self) -> list[int]:
        owned = {number for numbers in self.members.values() for number in numbers}
        return [number for number in range(len(self.source)) if number not in owned]


class Transaction:
    """runtime.partition.ports.Transaction of one worker; what was produced waits in a queue until delivery or flush."""

    def __init__(self, broker: Broker, producer: str, member: str) -> None:
        self.broker, self.producer, self.member = broker, producer, member
        self.epoch = broker.init(producer)
        self.queue: list[Appended] = []
        self.lie_about_commit = False

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
    ) -> None:
        self.queue.append(Appended(self.producer, self.epoch, topic, max(partition, 0), key or b"", value))

    def deliver(self, count: int) -> None:
        for record in self.queue[:count]:
            self.broker.append(record)
        del self.queue[:count]

    def flush(self) -> None:
        self.deliver(len(self.queue))

    def send_offsets(self, positions: Sequence[Position]) -> None:
        offsets = {
            number: (offset, encode_metadata(oldest, watermark)) for number, offset, oldest, watermark in positions
        }
        self.broker.add_offsets(self.producer, self.epoch, offsets, self.member)

    def commit(self) -> None:
        self.deliver(len(self.queue))  # the client flushes what is left; too late for whoever restores already
        self.broker.commit(self.producer, self.epoch)
        if self.lie_about_commit:
            raise TransactionLost("committed, but the answer was lost")

    def abort(self) -> None:
        self.queue.clear()
        try:
            self.broker.abort(self.producer, self.epoch)
        except TransactionLost:
            self.epoch = self.broker.init(self.producer)


class History:
    """runtime.partition.ports.History."""

    def __init__(self, broker: Broker, changelog: str) -> None:
        self.broker, self.changelog = broker, changelog

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Committed]:
        pending = {number for transaction in self.broker.producers.values() for number in transaction.offsets}
        if pending & set(partitions):
            raise Blocked
        found = {}
        for number in partitions:
            offset, metadata = self.broker.committed.get(number, (None, ""))
            oldest, watermark = decode_metadata(metadata)
            found[number] = Committed(offset, oldest, 0, watermark)
        return found

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return {number: len(self.broker.logs.get((self.changelog, number), ())) for number in partitions}

    def read(self, ends: Mapping[int, int]) -> Iterator[Sequence[tuple[int, bytes, bytes | None]]]:
        for number, end in heapq.merge(ends.items()):
            log = self.broker.logs.get((self.changelog, number), [])
            for at in range(end):
                while log[at].state == "open":  # the last stable offset
                    yield ()
                if log[at].state == "committed":
                    yield [(number, log[at].key, log[at].value)]
