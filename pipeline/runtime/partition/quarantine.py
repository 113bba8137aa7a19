"""Keys that are set aside: their records are kept in order until somebody releases them; all other keys go on.

A key is set aside when its next step cannot be made: time raised, what it makes is above a bound, its state cannot be
read or written, or it raised again and again. How it is kept: wire/quarantine.py.
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
from pipeline.runtime.partition.internal_errors import place, tell
from pipeline.runtime.partition.ports import Message, Produce, Recall, TransactionLost
from pipeline.runtime.partition.undo import Undo
from pipeline.wire.quarantine import MARK, Kept, Mark, encode_mark, headers_of, kept_key, release_of

if TYPE_CHECKING:
    from pipeline.runtime.partition.partition import Partition

log = logging.getLogger(__name__)

QUARANTINE = topics.QUARANTINE.name
STATION_QUARANTINED = "STATION_QUARANTINED"


class SetAside(Generic[State]):
    """A key that is set aside. `entry` holds its state record and archive as the changelog has them."""

    __slots__ = ("entry", "kept_until", "mark", "reason", "recent")

    def __init__(self, entry: Entry[State], reason: str, mark: Mark | None = None) -> None:
        self.entry = entry
        self.reason = reason
        self.mark = mark
        """None: the changelog does not know yet, because records whose outputs are out are applied again."""
        self.kept_until = -1
        """The offset of the last tick or record that is kept."""
        self.recent: list[Kept] = []
        """Kept, but not committed yet: nobody could read them."""


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
        """From `message` on its records are kept. `sound`: its state is right, and is recorded as it is now."""
        partition, unwritten, key = self._partition, self._partition.unwritten, entry.key
        partition.entries.pop(key, None)
        partition.wakes.waiting.discard(key)
        aside = self.set_aside[key] = SetAside(entry, reason)
        at, since = message.offset() or 0, entry.since
        if not partition.tells(produce):
            entry.put_back()
            unwritten.forget(entry)
            return
        told: Sequence[Output] | None = None
        if sound:
            try:
                told = self._logic.report(key, entry.state, _quarantined(aside, message))
                fits(told)
                unwritten.write(unwritten.records(entry, at, topics.LARGEST_RECORD))
            except Exception as error:
                tell(error, self._partition.place(at))
                told = None
        missing: Sequence[Message] = ()
        if told is None:
            entry.put_back()
            missing = self._undo.missing(entry, since, at) if since >= 0 else ()
        unwritten.forget(entry)
        self._declare(aside, message, at, produce, missing, told)
        if keep:
            self._keep(aside, message, produce)

    def _declare(
        self, aside: SetAside[State], message: Message, published: int, produce: Produce,
        missing: Sequence[Message] | None = None, told: Sequence[Output] | None = None,
    ) -> None:  # fmt: skip
        """Makes it durable and known. `missing`: the records between the state record and `published`."""
        entry, partition = aside.entry, self._partition
        through = 0 if entry.record is None else changelog.decode_state(entry.record).through
        if missing is None:  # the restore has read them from the log
            missing = self._undo.missing(entry, max(through, partition.began), published)
        aside.mark = Mark(aside.reason, message.timestamp()[1], published, through, partition.view_at(through))
        self._write(entry.key, aside.mark)
        produce(
            QUARANTINE,
            encode_mark(aside.mark),
            entry.key,
            partition.number,
            headers_of(partition.source, _copy(message), "mark"),
        )
        for each in missing:
            self._keep(aside, each, produce)
        if told is None:
            self.report(entry.key, None, _quarantined(aside, message), published, produce)
        else:
            partition.send(told, message, produce)
        log.error(
            "%s: partition %d: a station is set aside at offset %d: %s; its records are kept, `chargeline stations "
            "quarantined` names it", partition.source, partition.number, published, aside.reason,
        )  # fmt: skip

    def _write(self, key: bytes, mark: Mark | None) -> None:
        value = None if mark is None else encode_mark(mark)
        self._partition.unwritten.write([(changelog.archive_key(key, MARK), value)])

    def next_tick(self, clock: str, message: Message) -> None:
        """The latest of each clock is kept with the next record of a key that is set aside."""
        self._ticks[clock] = message

    def keep(self, key: bytes, message: Message, produce: Produce) -> None:
        """A record of a key that is set aside; it may be the one that releases it."""
        if not self._partition.tells(produce):
            return
        way = release_of(message.value(), message.headers())
        if way is not None:
            self._release(self.set_aside[key], message, way, produce)
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

    def committed(self, oldest: int) -> None:
        """What was kept so far can be read from its topic."""
        for aside in self.set_aside.values():
            aside.recent.clear()
        self._undo.condemned = {at for at in self._undo.condemned if at >= oldest}

    # --- what a restore finds ----------------------------------------------------------------------------------------

    def unreadable(self, entry: Entry[State], error: Exception) -> None:
        """`error` came from reading the state record of a restore."""
        tell(error, self._partition.place(entry.through))
        self._gate.raised(entry.key, place(error))
        self.set_aside[entry.key] = SetAside(entry, f"the state record cannot be read: {place(error)}")

    def restored(self, entry: Entry[State], mark: Mark | None) -> None:
        """A key that was set aside before; without a mark a state record is missing."""
        self.set_aside[entry.key] = SetAside(entry, mark.reason if mark else "there is no state record", mark)

    def look_after(self, message: Message, produce: Produce) -> None:
        """Before the next records: sets aside whose state cannot be written, and tells of whom a restore set aside."""
        for key, error in list(self._partition.unwritten.unwritable.items()):
            tell(error, self._partition.place(message.offset() or 0))
            if not isinstance(error, TooLarge):
                self._gate.raised(key, place(error))
            self.put(self._partition.entries[key], message, place(error), produce, sound=True, keep=False)
        for aside in self.set_aside.values():
            if aside.mark is None:
                self._declare(aside, message, self._partition.replay_until, produce)

    def renumber(self) -> None:
        """The source counts anew: nothing that is kept from now on is in a state record."""
        for aside in self.set_aside.values():
            aside.kept_until = -1
            if aside.mark is not None:
                aside.mark = structs.replace(aside.mark, published=0, through=0)
                self._write(aside.entry.key, aside.mark)

    # --- releasing ---------------------------------------------------------------------------------------------------

    def _release(self, aside: SetAside[State], message: Message, way: bytes, produce: Produce) -> None:
        """Its records are applied in order, then it is a key as any other; unless one raises again."""
        partition, entry, mark = self._partition, aside.entry, aside.mark
        if mark is None:
            return
        if way == b"afresh":
            entry.record = None
        found = [each for owner, each in self._recall.kept(partition.number, partition.source) if owner == entry.key]
        records = list({kept_key(entry.key, each): each for each in [*found, *aside.recent]}.values())
        unread = [each for each in records if each.offset() >= mark.through]
        try:
            alone = self._undo.alone(entry, mark.view, unread)
        except TransactionLost:
            raise
        except Exception as error:
            tell(error, self._partition.place(message.offset() or 0))
            log.error("%s: partition %d: a station could not be released", partition.source, partition.number)
            return
        del self.set_aside[entry.key]
        self._write(entry.key, None)
        partition.unwritten.write_soon(entry, message.offset() or 0)
        try:
            alone.apply([each for each in unread if each.offset() < mark.published], partition.discard)
            alone.apply([each for each in unread if each.offset() >= mark.published], produce)
            alone.show(partition.view, message.offset() or 0, message, produce)  # visible since the last one
        finally:
            self._logic.see(partition.view)
        again = alone.quarantine.set_aside.get(entry.key)
        for each in records:
            if again is None or again.mark is None or each.offset() < again.mark.through:
                produce(QUARANTINE, None, kept_key(entry.key, each), partition.number)
        if again is not None:
            self.set_aside[entry.key] = again
            return
        produce(QUARANTINE, None, entry.key, partition.number)
        self._gate.forgive(entry.key)
        partition.entries[entry.key] = entry
        partition.wakes.plan_anew(entry)
        trouble = Trouble(STATION_QUARANTINED, mark.reason, mark.at_ms, released_ms=message.timestamp()[1])
        self.report(entry.key, entry.state, trouble, message.offset() or 0, produce)

    # --- telling -----------------------------------------------------------------------------------------------------

    def report(self, key: bytes, state: State | None, trouble: Trouble, at: int, produce: Produce) -> None:
        """An alert. That it cannot be made is no reason to stop: the log has it."""
        if not self._partition.tells(produce):
            return
        try:
            told = self._logic.report(key, state, trouble)
        except Exception as error:
            tell(error, self._partition.place(at))
            return
        self._partition.send(told, Kept(key, None, at, trouble.at_ms), produce)


def _copy(message: Message) -> Kept:
    return Kept(message.key(), message.value(), message.offset() or 0, message.timestamp()[1])


def _quarantined(aside: SetAside[State], message: Message) -> Trouble:
    return Trouble(STATION_QUARANTINED, aside.reason, message.timestamp()[1])
