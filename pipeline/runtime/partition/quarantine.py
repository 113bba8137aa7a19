"""Keys that are set aside: their records are kept in order until an operator releases them; all other keys go on.

A key is set aside when a tick raised, an output exceeds its bound, its state cannot be read or written, or its records
raised too often. wire/quarantine.py describes the kept records.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic

from msgspec import structs

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Logic, Output, State, Trouble
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.checks import TooLarge, check_value, fits
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.entries import Entry
from pipeline.runtime.partition.internal_errors import log_error, place
from pipeline.runtime.partition.ports import Message, Produce, Recall
from pipeline.runtime.partition.release import Release
from pipeline.runtime.partition.undo import Undo
from pipeline.wire.quarantine import (
    MARK,
    Kept,
    Mark,
    Order,
    Releasing,
    encode_mark,
    headers_of,
    kept_key,
    release_of,
)

if TYPE_CHECKING:
    from pipeline.runtime.partition.partition import Partition

log = logging.getLogger(__name__)

QUARANTINE = topics.QUARANTINE.name
STATION_QUARANTINED = "STATION_QUARANTINED"
NOT_HELD = "; its open sessions could not be held: they are shown as they were"
"""Part of the reason when the state cannot be read or reported."""


class SetAside(Generic[State]):
    """A key that is set aside. `entry` holds its state record and archive as the changelog has them."""

    __slots__ = ("entry", "kept_until", "mark", "reason", "recent", "release")

    def __init__(self, entry: Entry[State], reason: str, mark: Mark | None = None) -> None:
        self.entry = entry
        self.reason = reason
        self.mark = mark
        """None: the changelog has no mark yet, because the partition still applies committed records again."""
        self.kept_until = -1
        """The offset of the last tick or record that is kept."""
        self.recent: list[Kept] = []
        """Kept records that are not committed yet, so no consumer can read them."""
        self.release: Release[State] | None = None
        """The release in progress; the mark names it before it starts."""


class Quarantine(Generic[State]):
    """Of one partition."""

    def __init__(
        self, partition: Partition[State], logic: Logic[State], gate: FloodGate, recall: Recall, undo: Undo[State]
    ) -> None:
        self.set_aside: dict[bytes, SetAside[State]] = {}
        self._partition = partition
        self._logic = logic
        self._gate = gate
        self._recall = recall
        self._undo = undo
        self._ticks: dict[str, Message] = {}

    # --- setting aside -----------------------------------------------------------------------------------------------

    def put(
        self, entry: Entry[State], message: Message, reason: str, produce: Produce, *, sound: bool, keep: bool = True
    ) -> None:
        """Keeps the key's records from `message` on. `sound`: the state is right and is recorded as it is now."""
        partition, unwritten, key = self._partition, self._partition.unwritten, entry.key
        partition.entries.pop(key, None)
        partition.ticks.waiting.discard(key)
        aside = self.set_aside[key] = SetAside(entry, reason)
        at, since = message.offset() or 0, entry.since
        if not partition.publishes(produce):
            entry.put_back()
            unwritten.forget(entry)
            return
        outputs: Sequence[Output] | None = None
        if sound:
            try:
                outputs = self._logic.report(key, entry.state, _quarantined(aside, message))
                fits(outputs)
                unwritten.write(unwritten.records(entry, at, topics.LARGEST_RECORD))
            except Exception as error:
                log_error(error, self._partition.place(at))
                outputs = None
        missing: Sequence[Message] = ()
        if outputs is None:
            entry.put_back()
            missing = self._undo.missing(entry, since, at) if since >= 0 else ()
        unwritten.forget(entry)
        self._declare(aside, message, at, produce, missing, outputs)
        if keep:
            self._keep(aside, message, produce)

    def _declare(
        self, aside: SetAside[State], message: Message, published: int, produce: Produce,
        missing: Sequence[Message] | None = None, outputs: Sequence[Output] | None = None,
    ) -> None:  # fmt: skip
        """Writes and publishes the mark. `missing`: the records between the state record and `published`."""
        entry, partition = aside.entry, self._partition
        through = 0 if entry.record is None else changelog.decode_state(entry.record).through
        if missing is None:  # the restore has read them from the log
            missing = self._undo.missing(entry, max(through, partition.began), published)
        if outputs is None and (entry.record is not None or missing):
            aside.reason += NOT_HELD
        aside.mark = Mark(aside.reason, message.timestamp()[1], published, through, partition.watermarks.at(through))
        self.note(aside, aside.mark)
        produce(
            QUARANTINE,
            encode_mark(aside.mark),
            entry.key,
            partition.number,
            headers_of(partition.source, _copy(message), "mark"),
        )
        for each in missing:
            self._keep(aside, each, produce)
        if outputs is None:
            self.report(entry.key, None, _quarantined(aside, message), published, produce)
        else:
            partition.send(outputs, message, produce)
        log.error(
            "%s: partition %d: a station is set aside at offset %d: %s; its records are kept, `chargeline stations "
            "quarantined` names it", partition.source, partition.number, published, aside.reason,
        )  # fmt: skip

    def note(self, aside: SetAside[State], mark: Mark | None) -> None:
        """Makes the mark durable; None: the key is no longer set aside."""
        aside.mark = mark
        value = None if mark is None else encode_mark(mark)
        self._partition.unwritten.write([(changelog.archive_key(aside.entry.key, MARK), value)])

    def next_tick(self, clock: str, message: Message) -> None:
        """Remembers the latest tick of each clock, which is kept with the next record of a key that is set aside."""
        self._ticks[clock] = message

    def keep(self, key: bytes, message: Message, produce: Produce) -> None:
        """Keeps a record of a key that is set aside, or obeys it if it orders the release."""
        if not self._partition.publishes(produce):
            return
        order = release_of(message.value(), message.headers())
        if order is not None:
            self._order(self.set_aside[key], message, order, produce)
            return
        partition = self._partition
        try:
            check_value(message.value())
        except InvalidMessage as error:
            partition.refuse(message, error, produce)
            return
        aside = self.set_aside[key]
        for tick in sorted(self._ticks.values(), key=lambda each: each.offset() or 0):
            if (tick.offset() or 0) > aside.kept_until:
                self._keep(aside, tick, produce)
        self._keep(aside, message, produce)

    def _keep(self, aside: SetAside[State], message: Message, produce: Produce) -> None:
        partition, record = self._partition, _copy(message)
        headers = headers_of(partition.source, record)
        produce(QUARANTINE, record.value(), kept_key(aside.entry.key, record), partition.number, headers)
        aside.kept_until = record.offset()
        aside.recent.append(record)
        if aside.release is not None:
            aside.release.keep(record)

    def committed(self, oldest: int) -> None:
        """A checkpoint is committed: consumers can read all kept records from their topic."""
        for aside in self.set_aside.values():
            aside.recent.clear()
        self._undo.condemned = {at for at in self._undo.condemned if at >= oldest}

    # --- what a restore finds ----------------------------------------------------------------------------------------

    def unreadable(self, entry: Entry[State], error: Exception) -> None:
        """Sets a key aside because reading its state record raised `error` during a restore."""
        log_error(error, self._partition.place(entry.through))
        self._gate.raised(entry.key, place(error))
        self.set_aside[entry.key] = SetAside(entry, f"the state record cannot be read: {place(error)}")

    def restored(self, entry: Entry[State], mark: Mark | None) -> None:
        """Restores a key that was set aside before; without a mark its state record is missing."""
        self.set_aside[entry.key] = SetAside(entry, mark.reason if mark else "there is no state record", mark)

    def look_after(self, message: Message, produce: Produce) -> None:
        """Sets keys aside whose state cannot be written and declares those that a restore set aside."""
        for key, error in list(self._partition.unwritten.unwritable.items()):
            log_error(error, self._partition.place(message.offset() or 0))
            if not isinstance(error, TooLarge):
                self._gate.raised(key, place(error))
            self.put(self._partition.entries[key], message, place(error), produce, sound=True, keep=False)
        for aside in self.set_aside.values():
            if aside.mark is None:
                self._declare(aside, message, self._partition.replay_until, produce)

    def renumber(self) -> None:
        """The source has new offsets: no record kept from now on is in a state record."""
        for aside in self.set_aside.values():
            aside.kept_until = -1
            if aside.mark is not None:
                self.note(aside, structs.replace(aside.mark, published=0, through=0))

    # --- releasing ---------------------------------------------------------------------------------------------------

    def _order(self, aside: SetAside[State], message: Message, order: Order, produce: Produce) -> None:
        """Starts the release that the record orders; its steps run between batches (release.py)."""
        mark, at_ms = aside.mark, message.timestamp()[1]
        if mark is None or mark.releasing is not None:
            return
        try:
            self._logic.check_release(aside.entry.key, order.way, mark.at_ms, order.signature)
        except InvalidMessage as error:
            self._partition.refuse(message, error, produce)
            return
        self.note(aside, structs.replace(mark, releasing=Releasing(order.way.decode(), at_ms, message.offset() or 0)))

    @property
    def releasing(self) -> bool:
        """Whether a release is in progress."""
        return any(each.mark is not None and each.mark.releasing is not None for each in self.set_aside.values())

    def go_on(self, produce: Produce) -> None:
        """Does the next step of each release. Raises TransactionLost."""
        for aside in list(self.set_aside.values()):
            mark = aside.mark
            if mark is None or mark.releasing is None:
                continue
            if aside.release is None:
                aside.release = Release(aside, mark, mark.releasing, self._partition, self._logic, self._undo)
            aside.release.go_on(self._recall, produce)

    def released(self, entry: Entry[State], mark: Mark, order: Releasing, produce: Produce) -> None:
        """Reports that the key is released."""
        self._gate.forgive(entry.key)
        trouble = Trouble(STATION_QUARANTINED, mark.reason, mark.at_ms, released_ms=order.at_ms)
        self.report(entry.key, entry.state, trouble, order.offset, produce)

    # --- reporting ---------------------------------------------------------------------------------------------------

    def report(self, key: bytes, state: State | None, trouble: Trouble, at: int, produce: Produce) -> None:
        """Publishes an alert. If making it raises, the stage goes on and the log has the error."""
        if not self._partition.publishes(produce):
            return
        try:
            outputs = self._logic.report(key, state, trouble)
        except Exception as error:
            log_error(error, self._partition.place(at))
            return
        self._partition.send(outputs, Kept(key, None, at, trouble.at_ms), produce)


def _copy(message: Message) -> Kept:
    return Kept(message.key(), message.value(), message.offset() or 0, message.timestamp()[1])


def _quarantined(aside: SetAside[State], message: Message) -> Trouble:
    return Trouble(STATION_QUARANTINED, aside.reason, message.timestamp()[1])
