"""One source partition of a stage in memory: its records applied in order. Wake-ups: wakes.py, changes: entries.py.

What raises costs its own key only: net.py.

Hot path: `apply` runs once per record and does nothing that can be done once per batch or per key. Everything here is
deterministic in the records applied; it knows neither Kafka's clients nor time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Generic

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import NEVER, Logic, Output, ReferenceBehind, State, Watermark, advanced, reference_of
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.checks import NO_VALUE, TOO_LARGE, check_key, check_value, fits
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.entries import Entry, Unwritten
from pipeline.runtime.partition.net import Net
from pipeline.runtime.partition.ports import Headers, Message, Position, Produce, Recall
from pipeline.runtime.partition.quarantine import Quarantine
from pipeline.runtime.partition.undo import Undo
from pipeline.runtime.partition.wakes import Wakes
from pipeline.wire import dead_letters
from pipeline.wire.quarantine import MARK, decode_mark, release_of

DEAD_LETTERS, REJECTIONS = topics.DEAD_LETTERS.name, topics.REJECTIONS.name
BY_SOURCE = topics.BY_SOURCE
SIGNED = b"signed"
"""The fact of a partition that tells `signed_from`."""
LARGEST_RECORD = topics.LARGEST_RECORD


class Partition(Generic[State]):
    """Applies batches in order; between two checkpoints it collects what the next one must write."""

    def __init__(
        self, number: int, partitions: int, source: str, logic: Logic[State], gate: FloodGate, max_state_bytes: int,
        recall: Recall,
    ) -> None:  # fmt: skip
        self.number = number
        self.source = source
        self.epoch = 0
        """Which restore made it; batches of another one are stale."""
        self.position = 0
        """The next offset to apply."""
        self.began = -1
        """The first offset that was applied, -1: none yet."""
        self.replay_until = 0
        """Below this offset outputs are committed: they are applied again only to keys whose record is older."""
        self.watermark: Watermark = ()
        """How much of the reference data the ticks so far have made visible."""
        self.entries: dict[bytes, Entry[State]] = {}
        self.facts: dict[bytes, bytes] = {}
        """What is durable of the partition itself, by name."""
        self.patient = True
        """False: an unsigned tick that names reference data which is not here is refused, it was waited for."""
        self._partitions = partitions
        self._logic = logic
        self._reference = reference_of(logic)
        self._gate = gate
        self.max_state_bytes = max_state_bytes
        self.wakes = Wakes(self.entries)
        self.unwritten = Unwritten(number, logic, max_state_bytes)
        undo = Undo(self, logic, recall)
        self.quarantine = Quarantine(self, logic, gate, recall, undo)
        self.net = Net(self, gate, self.quarantine, undo)
        self._watermarks: deque[tuple[int, Watermark]] = deque()

    def alone(self, entry: Entry[State], watermark: Watermark, recall: Recall) -> Partition[State]:
        """The same with nothing but this key, to apply some of its records again. What is written stays ours."""
        alone = Partition(
            self.number, self._partitions, self.source, self._logic, self._gate, self.max_state_bytes, recall
        )
        alone.watermark, alone.unwritten, alone.facts = watermark, self.unwritten, self.facts
        alone.entries[entry.key] = entry
        alone.wakes.plan(entry, entry.state)
        return alone

    @property
    def totals(self) -> Sequence[int]:
        """Sums of what the ledger says of each key, as of its last state record."""
        return self.unwritten.totals

    @property
    def signed_from(self) -> int:
        """Offset of the first signed tick: unsigned ones before it lie in the log from before there were signatures."""
        return int(self.facts.get(SIGNED, NEVER))

    @property
    def replaying(self) -> bool:
        return self.position < self.replay_until

    # --- applying ----------------------------------------------------------------------------------------------------

    def take(self, messages: Sequence[Message], produce: Produce) -> None:
        """Applies the next records; of those whose outputs are committed already, only what the state lacks.

        Raises ReferenceBehind: everything below `position` is applied, the rest is to be taken later.
        """
        self._reference.see(self.watermark)
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
        """A step of each release, between two batches. Raises TransactionLost."""
        if self.replaying:
            return
        with suppress(ReferenceBehind):  # then the partition waits as well
            self._reference.see(self.watermark)
            self.quarantine.go_on(produce)

    def _lacks(self, message: Message) -> bool:
        key = message.key()
        entry = None if key is None else self.entries.get(key)
        return entry is None or entry.through <= _offset(message)

    def apply(self, messages: Sequence[Message], produce: Produce) -> None:
        """The hot loop. A record that the logic refuses becomes a dead letter and changes nothing."""
        if not messages:
            return
        trusted = self._logic.trust(_offset(messages[0]) <= self.signed_from)
        try:
            self._apply(messages, produce)
        finally:
            self._logic.trust(trusted)  # of the batch that this one is within: records are applied again in between

    def _apply(self, messages: Sequence[Message], produce: Produce) -> None:
        find = self.entries.get
        apply = self._logic.apply
        mark, plan = self.unwritten.mark, self.wakes.plan
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
                plan(entry, state)

    def _first(self, key: bytes, message: Message, produce: Produce) -> None:
        """A key without a state. One never seen is kept only if its record is good, so garbage keys take no memory."""
        if key in self.quarantine.set_aside:
            self.quarantine.keep(key, message, produce)
            return
        entry: Entry[State] = Entry(self.unwritten, key)
        try:
            check_key(key, self.number, self._partitions)
            value = check_value(message.value())
            entry.state = self._logic.create(key, entry)
            outputs = self._logic.apply(entry.state, value, message.timestamp()[1])
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
        self.wakes.plan(entry, entry.state)

    def place(self, offset: int) -> str:
        """For the log."""
        return f"{self.source}: partition {self.number} offset {offset}"

    @staticmethod
    def tells(produce: Produce) -> bool:
        """False while records are applied again whose outputs are committed."""
        return produce is not Partition.discard

    @staticmethod
    def discard(topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()) -> None:
        """Outputs of records applied again: they are committed already."""

    def send(self, outputs: Sequence[Output], message: Message, produce: Produce) -> None:
        for topic, key, value, headers in outputs:
            if topic == DEAD_LETTERS:
                read_at = dead_letters.where(self.source, self.number, _offset(message))
                if self.tells(produce):
                    self._gate.part_refused(_reason(headers))
                self._letter(value, key, (*headers, *read_at), produce)
            else:
                produce(topic, value, key, self.number if topic in BY_SOURCE else -1, headers)

    def refuse(self, message: Message, error: InvalidMessage, produce: Produce) -> None:
        """The record becomes a dead letter, with its bytes if they are not too many."""
        is_release = error.reason == NO_VALUE and release_of(message.value(), message.headers()) is not None
        if is_release or not self.tells(produce):  # of a key that is not set aside (any more)
            return
        offset, key, value = _offset(message), message.key(), message.value()
        headers = [
            *dead_letters.why(error.reason, error.detail),
            *dead_letters.where(self.source, self.number, offset),
        ]
        if value is not None and error.reason == TOO_LARGE:
            headers += dead_letters.instead_of(value)
            value = None
        if key is not None and len(key) > changelog.LONGEST_KEY:
            key = None
        self._letter(value, key, headers, produce)
        self._gate.refused(self.number, offset, key, error.reason)

    def _letter(self, value: bytes | None, key: bytes | None, headers: Headers, produce: Produce) -> None:
        """The bytes for whoever repairs them, and for everybody else only why: those may hold a driver's token."""
        produce(DEAD_LETTERS, value, key, -1, headers)
        produce(REJECTIONS, None, None, self.number, headers)

    # --- time --------------------------------------------------------------------------------------------------------

    def _tick(self, message: Message, produce: Produce) -> None:
        value = message.value()
        try:
            if value is None:
                raise InvalidMessage("KEY_MISSING", "only clock ticks have no key; set the key of the record")
            tick = self._logic.tick_of(check_value(value), message.timestamp()[1])
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
            self._logic.trust(unsigned=False)
        if tick.watermark:
            self.show(tick.watermark, offset, message, produce)
        self.quarantine.next_tick(tick.clock, message)
        for entry in self.wakes.due(tick):
            state = entry.state
            if entry.through > offset or state.clock != tick.clock or state.wake_us > tick.time_us:
                self.wakes.plan(entry, entry.state)  # woken too early, or (when applied again) after its state record
                continue
            try:
                outputs = self._logic.tick(state, tick)
                fits(outputs or ())
            except Exception as error:
                self.net.time_raised(entry, message, error, produce)
                continue
            self._changed(entry, outputs, message, produce)

    def _can_see(self, watermark: Watermark) -> bool:
        grown, brought = advanced(self.watermark, watermark)
        try:
            if brought:
                self._reference.see(grown)
        except ReferenceBehind:
            return False
        return True

    def show(self, watermark: Watermark, offset: int, message: Message, produce: Produce) -> None:
        """More of the reference data counts from now on: keys that wait for it are visited, whatever their clock."""
        grown, brought = advanced(self.watermark, watermark)
        if not brought:
            return
        try:
            self._reference.see(grown)
        except ReferenceBehind:
            self.position = offset
            raise
        if not self._watermarks:
            self._watermarks.append((-1, self.watermark))
        self._watermarks.append((offset, grown))
        self.watermark = grown
        for key in sorted(self.wakes.waiting):
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
                self.wakes.waiting.discard(key)

    # --- what a checkpoint writes ------------------------------------------------------------------------------------

    def due_records(self, now: float, write_s: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Changelog records of this checkpoint: changed archives with their states, states changed `write_s` ago."""
        return self.unwritten.due(now, write_s, self.position)

    def overdue(self, now: float, write_s: float) -> bool:
        """States wait for their record although nothing was read meanwhile."""
        return self.unwritten.overdue(now, write_s)

    def fixed(self) -> Position:
        """The position that the checkpoint commits; valid after its records were taken."""
        oldest = self.unwritten.oldest(self.position)
        self.quarantine.committed(oldest)
        return Position(self.number, self.position, oldest, self._watermark_before(oldest))

    def watermark_at(self, offset: int) -> Watermark:
        """The same of a record that may be newer."""
        return next((watermark for at, watermark in reversed(self._watermarks) if at < offset), self.watermark)

    def _watermark_before(self, offset: int) -> Watermark:
        """What was visible to the record at `offset`, from which a restore applies again."""
        watermarks = self._watermarks
        while len(watermarks) > 1 and watermarks[1][0] < offset:
            watermarks.popleft()
        return watermarks[0][1] if watermarks else self.watermark

    def note(self, name: bytes, value: bytes) -> None:
        """Makes a fact of the partition durable with the next checkpoint."""
        if self.facts.get(name) != value:
            self.facts[name] = value
            self.unwritten.write([(changelog.archive_key(b"", name), value)])

    # --- what a restore brings ---------------------------------------------------------------------------------------

    def renumber(self, position: int) -> None:
        """The source counts anew from `position`: all state records are due, in the transaction that commits this."""
        self.position = self.replay_until = position
        if SIGNED in self.facts:
            self.note(SIGNED, b"0")
        for entry in self.entries.values():
            entry.through = 0
            self.unwritten.urgent(entry)
        self.quarantine.renumber()

    def load(self, key: bytes, value: bytes | None, kept: dict[bytes, bytes]) -> None:
        """One key as it was recorded (None: it was set aside before it had a state).

        One whose record cannot be read is set aside. Raises UnreadableState on a codec version that the logic cannot
        read, or a record of another format.
        """
        mark = kept.pop(MARK, None)
        entry: Entry[State] = Entry(self.unwritten, key)
        entry.kept, entry.record = kept, value
        if value is not None:
            record = changelog.decode_state(value)
            if record.version not in self._logic.readable_versions:
                raise changelog.UnreadableState(
                    f"partition {self.number}: state of codec version {record.version}, this version reads "
                    f"{sorted(self._logic.readable_versions)}; start a version that reads it"
                )
            entry.through = record.through
        if mark is not None or value is None:
            self.quarantine.restored(entry, decode_mark(mark) if mark is not None else None)
            return
        try:
            entry.state = self._logic.load(key, record.body, record.version, entry)
            self.unwritten.count(entry)
            self.wakes.plan(entry, entry.state)
        except Exception as error:
            self.unwritten.forget(entry)
            self.quarantine.unreadable(entry, error)
            return
        self.entries[key] = entry


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None  # noqa: S101 - only Kafka's error events have none, and the intake keeps them back
    return offset


def _reason(headers: Headers) -> str:
    return next((value.decode() for name, value in headers if name == "reason"), "")
