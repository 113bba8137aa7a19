"""What the stage needs from a broker, as narrow protocols. runtime/kafka implements them, the tests simulate them.

checkpoint.py and restore.py decide the order of these calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pipeline.runtime.logic import NEVER, Watermark

if TYPE_CHECKING:
    from pipeline.wire.quarantine import Kept

Headers = Sequence[tuple[str, bytes]]


class TransactionLost(Exception):
    """The open transaction can never be committed: fenced, timed out, or the group gave our partitions away.

    Remedy of the stage: abort, drop all state, restore from what is committed.
    """


class Message(Protocol):
    """A record as librdkafka hands it out; the hot path calls these methods and no other."""

    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def offset(self) -> int | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> Any:
        """Never on the hot path."""
        ...


class Produce(Protocol):
    """Adds one record to the open transaction; partition -1: by murmur2 of the key."""

    def __call__(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
    ) -> None: ...


class Position(NamedTuple):
    """How far a partition is applied, and where a restore must begin to read again."""

    partition: int
    offset: int
    """The next record to apply; everything below is in the outputs of this or an earlier transaction."""
    oldest: int
    """The oldest record that is not yet in the state records; at most `offset`."""
    watermark: Watermark = ()
    """The watermark of reference data at the record `oldest`."""


class Transaction(Protocol):
    """The open transaction of this worker. Every method may raise TransactionLost."""

    def produce(
        self, topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()
    ) -> None: ...

    def flush(self) -> None:
        """Returns when every record of the transaction is in the log."""
        ...

    def send_offsets(self, positions: Sequence[Position]) -> None:
        """Adds the positions, fenced by this worker's membership of the consumer group."""
        ...

    def commit(self) -> None: ...


class Committed(NamedTuple):
    """What the group has committed for a partition; `offset` None: nothing yet."""

    offset: int | None
    oldest: int | None
    first: int
    """The first offset that the source still holds."""
    watermark: Watermark = ()
    """The watermark of reference data at the record `oldest`."""
    end: int = NEVER
    """The offset after the last record of the source."""
    source: str = ""
    """Kafka's id of the source topic; it changes when the topic is deleted and recreated. Empty: not known."""
    accepted: bool = False
    """An operator has accepted the source as it is now (`chargeline topics accept`)."""


class History(Protocol):
    """Reads what was committed, for a restore."""

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Committed]:
        """Stable: waits while a transaction with offsets of these partitions is open."""
        ...

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        """Ends of the changelog, records of open transactions included."""
        ...

    def read(self, ends: Mapping[int, int]) -> Iterator[Sequence[tuple[int, bytes, bytes | None]]]:
        """Committed changelog records (partition, key, value) below `ends`, in chunks; an empty chunk: still waiting.

        Ends only when every partition is read to its end, so it waits for open transactions below it.
        """
        ...


class Recall(Protocol):
    """Reads records again to repair one key. All other keys wait meanwhile, so it is for rare cases.

    Both methods may raise TransactionLost (broker away: restore, then try again) and LookupError (records are gone).
    """

    def source(self, partition: int, start: int, end: int) -> Iterable[Message]:
        """Records of the source from `start` to `end` (exclusive), in order."""
        ...

    def kept(self, partition: int, source: str) -> Iterable[Sequence[tuple[bytes, Kept | None]]]:
        """Committed names and records of keys that are set aside, in order; None: the record is no longer kept.

        In chunks that each take a moment, for one partition of this source.
        """
        ...
