"""What a record, tick or release that raises does: to its own key, and to nothing else.

A record that raises is undone and becomes a dead letter; where that does not help, the key is set aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import State, Trouble
from pipeline.runtime.partition.checks import TooLarge
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.entries import Entry
from pipeline.runtime.partition.internal_errors import log_error, place
from pipeline.runtime.partition.ports import Message, Produce
from pipeline.runtime.partition.quarantine import Quarantine
from pipeline.runtime.partition.undo import Undo

if TYPE_CHECKING:
    from pipeline.runtime.partition.partition import Partition

INTERNAL_ERROR = "INTERNAL_ERROR"


class Net(Generic[State]):
    """Of one partition."""

    def __init__(
        self, partition: Partition[State], gate: FloodGate, quarantine: Quarantine[State], undo: Undo[State]
    ) -> None:
        self._partition = partition
        self._gate = gate
        self._quarantine = quarantine
        self._undo = undo

    def record_raised(self, entry: Entry[State], message: Message, error: Exception, produce: Produce) -> None:
        """`error` came from applying a record: the key is as it was before, the record a dead letter."""
        where, at = place(error), message.offset() or 0
        log_error(error, self._partition.place(at))
        restored = self._undo.put_back(entry, at)
        raised = 0 if isinstance(error, TooLarge) else self._gate.raised(entry.key, where)
        if not restored or not raised or raised >= self._gate.key_errors or not self._partition.publishes(produce):
            self._quarantine.put(entry, message, where, produce, sound=restored)
            return
        self._undo.condemned.add(at)
        self._partition.unwritten.write_soon(entry, at)
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, where), produce)
        self._quarantine.report(
            entry.key, entry.state, Trouble(INTERNAL_ERROR, where, message.timestamp()[1]), at, produce
        )

    def first_raised(self, key: bytes, message: Message, error: Exception, produce: Produce) -> None:
        """The same for a key without a state: nothing of it is kept."""
        where, at = place(error), message.offset() or 0
        log_error(error, self._partition.place(at))
        entry: Entry[State] = Entry(self._partition.unwritten, key)
        if isinstance(error, TooLarge):
            self._quarantine.put(entry, message, where, produce, sound=False)
            return
        self._gate.raised(key, where)
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, where), produce)
        self._quarantine.report(key, None, Trouble(INTERNAL_ERROR, where, message.timestamp()[1]), at, produce)

    def time_raised(self, entry: Entry[State], message: Message, error: Exception, produce: Produce) -> None:
        """`error` came from a tick or a release of reference data, which would come again: the key is set aside."""
        where, at = place(error), message.offset() or 0
        log_error(error, self._partition.place(at))
        if not isinstance(error, TooLarge):
            self._gate.raised(entry.key, where)
        self._quarantine.put(entry, message, where, produce, sound=self._undo.put_back(entry, at))

    def tick_raised(self, message: Message, error: Exception, produce: Produce) -> None:
        """`error` came from decoding a record without a key."""
        log_error(error, self._partition.place(message.offset() or 0))
        self._gate.raised(None, place(error))
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, place(error)), produce)
