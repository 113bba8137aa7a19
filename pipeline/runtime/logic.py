"""The contract between the durable stage and the logic that it runs: any keyed, stateful, pure function.

Every stage needs a Logic. A logic that prices by reference data is a WithReference as well, one with an energy balance
a WithLedger.

The stage owns offsets, checkpoints, the changelog and time; a Logic owns meaning. A Logic does no I/O, reads no
clock, and its outputs depend only on the state and the record, never on batches, checkpoints or the worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from pipeline.metrics import Meters

NEVER = 1 << 62
"""A deadline that no tick reaches."""


class Output(NamedTuple):
    """One record to produce inside the checkpoint's transaction. `topic` is a name from pipeline/topics.py."""

    topic: str
    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


Watermark = tuple[int, ...]
"""Per reference topic the offset below which its records count. Empty: no tick has named one yet."""


def advanced(known: Watermark, named: Watermark) -> tuple[Watermark, int]:
    """The new watermark when a tick names one, and a bit for each topic whose offset rose."""
    known = known or (0,) * len(named)
    brought = sum(1 << place for place, (old, new) in enumerate(zip(known, named, strict=True)) if new > old)
    return tuple(map(max, known, named)), brought


class ReferenceBehind(Exception):
    """A tick names reference data that this process does not have yet: the stage waits and retries there."""


class Tick(NamedTuple):
    clock: str
    time_us: int
    watermark: Watermark = ()
    """How much of the reference data the partition sees from this tick on; it never shrinks."""
    signed: bool = False
    """From its first signed tick on a partition ignores unsigned ticks and decisions."""


class Trouble(NamedTuple):
    """A problem with a key that is reported as an alert: a bug of ours, or a bound that was exceeded."""

    rule: str
    """INTERNAL_ERROR: a record of it raised and is a dead letter; STATION_QUARANTINED: it is set aside."""
    reason: str
    """Type and place of the exception, or which bound; never a value."""
    at_ms: int
    """Broker time of the record."""
    released_ms: int | None = None
    """Broker time of the record that released the key; None: not released."""


class KeyedState(Protocol):
    """The attributes of a state that the stage itself reads, to know which keys a tick concerns."""

    clock: str
    """The clock that the key follows: `live`, or the id of a replay or simulation."""
    wake_us: int
    """Time of the next tick that concerns the key; may be too early (the tick then does nothing), never too late."""
    waits: int
    """Bit i: something of this key waits for the i-th reference topic. Who sets it sets `wake_us` to 0 as well."""


State = TypeVar("State", bound=KeyedState)
Read = TypeVar("Read", bound=KeyedState, contravariant=True)


class Archive(Protocol):
    """Records of one key that are kept as encoded bytes beside its state (closed sessions until the horizon)."""

    def get(self, name: bytes) -> bytes | None: ...
    def put(self, name: bytes, value: bytes) -> None: ...
    def drop(self, name: bytes) -> None: ...
    def items(self) -> Iterable[tuple[bytes, bytes]]: ...


class Logic(Protocol[State]):
    """A keyed pure function with state, for `runtime.stage.durable.Stage`."""

    def create(self, key: bytes, archive: Archive) -> State:
        """The state of a key that was never seen."""
        ...

    def apply(self, state: State, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        """One record of `state`'s key. Raises InvalidMessage (state unchanged): the record becomes a dead letter.

        Parts of a record may be refused too: they are Outputs to DEAD_LETTERS with the original bytes and the headers
        `reason` and `detail`; the stage adds where the record was read.
        """
        ...

    def tick_of(self, value: bytes, append_time_ms: int) -> Tick:
        """The tick in a record without a key. Raises InvalidMessage: e.g. a live tick ahead of the broker's clock."""
        ...

    def tick(self, state: State, tick: Tick) -> Sequence[Output] | None:
        """Time has reached `tick`; called only for keys that follow its clock and whose `wake_us` is reached."""
        ...

    def trust(self, unsigned: bool) -> bool:
        """Sets whether the next unsigned ticks and decisions count; returns the previous value."""
        ...

    def check_release(self, key: bytes, way: bytes, at_ms: int, signature: bytes) -> None:
        """Raises InvalidMessage unless `signature` permits to release the key that is set aside since `at_ms`."""
        ...

    def report(self, key: bytes, state: State | None, trouble: Trouble) -> Sequence[Output]:
        """Outputs that report the trouble. A key that is set aside holds its open sessions; without state: an alert."""
        ...

    def dump(self, state: State) -> bytes:
        """The state without its archive, for the changelog; the stage puts the codec version in front."""
        ...

    def load(self, key: bytes, value: bytes, version: int, archive: Archive) -> State:
        """The inverse of `dump` for every version in `readable_versions`."""
        ...

    codec_version: int
    readable_versions: frozenset[int]


@runtime_checkable
class WithReference(Protocol[Read]):
    """A Logic that uses reference data; ticks say how much of it counts."""

    def see(self, watermark: Watermark) -> None:
        """The next records may use the reference data below `watermark`. Raises ReferenceBehind."""
        ...

    def release(self, state: Read) -> Sequence[Output] | None:
        """More of the data that the key waits for is visible; `see` was called before."""
        ...


@runtime_checkable
class WithLedger(Protocol[Read]):
    """A Logic with figures per key that add up over keys."""

    def tally(self, state: Read) -> Sequence[int]:
        """The figures of one key, as many for each; taken with its state record."""
        ...

    def show(self, totals: Sequence[int], stage: str, meters: Meters) -> None:
        """Publishes the sums over all keys of this worker; empty: no figures yet."""
        ...


class _Without:
    """For a Logic that has neither."""

    def see(self, watermark: Watermark) -> None:
        """Everything is visible, because nothing is looked up."""

    def release(self, state: Any) -> None:
        """Nothing waits."""

    def tally(self, state: Any) -> Sequence[int]:
        return ()

    def show(self, totals: Sequence[int], stage: str, meters: Meters) -> None:
        """There is no ledger."""


def reference_of(logic: Logic[State]) -> WithReference[State]:
    return logic if isinstance(logic, WithReference) else _Without()


def ledger_of(logic: Logic[State]) -> WithLedger[State]:
    return logic if isinstance(logic, WithLedger) else _Without()
