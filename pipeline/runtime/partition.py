"""One source partition of a stage in memory: the state of its keys, what is due, and what changed since its record.

Hot path: `apply` runs once per record and does nothing that can be done once per batch or per key. Everything here is
deterministic in the records applied; it knows neither Kafka's clients nor time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime import changelog
from pipeline.runtime.changelog import StateRecord
from pipeline.runtime.dead_letters import FloodGate
from pipeline.runtime.logic import NEVER, Logic, Output, ReferenceBehind, State, Tick, View, widened
from pipeline.runtime.murmur import partition_of
from pipeline.runtime.ports import Headers, Message, Position, Produce
from pipeline.wire import dead_letters

CLEAN = -1
DEAD_LETTERS = topics.DEAD_LETTERS.name
BY_SOURCE = topics.BY_SOURCE


class TooLarge(Exception):
    """A state record or the number of keys is above its cap: the worker stops, an operator must look."""


class Entry(Generic[State]):
    """One key: its state, and its archive as runtime.logic.Archive."""

    __slots__ = ("clock", "kept", "key", "partition", "scheduled", "since", "state", "tally", "through")

    state: State

    def __init__(self, partition: Partition[State], key: bytes) -> None:
        self.partition = partition
        self.key = key
        self.kept: dict[bytes, bytes] = {}
        self.clock = ""
        self.scheduled = NEVER
        """The wake-up that is on the heap of `clock`."""
        self.since = CLEAN
        """Offset of the first record that is not in the state record."""
        self.through = 0
        """From the state record: everything of this key below this offset is in it."""
        self.tally: Sequence[int] = ()
        """Its part of the partition's totals."""

    def get(self, name: bytes) -> bytes | None:
        return self.kept.get(name)

    def put(self, name: bytes, value: bytes) -> None:
        self.kept[name] = value
        self.partition.archive_changed(self, name, value)

    def drop(self, name: bytes) -> None:
        if self.kept.pop(name, None) is not None:
            self.partition.archive_changed(self, name, None)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self.kept.items())


class Partition(Generic[State]):
    """Applies batches in order; between two checkpoints it collects what the next one must write."""

    def __init__(
        self, number: int, partitions: int, source: str, logic: Logic[State], gate: FloodGate, max_state_bytes: int
    ) -> None:
        self.number = number
        self.epoch = 0
        """Which restore made it; batches of another one are stale."""
        self.position = 0
        """The next offset to apply."""
        self.replay_until = 0
        """Below this offset outputs are committed: they are applied again only to keys whose record is older."""
        self.view: View = ()
        """How much of the reference data the ticks so far have made visible."""
        self.entries: dict[bytes, Entry[State]] = {}
        self.totals: Sequence[int] = ()
        """Sums of what Logic.tally says of each key, as of its last state record."""
        self._partitions = partitions
        self._source = source
        self._logic = logic
        self._gate = gate
        self._max_state_bytes = max_state_bytes
        self._wakes: dict[str, list[tuple[int, bytes]]] = {}
        self._waiting: set[bytes] = set()
        self._views: deque[tuple[int, View]] = deque()
        self._dirty: deque[tuple[int, Entry[State]]] = deque()
        self._archived: dict[bytes, bytes | None] = {}
        self._urgent: dict[bytes, Entry[State]] = {}
        self._marks: deque[tuple[float, int]] = deque()

    @property
    def replaying(self) -> bool:
        return self.position < self.replay_until

    # --- applying ----------------------------------------------------------------------------------------------------

    def take(self, messages: Sequence[Message], produce: Produce) -> None:
        """Applies the next records; of those whose outputs are committed already, only what the state lacks.

        Raises ReferenceBehind: everything below `position` is applied, the rest is to be taken later.
        """
        self._logic.see(self.view)
        if self.replaying:
            split = next((i for i, m in enumerate(messages) if _offset(m) >= self.replay_until), len(messages))
            lacking = [m for m in messages[:split] if self._lacks(m)]
            self.apply(lacking, _discard)
            self.position = _offset(messages[split - 1]) + 1 if split else self.position
            messages = messages[split:]
            if messages:
                self.position = max(self.position, self.replay_until)
        if messages:
            self.apply(messages, produce)
            self._gate.passed(len(messages))
            self.position = _offset(messages[-1]) + 1

    def _lacks(self, message: Message) -> bool:
        key = message.key()
        entry = None if key is None else self.entries.get(key)
        return entry is None or entry.through <= _offset(message)

    def apply(self, messages: Sequence[Message], produce: Produce) -> None:
        """The hot loop. A record that the logic refuses becomes a dead letter and changes nothing."""
        find = self.entries.get
        apply = self._logic.apply
        for message in messages:
            key = message.key()
            if key is None:
                self._tick(message, produce)
                continue
            entry = find(key)
            if entry is None:
                self._first(key, message, produce)
                continue
            state = entry.state
            value = message.value()
            try:
                if value is None:
                    raise InvalidMessage(
                        "EMPTY_VALUE", "the record has no value; only compacted topics have tombstones"
                    )
                outputs = apply(state, value, message.timestamp()[1])
            except InvalidMessage as error:
                self._refuse(message, error, produce)
                continue
            if outputs:
                self._send(outputs, message, produce)
            if entry.since < 0:
                self._mark(entry, message)
            if state.wake_us < entry.scheduled or state.clock != entry.clock:
                self._schedule(entry)

    def _first(self, key: bytes, message: Message, produce: Produce) -> None:
        """A key never seen: it is kept only if its record is good, so garbage keys take no memory."""
        value = message.value()
        try:
            self._check_key(key)
            if value is None:
                raise InvalidMessage("EMPTY_VALUE", "the record has no value; only compacted topics have tombstones")
            entry: Entry[State] = Entry(self, key)
            entry.state = self._logic.create(key, entry)
            outputs = self._logic.apply(entry.state, value, message.timestamp()[1])
        except InvalidMessage as error:
            self._refuse(message, error, produce)
            return
        self.entries[key] = entry
        self._changed(entry, outputs, message, produce)

    def _check_key(self, key: bytes) -> None:
        if not key or len(key) > changelog.LONGEST_KEY or changelog.SEPARATOR in key or not _is_text(key):
            raise InvalidMessage("INVALID_KEY", "a key is 1 to 1024 bytes of UTF-8 without a zero byte")
        if partition_of(key, self._partitions) != self.number:
            raise InvalidMessage(
                "WRONG_PARTITION", "set the producer's partitioner to murmur2 (librdkafka: partitioner=murmur2_random)"
            )

    def _changed(
        self, entry: Entry[State], outputs: Sequence[Output] | None, message: Message, produce: Produce
    ) -> None:
        if outputs:
            self._send(outputs, message, produce)
        if entry.since < 0:
            self._mark(entry, message)
        self._schedule(entry)

    def _mark(self, entry: Entry[State], message: Message) -> None:
        entry.since = since = _offset(message)
        self._dirty.append((since, entry))

    def _send(self, outputs: Sequence[Output], message: Message, produce: Produce) -> None:
        for topic, key, value, headers in outputs:
            if topic == DEAD_LETTERS:
                read_at = dead_letters.where(self._source, self.number, _offset(message))
                if produce is not _discard:
                    self._gate.part_refused(_reason(headers))
                produce(topic, value, key, -1, (*headers, *read_at))
            else:
                produce(topic, value, key, self.number if topic in BY_SOURCE else -1, headers)

    def _refuse(self, message: Message, error: InvalidMessage, produce: Produce) -> None:
        if produce is _discard:
            return
        offset = _offset(message)
        headers = (
            *dead_letters.why(error.reason, error.detail),
            *dead_letters.where(self._source, self.number, offset),
        )
        produce(DEAD_LETTERS, message.value(), message.key(), -1, headers)
        self._gate.refused(self.number, offset, error.reason)

    # --- time --------------------------------------------------------------------------------------------------------

    def _schedule(self, entry: Entry[State]) -> None:
        """Puts the key's next wake-up on the heap of its clock, unless an earlier one is there."""
        state = entry.state
        clock, wake = state.clock, state.wake_us
        if state.waits:
            self._waiting.add(entry.key)
        if clock != entry.clock:
            entry.clock, entry.scheduled = clock, NEVER
        if wake < entry.scheduled:
            entry.scheduled = wake
            heapq.heappush(self._wakes.setdefault(clock, []), (wake, entry.key))

    def _tick(self, message: Message, produce: Produce) -> None:
        value = message.value()
        try:
            if value is None:
                raise InvalidMessage("KEY_MISSING", "only clock ticks have no key; set the key of the record")
            tick = self._logic.tick_of(value, message.timestamp()[1])
        except InvalidMessage as error:
            self._refuse(message, error, produce)
            return
        offset = _offset(message)
        if tick.view:
            self._show(tick.view, offset, message, produce)
        for entry in self._due(tick):
            state = entry.state
            if entry.through > offset or state.clock != tick.clock or state.wake_us > tick.time_us:
                self._schedule(entry)  # woken too early, or (when applied again) after its state record
                continue
            self._changed(entry, self._logic.tick(state, tick), message, produce)

    def _show(self, view: View, offset: int, message: Message, produce: Produce) -> None:
        """More of the reference data counts from now on: keys that wait for it are visited, whatever their clock."""
        grown, brought = widened(self.view, view)
        if not brought:
            return
        try:
            self._logic.see(grown)
        except ReferenceBehind:
            self.position = offset
            raise
        if not self._views:
            self._views.append((-1, self.view))
        self._views.append((offset, grown))
        self.view = grown
        for key in sorted(self._waiting):
            entry = self.entries[key]
            if entry.through <= offset and entry.state.waits & brought:
                self._changed(entry, self._logic.release(entry.state), message, produce)
            if not entry.state.waits:
                self._waiting.discard(key)

    def _due(self, tick: Tick) -> Sequence[Entry[State]]:
        """The keys on the tick's heap that are due; all are taken off first, so that a tick visits a key once."""
        heap = self._wakes.get(tick.clock)
        due: list[Entry[State]] = []
        while heap and heap[0][0] <= tick.time_us:
            wake, key = heapq.heappop(heap)
            entry = self.entries.get(key)
            if entry is not None and entry.scheduled == wake and entry.clock == tick.clock:
                entry.scheduled = NEVER
                due.append(entry)
        return due

    # --- what a checkpoint writes ------------------------------------------------------------------------------------

    def archive_changed(self, entry: Entry[State], name: bytes, value: bytes | None) -> None:
        """Its record is due at the next checkpoint, and the state's with it: it must not happen twice."""
        self._archived[changelog.archive_key(entry.key, name)] = value
        self._urgent[entry.key] = entry

    def due_records(self, now: float, write_s: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Changelog records of this checkpoint: changed archives with their states, states changed `write_s` ago."""
        marks, dirty = self._marks, self._dirty
        marks.append((now, self.position))
        horizon = 0
        while marks and marks[0][0] <= now - write_s:
            horizon = marks.popleft()[1]
        yield from self._archived.items()
        self._archived.clear()
        for entry in self._urgent.values():
            yield entry.key, self._record(entry)
        self._urgent.clear()
        while dirty and dirty[0][0] < horizon:
            since, entry = dirty.popleft()
            if entry.since == since:  # otherwise written earlier, and perhaps changed again
                yield entry.key, self._record(entry)

    def overdue(self, now: float, write_s: float) -> bool:
        """States wait for their record although nothing was read meanwhile."""
        return bool(self._dirty) and bool(self._marks) and self._marks[0][0] <= now - write_s

    def _record(self, entry: Entry[State]) -> bytes:
        entry.since = CLEAN
        self._count(entry)
        body = self._logic.dump(entry.state)
        if len(body) > self._max_state_bytes:
            raise TooLarge(f"partition {self.number}: a state of {len(body)} bytes, the cap is {self._max_state_bytes}")
        return changelog.encode_state(StateRecord(self._logic.codec_version, self.position, body))

    def _count(self, entry: Entry[State]) -> None:
        tally = self._logic.tally(entry.state)
        if tally != entry.tally:
            nothing = (0,) * len(tally)
            changes = zip(self.totals or nothing, tally, entry.tally or nothing, strict=True)
            self.totals = tuple(total + now - before for total, now, before in changes)
            entry.tally = tally

    def fixed(self) -> Position:
        """The position that the checkpoint commits; valid after its records were taken."""
        dirty = self._dirty
        while dirty and dirty[0][1].since != dirty[0][0]:
            dirty.popleft()
        oldest = dirty[0][0] if dirty else self.position
        return Position(self.number, self.position, oldest, self._view_before(oldest))

    def _view_before(self, offset: int) -> View:
        """What was visible to the record at `offset`, from which a restore applies again."""
        views = self._views
        while len(views) > 1 and views[1][0] < offset:
            views.popleft()
        return views[0][1] if views else self.view

    # --- what a restore brings ---------------------------------------------------------------------------------------

    def load(self, key: bytes, value: bytes, kept: dict[bytes, bytes]) -> None:
        """One key as it was recorded. Raises UnreadableState on a codec version that the logic cannot read."""
        record = changelog.decode_state(value)
        if record.version not in self._logic.readable_versions:
            raise changelog.UnreadableState(
                f"partition {self.number}: state of codec version {record.version}, this version reads "
                f"{sorted(self._logic.readable_versions)}; start a version that reads it"
            )
        entry: Entry[State] = Entry(self, key)
        entry.kept = kept
        entry.through = record.through
        entry.state = self._logic.load(key, record.body, record.version, entry)
        self.entries[key] = entry
        self._count(entry)
        self._schedule(entry)


def _discard(topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()) -> None:
    """Outputs of records applied again: they are committed already."""


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 - only Kafka's error events have none, and the intake keeps them back
    return offset


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True


def _reason(headers: Headers) -> str:
    return next((value.decode() for name, value in headers if name == "reason"), "")
