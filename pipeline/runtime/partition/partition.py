"""One source partition of a stage in memory: its records applied in order.

tick_schedule.py has the wake-ups of its keys, entries.py the changes since the last checkpoint. An exception affects
only the key that raised it (net.py).

Hot path: `apply` runs once per record and does nothing that can be done once per batch or per key. Everything here is
deterministic in the records applied; it knows neither Kafka's clients nor time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import NEVER, Logic, Output, ReferenceBehind, State, Watermark, advanced, reference_of
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.checks import check_key, check_value, fits
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.entries import Entry, Unwritten
from pipeline.runtime.partition.net import Net
from pipeline.runtime.partition.ports import Message, Position, Produce, Recall
from pipeline.runtime.partition.quarantine import Quarantine
from pipeline.runtime.partition.sending import Sender
from pipeline.runtime.partition.tick_schedule import TickSchedule
from pipeline.runtime.partition.undo import Undo
from pipeline.runtime.partition.watermarks import Watermarks

SIGNED = b"signed"
"""The fact of a partition that holds `signed_from`."""
LARGEST_RECORD = topics.LARGEST_RECORD


class Partition(Sender, Generic[State]):
    """Applies batches in order; between two checkpoints it collects what the next one must write."""

    def __init__(
        self, number: int, partitions: int, source: str, logic: Logic[State], gate: FloodGate, max_state_bytes: int,
        recall: Recall,
    ) -> None:  # fmt: skip
        super().__init__(number, source, gate)
        self.epoch = 0
        """Number of the restore that made it; a batch with another epoch is stale."""
        self.position = 0
        """The next offset to apply."""
        self.began = -1
        """The first offset that was applied; -1 before the first record."""
        self.replay_until = 0
        """Outputs below it are committed: records are applied again only to keys with an older state record."""
        self.watermarks = Watermarks()
        """How much of the reference data the ticks have made visible so far."""
        self.entries: dict[bytes, Entry[State]] = {}
        self.facts: dict[bytes, bytes] = {}
        """Durable values of the partition itself, by name."""
        self.patient = True
        """False: the wait for reference data is over, and an unsigned tick that names missing data is refused."""
        self._partitions = partitions
        self.logic = logic
        self._reference = reference_of(logic)
        self.max_state_bytes = max_state_bytes
        self.ticks = TickSchedule(self.entries)
        self.unwritten = Unwritten(number, logic, max_state_bytes)
        undo = Undo(self, logic, recall)
        self.quarantine = Quarantine(self, logic, gate, recall, undo)
        self.net = Net(self, gate, self.quarantine, undo)

    def alone(self, entry: Entry[State], watermark: Watermark, recall: Recall) -> Partition[State]:
        """A partition with this key only, to apply its records again; it shares what the next checkpoint writes."""
        alone = Partition(
            self.number, self._partitions, self.source, self.logic, self._gate, self.max_state_bytes, recall
        )
        alone.watermarks.now, alone.unwritten, alone.facts = watermark, self.unwritten, self.facts
        alone.entries[entry.key] = entry
        alone.ticks.schedule(entry, entry.state)
        return alone

    @property
    def totals(self) -> Sequence[int]:
        """Sums of the ledger figures of all keys, as of their last state records."""
        return self.unwritten.totals

    @property
    def signed_from(self) -> int:
        """Offset of the first signed tick; earlier unsigned ticks were written before signatures existed."""
        return int(self.facts.get(SIGNED, NEVER))

    @property
    def replaying(self) -> bool:
        return self.position < self.replay_until

    # --- applying ----------------------------------------------------------------------------------------------------

    def take(self, messages: Sequence[Message], produce: Produce) -> None:
        """Applies the next records. Records with committed outputs are applied only where the state lacks them.

        Raises ReferenceBehind: everything below `position` is applied, the caller offers the rest again later.
        """
        self._reference.see(self.watermarks.now)
        if self.began < 0:
            self.began = self.position
        if self.replaying:
            split = next((i for i, m in enumerate(messages) if _offset(m) >= self.replay_until), len(messages))
            lacking = [m for m in messages[:split] if self._lacks(m)]
            self.apply(lacking, self.discard)
            self.position = _offset(messages[split - 1]) + 1 if split else self.position
            messages = messages[split:]
            if messages:
                self.position = max(self.position, self.replay_until)
        if messages:
            self.quarantine.look_after(messages[0], produce)
            self.apply(messages, produce)
            self._gate.passed(len(messages))
            self.position = _offset(messages[-1]) + 1

    def go_on_releasing(self, produce: Produce) -> None:
        """Does the next step of each release, between two batches. Raises TransactionLost."""
        if self.replaying:
            return
        with suppress(ReferenceBehind):  # the partition itself waits for the data then
            self._reference.see(self.watermarks.now)
            self.quarantine.go_on(produce)

    def _lacks(self, message: Message) -> bool:
        key = message.key()
        entry = None if key is None else self.entries.get(key)
        return entry is None or entry.through <= _offset(message)

    def apply(self, messages: Sequence[Message], produce: Produce) -> None:
        """Applies records (hot path). A record that the logic refuses becomes a dead letter and changes nothing."""
        if not messages:
            return
        trusted = self.logic.trust(_offset(messages[0]) <= self.signed_from)
        try:
            self._apply(messages, produce)
        finally:
            self.logic.trust(trusted)  # an enclosing batch may apply records again in between

    def _apply(self, messages: Sequence[Message], produce: Produce) -> None:
        find = self.entries.get
        apply = self.logic.apply
        mark, schedule = self.unwritten.mark, self.ticks.schedule
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
                if value is None or len(value) > LARGEST_RECORD:
                    check_value(value)
                outputs = apply(state, value, message.timestamp()[1])  # type: ignore[arg-type]  # it was checked
                if outputs:
                    fits(outputs)
            except InvalidMessage as error:
                self.refuse(message, error, produce)
                continue
            except Exception as error:
                self.net.record_raised(entry, message, error, produce)
                continue
            if outputs:
                self.send(outputs, message, produce)
            if entry.since < 0:
                mark(entry, _offset(message))
            if state.wake_us < entry.scheduled or state.clock != entry.clock:
                schedule(entry, state)

    def _first(self, key: bytes, message: Message, produce: Produce) -> None:
        """Applies the first record of a key; only a good one creates the key, so garbage keys take no memory."""
        if key in self.quarantine.set_aside:
            self.quarantine.keep(key, message, produce)
            return
        entry: Entry[State] = Entry(self.unwritten, key)
        try:
            check_key(key, self.number, self._partitions)
            value = check_value(message.value())
            entry.state = self.logic.create(key, entry)
            outputs = self.logic.apply(entry.state, value, message.timestamp()[1])
            fits(outputs or ())
        except InvalidMessage as error:
            self.refuse(message, error, produce)
            return
        except Exception as error:
            self.unwritten.forget(entry)
            self.net.first_raised(key, message, error, produce)
            return
        self.entries[key] = entry
        self._changed(entry, outputs, message, produce)

    def _changed(
        self, entry: Entry[State], outputs: Sequence[Output] | None, message: Message, produce: Produce
    ) -> None:
        if outputs:
            self.send(outputs, message, produce)
        if entry.since < 0:
            self.unwritten.mark(entry, _offset(message))
        self.ticks.schedule(entry, entry.state)

    # --- time --------------------------------------------------------------------------------------------------------

    def _tick(self, message: Message, produce: Produce) -> None:
        value = message.value()
        try:
            if value is None:
                raise InvalidMessage("KEY_MISSING", "only clock ticks have no key; set the key of the record")
            tick = self.logic.tick_of(check_value(value), message.timestamp()[1])
        except InvalidMessage as error:
            self.refuse(message, error, produce)
            return
        except Exception as error:
            self.net.tick_raised(message, error, produce)
            return
        offset = _offset(message)
        if tick.watermark and not tick.signed and not self.patient and not self._can_see(tick.watermark):
            unknown = InvalidMessage("REFERENCE_UNKNOWN", "an unsigned tick names reference data that does not exist")
            self.refuse(message, unknown, produce)
            return
        if tick.signed and offset < self.signed_from:
            self.note(SIGNED, str(offset).encode())
            self.logic.trust(unsigned=False)
        if tick.watermark:
            self.show(tick.watermark, offset, message, produce)
        self.quarantine.next_tick(tick.clock, message)
        for entry in self.ticks.due(tick):
            state = entry.state
            if entry.through > offset or state.clock != tick.clock or state.wake_us > tick.time_us:
                self.ticks.schedule(
                    entry, entry.state
                )  # woken too early, or (when applied again) after its state record
                continue
            try:
                outputs = self.logic.tick(state, tick)
                fits(outputs or ())
            except Exception as error:
                self.net.time_raised(entry, message, error, produce)
                continue
            self._changed(entry, outputs, message, produce)

    def _can_see(self, watermark: Watermark) -> bool:
        grown, brought = advanced(self.watermarks.now, watermark)
        try:
            if brought:
                self._reference.see(grown)
        except ReferenceBehind:
            return False
        return True

    def show(self, watermark: Watermark, offset: int, message: Message, produce: Produce) -> None:
        """Makes more reference data visible and visits the keys that wait for it, whatever their clock."""
        grown, brought = advanced(self.watermarks.now, watermark)
        if not brought:
            return
        try:
            self._reference.see(grown)
        except ReferenceBehind:
            self.position = offset
            raise
        self.watermarks.grow(offset, grown)
        for key in sorted(self.ticks.waiting):
            entry = self.entries[key]
            if entry.through <= offset and entry.state.waits & brought:
                try:
                    outputs = self._reference.release(entry.state)
                    fits(outputs or ())
                except Exception as error:
                    self.net.time_raised(entry, message, error, produce)
                    continue
                self._changed(entry, outputs, message, produce)
            if not entry.state.waits:
                self.ticks.waiting.discard(key)

    # --- what a checkpoint writes ------------------------------------------------------------------------------------

    def due_records(self, now: float, write_s: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Changelog records of this checkpoint: changed archives with their states, states changed `write_s` ago."""
        return self.unwritten.due(now, write_s, self.position)

    def fixed(self) -> Position:
        """The position that the checkpoint commits; valid after its records were taken."""
        oldest = self.unwritten.oldest(self.position)
        self.quarantine.committed(oldest)
        return Position(self.number, self.position, oldest, self.watermarks.before(oldest))

    def note(self, name: bytes, value: bytes) -> None:
        """Makes a fact of the partition durable with the next checkpoint."""
        if self.facts.get(name) != value:
            self.facts[name] = value
            self.unwritten.write([(changelog.archive_key(b"", name), value)])


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 - only Kafka's error events have none, and the intake keeps them back
    return offset
