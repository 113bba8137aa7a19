"""What a record, tick or release that raises does: to its own key, and to nothing else.

A record that raises is undone and becomes a dead letter. A key is set aside when that does not help: time raised, what
it makes is above a bound, its state cannot be read or written, or it raises again and again. The key goes back to its
state record, and what came since is read from the log once more: nothing is copied while all is well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime import changelog
from pipeline.runtime.checks import TooLarge, check_value, fits
from pipeline.runtime.dead_letters import FloodGate
from pipeline.runtime.entries import Entry
from pipeline.runtime.internal_errors import place, tell
from pipeline.runtime.logic import NEVER, Logic, Output, State, Trouble, View
from pipeline.runtime.ports import Message, Produce, Recall, TransactionLost
from pipeline.wire.quarantine import MARK, Kept, Mark, encode_mark, headers_of, kept_key, release_of

if TYPE_CHECKING:
    from pipeline.runtime.partition import Partition

log = logging.getLogger(__name__)

QUARANTINE = topics.QUARANTINE.name
INTERNAL_ERROR, STATION_QUARANTINED = "INTERNAL_ERROR", "STATION_QUARANTINED"


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


class Net(Generic[State]):
    """Of one partition."""

    def __init__(self, partition: Partition[State], logic: Logic[State], gate: FloodGate, recall: Recall) -> None:
        self.set_aside: dict[bytes, SetAside[State]] = {}
        self._partition = partition
        self._logic = logic
        self._gate = gate
        self._recall = recall
        self._condemned: set[int] = set()
        """Offsets of dead letters INTERNAL_ERROR that the state records do not cover yet."""
        self._ticks: dict[str, Message] = {}

    # --- something raised --------------------------------------------------------------------------------------------

    def record_raised(self, entry: Entry[State], message: Message, error: Exception, produce: Produce) -> None:
        """`error` came from applying a record: the key is as it was before, the record a dead letter."""
        where, at = _why(error), message.offset() or 0
        self._tell(error, at)
        restored = self._put_back(entry, at)
        raised = 0 if isinstance(error, TooLarge) else self._gate.raised(entry.key, where)
        if not restored or not raised or raised >= self._gate.key_errors or not self._partition.tells(produce):
            self._set_aside(entry, message, where, produce, sound=restored)
            return
        self._condemned.add(at)
        self._partition.unwritten.write_soon(entry, at)
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, where), produce)
        self._report(entry.key, entry.state, Trouble(INTERNAL_ERROR, where, message.timestamp()[1]), at, produce)

    def first_raised(self, key: bytes, message: Message, error: Exception, produce: Produce) -> None:
        """The same for a key without a state: nothing of it is kept."""
        where, at = _why(error), message.offset() or 0
        self._tell(error, at)
        entry: Entry[State] = Entry(self._partition.unwritten, key)
        if isinstance(error, TooLarge):
            self._set_aside(entry, message, where, produce, sound=False)
            return
        self._gate.raised(key, where)
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, where), produce)
        self._report(key, None, Trouble(INTERNAL_ERROR, where, message.timestamp()[1]), at, produce)

    def time_raised(self, entry: Entry[State], message: Message, error: Exception, produce: Produce) -> None:
        """`error` came from a tick or a release of reference data, which would come again: the key is set aside."""
        where, at = _why(error), message.offset() or 0
        self._tell(error, at)
        if not isinstance(error, TooLarge):
            self._gate.raised(entry.key, where)
        self._set_aside(entry, message, where, produce, sound=self._put_back(entry, at))

    def tick_raised(self, message: Message, error: Exception, produce: Produce) -> None:
        """`error` came from decoding a record without a key."""
        self._tell(error, message.offset() or 0)
        self._gate.raised(None, _why(error))
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, _why(error)), produce)

    def unreadable(self, entry: Entry[State], error: Exception) -> None:
        """`error` came from reading the state record of a restore."""
        self._tell(error, entry.through)
        self._gate.raised(entry.key, _why(error))
        self.set_aside[entry.key] = SetAside(entry, f"the state record cannot be read: {_why(error)}")

    def restored(self, entry: Entry[State], mark: Mark | None) -> None:
        """A key that was set aside before; without a mark a state record is missing."""
        self.set_aside[entry.key] = SetAside(entry, mark.reason if mark else "there is no state record", mark)

    def look_after(self, message: Message, produce: Produce) -> None:
        """Before the next records: sets aside whose state cannot be written, and tells of whom a restore set aside."""
        for key, error in list(self._partition.unwritten.unwritable.items()):
            self._tell(error, message.offset() or 0)
            if not isinstance(error, TooLarge):
                self._gate.raised(key, _why(error))
            self._set_aside(self._partition.entries[key], message, _why(error), produce, sound=True, keep=False)
        for aside in self.set_aside.values():
            if aside.mark is None:
                self._declare(aside, message, self._partition.replay_until, produce)

    # --- undoing -----------------------------------------------------------------------------------------------------

    def _put_back(self, entry: Entry[State], until: int) -> bool:
        """The key as it was before the record at `until`; False: its state record or the records since raise."""
        partition = self._partition
        start = entry.since
        view = partition.view_at(start if start >= 0 else until)
        try:
            records = self._since(entry, start, until) if start >= 0 else []
            alone = self._alone(entry, view, records)
            alone.apply(records, partition.discard)
        except TransactionLost:
            raise
        except Exception as error:
            self._tell(error, until)
            return False
        finally:
            self._logic.see(partition.view)
        if alone.net.set_aside:
            return False
        partition.wakes.plan_anew(entry)
        return True

    def _since(self, entry: Entry[State], start: int, until: int) -> list[Message]:
        """Its records and all ticks from `start` on, from the log."""
        return [
            message
            for message in self._recall.source(self._partition.number, start, until)
            if message.key() in (None, entry.key) and message.offset() not in self._condemned
        ]

    def _alone(self, entry: Entry[State], view: View, records: Sequence[Message]) -> Partition[State]:
        """A partition with this key alone, at its state record. It raises what reading the record raises."""
        entry.put_back()
        entry.scheduled, entry.clock = NEVER, ""
        if entry.record is None:
            entry.state = self._logic.create(entry.key, entry)
        else:
            record = changelog.decode_state(entry.record)
            entry.through = record.through
            entry.state = self._logic.load(entry.key, record.body, record.version, entry)
        self._logic.see(view)
        return self._partition.alone(entry, view, Listed(records))

    # --- setting aside -----------------------------------------------------------------------------------------------

    def _set_aside(
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
                self._tell(error, at)
                told = None
        missing: Sequence[Message] = ()
        if told is None:
            entry.put_back()
            missing = self._since(entry, since, at) if since >= 0 else ()
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
            missing = self._since(entry, max(through, partition.began), published)
        aside.mark = Mark(aside.reason, message.timestamp()[1], published, through, partition.view_at(published))
        mark = encode_mark(aside.mark)
        partition.unwritten.write([(changelog.archive_key(entry.key, MARK), mark)])
        produce(QUARANTINE, mark, entry.key, partition.number, headers_of(partition.source, _copy(message), "mark"))
        for each in missing:
            self._keep(aside, each, produce)
        if told is None:
            self._report(entry.key, None, _quarantined(aside, message), published, produce)
        else:
            partition.send(told, message, produce)
        log.error(
            "%s: partition %d: a station is set aside at offset %d: %s; its records are kept, `chargeline stations "
            "quarantined` names it", partition.source, partition.number, published, aside.reason,
        )  # fmt: skip

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
        partition, at = self._partition, message.offset() or 0
        record = _copy(message)
        headers = headers_of(partition.source, record)
        produce(QUARANTINE, record.value(), kept_key(aside.entry.key, at), partition.number, headers)
        aside.kept_until = at
        aside.recent.append(record)

    def committed(self, oldest: int) -> None:
        """What was kept so far can be read from its topic."""
        for aside in self.set_aside.values():
            aside.recent.clear()
        self._condemned = {at for at in self._condemned if at >= oldest}

    # --- releasing ---------------------------------------------------------------------------------------------------

    def _release(self, aside: SetAside[State], message: Message, way: bytes, produce: Produce) -> None:
        """Its records are applied in order, then it is a key as any other; unless one raises again."""
        partition, entry, mark = self._partition, aside.entry, aside.mark
        if mark is None:
            return
        if way == b"afresh":
            entry.record = None
        found = [each for owner, each in self._recall.kept(partition.number, partition.source) if owner == entry.key]
        records = sorted({each.offset(): each for each in [*found, *aside.recent]}.values(), key=Kept.offset)
        unread = [each for each in records if each.offset() >= mark.through]
        try:
            alone = self._alone(entry, mark.view, unread)
        except TransactionLost:
            raise
        except Exception as error:
            self._tell(error, message.offset() or 0)
            log.error("%s: partition %d: a station could not be released", partition.source, partition.number)
            return
        del self.set_aside[entry.key]
        partition.unwritten.write([(changelog.archive_key(entry.key, MARK), None)])
        partition.unwritten.write_soon(entry, message.offset() or 0)
        try:
            alone.apply([each for each in unread if each.offset() < mark.published], partition.discard)
            alone.apply([each for each in unread if each.offset() >= mark.published], produce)
            alone.show(
                partition.view, message.offset() or 0, message, produce
            )  # what became visible since the last one
        finally:
            self._logic.see(partition.view)
        again = alone.net.set_aside.get(entry.key)
        through = (
            records[-1].offset() + 1 if again is None and records else again.mark.through if again and again.mark else 0
        )
        for each in records:
            if each.offset() < through:
                produce(QUARANTINE, None, kept_key(entry.key, each.offset()), partition.number)
        if again is not None:
            self.set_aside[entry.key] = again
            return
        produce(QUARANTINE, None, entry.key, partition.number)
        partition.entries[entry.key] = entry
        partition.wakes.plan_anew(entry)
        trouble = Trouble(STATION_QUARANTINED, mark.reason, mark.at_ms, released_ms=message.timestamp()[1])
        self._report(entry.key, entry.state, trouble, message.offset() or 0, produce)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _report(self, key: bytes, state: State | None, trouble: Trouble, at: int, produce: Produce) -> None:
        """An alert. That it cannot be made is no reason to stop: the log has it."""
        if not self._partition.tells(produce):
            return
        try:
            told = self._logic.report(key, state, trouble)
        except Exception as error:
            self._tell(error, at)
            return
        self._partition.send(told, Kept(key, None, at, trouble.at_ms), produce)

    def _tell(self, error: Exception, at: int) -> None:
        """TooLarge is no error of ours; what follows from it is told where the key is set aside."""
        if not isinstance(error, TooLarge):
            tell(error, f"{self._partition.source}: partition {self._partition.number} offset {at}")


def _why(error: Exception) -> str:
    return f"too large: {error}" if isinstance(error, TooLarge) else place(error)


def _copy(message: Message) -> Kept:
    return Kept(message.key(), message.value(), message.offset() or 0, message.timestamp()[1])


def _quarantined(aside: SetAside[State], message: Message) -> Trouble:
    return Trouble(STATION_QUARANTINED, aside.reason, message.timestamp()[1])


class Listed:
    """runtime.ports.Recall over records that are here."""

    def __init__(self, records: Sequence[Message]) -> None:
        self._records = records

    def source(self, partition: int, start: int, end: int) -> Iterable[Message]:
        return [each for each in self._records if start <= (each.offset() or 0) < end]

    def kept(self, partition: int, source: str) -> Iterable[tuple[bytes, Kept]]:
        return ()
