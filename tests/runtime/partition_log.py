"""One partition on a log in memory: the real Partition, restore and checkpoint; produce and the broker are lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Message

from pipeline.runtime.logic import Logic
from pipeline.runtime.partition.changelog import decode_metadata, encode_metadata
from pipeline.runtime.partition.checkpoint import EVERYTHING, checkpoint
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.partition import Partition
from pipeline.runtime.partition.ports import Committed, Headers, Position
from pipeline.runtime.partition.quarantine import QUARANTINE
from pipeline.runtime.partition.restore import Refused, restore
from pipeline.wire.quarantine import RELEASE, SIGNATURE, Kept, decode_kept

CHANGELOG = "changelog"


CHUNK = 40
"""Of what is kept, as it is read."""


class Produced(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class PartitionLog:
    """Transaction and Recall of partition 0. What was produced since the last checkpoint is uncommitted."""

    def __init__(self, logic: Logic[Any], *, max_state_bytes: int = 900_000, gate: FloodGate | None = None) -> None:
        self.logic: Any = logic
        self.source_log: list[Message] = []
        self.committed_records: list[Produced] = []
        self.open_records: list[Produced] = []
        self.refused: list[str] = []
        self._gate = gate or FloodGate(1000, 90, self.refused.append)
        self.max_state_bytes = max_state_bytes
        self._offset: int | None = None
        self._metadata = ""
        self._time = 0.0
        self.partition = self._empty(0)

    def _empty(self, number: int) -> Partition[Any]:
        return Partition(number, 1, "in", self.logic, self._gate, self.max_state_bytes, self)

    # --- what the tests do -------------------------------------------------------------------------------------------

    def write(self, *records: tuple[bytes | None, bytes | None], at_ms: int = 0) -> None:
        self.source_log += [
            Message(topic="in", partition=0, offset=offset, key=key, value=value, timestamp=(1, at_ms))
            for offset, (key, value) in enumerate(records, start=len(self.source_log))
        ]

    def take(self, *records: tuple[bytes | None, bytes | None]) -> None:
        """Writes them to the source and applies all that is there."""
        self.write(*records)
        self.read_on()

    def read_on(self) -> None:
        messages = self.source_log[self.partition.position :]
        if messages:
            self.partition.take(messages, self.produce)

    def release(self, key: bytes, way: bytes = b"", signature: bytes = b"") -> None:
        self.order(key, way, signature)
        while self.partition.quarantine.releasing:
            self.partition.go_on_releasing(self.produce)

    def order(self, key: bytes, way: bytes = b"", signature: bytes = b"") -> None:
        """The release is in the log and read; its steps are still to come."""
        offset = len(self.source_log)
        self.source_log.append(
            Message(topic="in", partition=0, offset=offset, key=key, value=None, timestamp=(1, 0),
                    headers=[(RELEASE, way), (SIGNATURE, signature)])
        )  # fmt: skip
        self.read_on()

    def checkpoint(self, write_s: float = EVERYTHING) -> None:
        self._time += 1
        for _ in checkpoint(self, [self.partition], CHANGELOG, self._time, write_s):
            pass

    def crash(self) -> None:
        """What is not committed is gone; then a restore, up to where the committed outputs end."""
        self.open_records.clear()
        restored: list[Partition[Any] | Refused] = []
        oldest, watermark = decode_metadata(self._metadata)
        history = Changelog(self.changelog(), Committed(self._offset, oldest, 0, watermark))
        for _ in restore(history, [0], self._empty, self._lost, restored):
            pass
        (partition,) = restored
        assert isinstance(partition, Partition)
        self.partition = partition
        self.read_on()

    def changelog(self) -> dict[bytes, bytes]:
        latest = {each.key or b"": each.value for each in self.committed_records if each.topic == CHANGELOG}
        return {key: value for key, value in latest.items() if value is not None}

    def outputs(self, *topics: str) -> list[Produced]:
        return [each for each in [*self.committed_records, *self.open_records] if each.topic in topics]

    def of(self, key: bytes, *topics: str) -> list[Produced]:
        return [each for each in self.outputs(*topics) if (each.key or b"").split(b"/")[0] == key]

    @staticmethod
    def _lost(what: str, records: int) -> None:
        raise AssertionError(what)

    # --- Transaction -------------------------------------------------------------------------------------------------

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
    ) -> None:
        self.open_records.append(Produced(topic, key, value, tuple(headers)))

    def flush(self) -> None:
        """Everything is in the lists already."""

    def send_offsets(self, positions: Sequence[Position]) -> None:
        for _, offset, oldest, watermark in positions:
            self._offset, self._metadata = offset, encode_metadata(oldest, watermark)

    def commit(self) -> None:
        self.committed_records += self.open_records
        self.open_records.clear()

    # --- Recall ------------------------------------------------------------------------------------------------------

    def source(self, partition: int, start: int, end: int) -> Iterable[Message]:
        return self.source_log[start:end]

    def kept(self, partition: int, source: str) -> Iterator[Sequence[tuple[bytes, Kept | None]]]:
        chunk: list[tuple[bytes, Kept | None]] = []
        for each in [each for each in self.committed_records if each.topic == QUARANTINE]:
            found = None if each.value is None else decode_kept(each.key or b"", each.value, each.headers, source)
            if found is not None or each.value is None:
                chunk.append((each.key or b"", found))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        yield chunk

    def still_kept(self) -> list[Kept]:
        """As a compaction leaves them."""
        names = dict(pair for chunk in self.kept(0, "in") for pair in chunk)
        return [each for each in names.values() if each is not None]


class Changelog:
    """runtime.partition.ports.History of partition 0."""

    def __init__(self, records: Mapping[bytes, bytes], committed: Committed) -> None:
        self._records = records
        self._committed = committed

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Committed]:
        return dict.fromkeys(partitions, self._committed)

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return dict.fromkeys(partitions, len(self._records))

    def read(self, ends: Mapping[int, int]) -> Iterator[Sequence[tuple[int, bytes, bytes | None]]]:
        yield [(0, key, value) for key, value in self._records.items()]
