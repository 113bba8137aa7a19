"""What the stage needs of a broker, as narrow protocols. Kafka's are in runtime/kafka, the simulated ones in the tests.

The order in which these calls are made is the subject of checkpoint.py and restore.py; nothing here decides.
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
    """How much of the reference data that record could see."""


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
    """What the record at `oldest` could see of the reference data."""
    end: int = NEVER
    """The offset behind the last record that the source holds."""
    source: str = ""
    """Kafka's id of the source topic; another one: the topic was deleted and made anew. Empty: not known."""
    accepted: bool = False
    """An operator has accepted the source as it is now (`chargeline topics accept`)."""


class History(Protocol):
    """What was committed before, for a restore."""

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
    """Records that were read before, once more: for one key that is put right while all others wait, so seldom.

    Both may raise TransactionLost (the broker is away: restore, then try again) and LookupError (they are gone).
    """

    def source(self, partition: int, start: int, end: int) -> Iterable[Message]:
        """What the source holds from `start` on and before `end`, in order."""
        ...

    def kept(self, partition: int, source: str) -> Iterable[Sequence[tuple[bytes, Kept | None]]]:
        """Names and records of keys that are set aside, as committed and in their order; None: it is kept no more.

        In chunks that each take a moment, for one partition of this source.
        """
        ...
