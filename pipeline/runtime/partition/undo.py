"""Puts one key back to its state record and applies the later records again, from the log.

The hot path copies nothing for this. An exception costs a read of the partition from its oldest state record on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic

from pipeline.runtime.logic import NEVER, Logic, State, Watermark, reference_of
from pipeline.runtime.partition import changelog
from pipeline.runtime.partition.entries import Entry
from pipeline.runtime.partition.internal_errors import log_error
from pipeline.runtime.partition.ports import Message, Recall, TransactionLost
from pipeline.wire.quarantine import Kept

if TYPE_CHECKING:
    from pipeline.runtime.partition.partition import Partition

log = logging.getLogger(__name__)


class Undo(Generic[State]):
    """Undoes records of one partition."""

    def __init__(self, partition: Partition[State], logic: Logic[State], recall: Recall) -> None:
        self.condemned: set[int] = set()
        """Offsets of INTERNAL_ERROR dead letters that no state record covers yet."""
        self._partition = partition
        self._logic = logic
        self._reference = reference_of(logic)
        self._recall = recall

    def put_back(self, entry: Entry[State], until: int) -> bool:
        """Puts the key back to before the record at `until`; False if its state record or a later record raises."""
        partition = self._partition
        start = entry.since
        watermark = partition.watermarks.at(start if start >= 0 else until)
        try:
            records = self.since(entry, start, until) if start >= 0 else []
            alone = self.alone(entry, watermark, records)
            alone.apply(records, partition.discard)
        except TransactionLost:
            raise
        except Exception as error:
            log_error(error, partition.place(until))
            return False
        finally:
            self._reference.see(partition.watermarks.now)
        if alone.quarantine.set_aside:
            return False
        partition.ticks.reschedule(entry, entry.state)
        return True

    def since(self, entry: Entry[State], start: int, until: int) -> list[Message]:
        """The key's records and all ticks from `start` to `until`, read from the log."""
        return [
            message
            for message in self._recall.source(self._partition.number, start, until)
            if message.key() in (None, entry.key) and message.offset() not in self.condemned
        ]

    def alone(self, entry: Entry[State], watermark: Watermark, records: Sequence[Message]) -> Partition[State]:
        """A partition with this key alone, at its state record. Raises what reading the record raises."""
        entry.put_back()
        entry.scheduled, entry.clock = NEVER, ""
        if entry.record is None:
            entry.state = self._logic.create(entry.key, entry)
        else:
            record = changelog.decode_state(entry.record)
            entry.through = record.through
            entry.state = self._logic.load(entry.key, record.body, record.version, entry)
        self._reference.see(watermark)
        return self._partition.alone(entry, watermark, Listed(records))

    def missing(self, entry: Entry[State], start: int, until: int) -> Sequence[Message]:
        """As `since`, but empty and logged if the source no longer has these records."""
        try:
            return self.since(entry, start, until)
        except LookupError as error:
            log.error("%s: %s; a station that is set aside lacks them", self._partition.place(until), error)
            return ()


class Listed:
    """Implements runtime.partition.ports.Recall over a list of records."""

    def __init__(self, records: Sequence[Message]) -> None:
        self._records = records

    def source(self, partition: int, start: int, end: int) -> Iterable[Message]:
        return [each for each in self._records if start <= (each.offset() or 0) < end]

    def kept(self, partition: int, source: str) -> Iterable[Sequence[tuple[bytes, Kept | None]]]:
        return ()
