"""One source partition of a stage in memory: its records applied in order. Wake-ups: wakes.py, changes: entries.py.

Hot path: `apply` runs once per record and does nothing that can be done once per batch or per key. Everything here is
deterministic in the records applied; it knows neither Kafka's clients nor time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime import changelog
from pipeline.runtime.dead_letters import FloodGate
from pipeline.runtime.entries import Entry, Unwritten
from pipeline.runtime.logic import Logic, Output, ReferenceBehind, State, View, widened
from pipeline.runtime.murmur import partition_of
from pipeline.runtime.ports import Headers, Message, Position, Produce
from pipeline.runtime.wakes import Wakes
from pipeline.wire import dead_letters

DEAD_LETTERS = topics.DEAD_LETTERS.name
BY_SOURCE = topics.BY_SOURCE


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
        self.facts: dict[bytes, bytes] = {}
        """What is durable of the partition itself, by name."""
        self._new_facts: set[bytes] = set()
        self._partitions = partitions
        self._source = source
        self._logic = logic
        self._gate = gate
        self._wakes = Wakes(self.entries)
        self._unwritten = Unwritten(number, logic, max_state_bytes)
        self._views: deque[tuple[int, View]] = deque()

    @property
    def totals(self) -> Sequence[int]:
        """Sums of what Logic.tally says of each key, as of its last state record."""
        return self._unwritten.totals

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
        mark, plan = self._unwritten.mark, self._wakes.plan
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
                mark(entry, _offset(message))
            if state.wake_us < entry.scheduled or state.clock != entry.clock:
                plan(entry)

    def _first(self, key: bytes, message: Message, produce: Produce) -> None:
        """A key never seen: it is kept only if its record is good, so garbage keys take no memory."""
        value = message.value()
        try:
            self._check_key(key)
            if value is None:
                raise InvalidMessage("EMPTY_VALUE", "the record has no value; only compacted topics have tombstones")
            entry: Entry[State] = Entry(self._unwritten, key)
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
            self._unwritten.mark(entry, _offset(message))
        self._wakes.plan(entry)

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
        for entry in self._wakes.due(tick):
            state = entry.state
            if entry.through > offset or state.clock != tick.clock or state.wake_us > tick.time_us:
                self._wakes.plan(entry)  # woken too early, or (when applied again) after its state record
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
        for key in sorted(self._wakes.waiting):
            entry = self.entries[key]
            if entry.through <= offset and entry.state.waits & brought:
                self._changed(entry, self._logic.release(entry.state), message, produce)
            if not entry.state.waits:
                self._wakes.waiting.discard(key)

    # --- what a checkpoint writes ------------------------------------------------------------------------------------

    def due_records(self, now: float, write_s: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Changelog records of this checkpoint: changed archives with their states, states changed `write_s` ago."""
        for name in sorted(self._new_facts):
            yield changelog.archive_key(b"", name), self.facts[name]
        self._new_facts.clear()
        yield from self._unwritten.due(now, write_s, self.position)

    def overdue(self, now: float, write_s: float) -> bool:
        """States wait for their record although nothing was read meanwhile."""
        return self._unwritten.overdue(now, write_s)

    def fixed(self) -> Position:
        """The position that the checkpoint commits; valid after its records were taken."""
        oldest = self._unwritten.oldest(self.position)
        return Position(self.number, self.position, oldest, self._view_before(oldest))

    def _view_before(self, offset: int) -> View:
        """What was visible to the record at `offset`, from which a restore applies again."""
        views = self._views
        while len(views) > 1 and views[1][0] < offset:
            views.popleft()
        return views[0][1] if views else self.view

    def note(self, name: bytes, value: bytes) -> None:
        """Makes a fact of the partition durable with the next checkpoint."""
        if self.facts.get(name) != value:
            self.facts[name] = value
            self._new_facts.add(name)

    # --- what a restore brings ---------------------------------------------------------------------------------------

    def renumber(self, position: int) -> None:
        """The source counts anew from `position`: all state records are due, in the transaction that commits this."""
        self.position = self.replay_until = position
        for entry in self.entries.values():
            entry.through = 0
            self._unwritten.rewrite(entry)

    def load(self, key: bytes, value: bytes, kept: dict[bytes, bytes]) -> None:
        """One key as it was recorded. Raises UnreadableState on a codec version that the logic cannot read."""
        record = changelog.decode_state(value)
        if record.version not in self._logic.readable_versions:
            raise changelog.UnreadableState(
                f"partition {self.number}: state of codec version {record.version}, this version reads "
                f"{sorted(self._logic.readable_versions)}; start a version that reads it"
            )
        entry: Entry[State] = Entry(self._unwritten, key)
        entry.kept = kept
        entry.through = record.through
        entry.state = self._logic.load(key, record.body, record.version, entry)
        self.entries[key] = entry
        self._unwritten.count(entry)
        self._wakes.plan(entry)


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
