"""Contains an exception of a record, tick or release: it affects its own key and nothing else.

A record that raises is undone and becomes a dead letter; if that does not help, the key is set aside.
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
    """Handles the exceptions of one partition."""

    def __init__(
        self, partition: Partition[State], gate: FloodGate, quarantine: Quarantine[State], undo: Undo[State]
    ) -> None:
        self._partition = partition
        self._gate = gate
        self._quarantine = quarantine
        self._undo = undo

    def record_raised(self, entry: Entry[State], message: Message, error: Exception, produce: Produce) -> None:
        """Applying a record raised `error`: the key goes back to before it, the record becomes a dead letter."""
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
        """As `record_raised` for a key without a state, which is not kept."""
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
        """A tick or new reference data raised `error` and would do so again: the key is set aside."""
        where, at = place(error), message.offset() or 0
        log_error(error, self._partition.place(at))
        if not isinstance(error, TooLarge):
            self._gate.raised(entry.key, where)
        self._quarantine.put(entry, message, where, produce, sound=self._undo.put_back(entry, at))

    def tick_raised(self, message: Message, error: Exception, produce: Produce) -> None:
        """Decoding a record without a key raised `error`."""
        log_error(error, self._partition.place(message.offset() or 0))
        self._gate.raised(None, place(error))
        self._partition.refuse(message, InvalidMessage(INTERNAL_ERROR, place(error)), produce)
