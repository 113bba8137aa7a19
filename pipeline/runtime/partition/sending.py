"""Produces the outputs of a partition, and its dead letters with the place of their record."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import topics
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Output
from pipeline.runtime.partition.changelog import LONGEST_KEY
from pipeline.runtime.partition.checks import NO_VALUE, TOO_LARGE
from pipeline.runtime.partition.dead_letters import FloodGate
from pipeline.runtime.partition.ports import Headers, Message, Produce
from pipeline.wire import dead_letters
from pipeline.wire.quarantine import release_of

DEAD_LETTERS, REJECTIONS = topics.DEAD_LETTERS.name, topics.REJECTIONS.name
BY_SOURCE = topics.BY_SOURCE


class Sender:
    """The part of a Partition that sends."""

    def __init__(self, number: int, source: str, gate: FloodGate) -> None:
        self.number = number
        self.source = source
        self._gate = gate

    def place(self, offset: int) -> str:
        """The place of a record, for log messages."""
        return f"{self.source}: partition {self.number} offset {offset}"

    @staticmethod
    def publishes(produce: Produce) -> bool:
        """False while the partition applies records again whose outputs are committed."""
        return produce is not Sender.discard

    @staticmethod
    def discard(topic: str, value: bytes | None, key: bytes | None, partition: int = -1, headers: Headers = ()) -> None:
        """Drops the outputs of records that are applied again: they are committed already."""

    def send(self, outputs: Sequence[Output], message: Message, produce: Produce) -> None:
        for topic, key, value, headers in outputs:
            if topic == DEAD_LETTERS:
                read_at = dead_letters.where(self.source, self.number, message.offset() or 0)
                if self.publishes(produce):
                    self._gate.part_refused(dead_letters.reason_of(headers))
                self._letter(value, key, (*headers, *read_at), produce)
            else:
                produce(topic, value, key, self.number if topic in BY_SOURCE else -1, headers)

    def refuse(self, message: Message, error: InvalidMessage, produce: Produce) -> None:
        """Makes the record a dead letter, with its bytes unless it is too large."""
        is_release = error.reason == NO_VALUE and release_of(message.value(), message.headers()) is not None
        if is_release or not self.publishes(produce):  # a release of a key that is not (or no longer) set aside
            return
        offset, key, value = message.offset() or 0, message.key(), message.value()
        headers = [
            *dead_letters.why(error.reason, error.detail),
            *dead_letters.where(self.source, self.number, offset),
        ]
        if value is not None and error.reason == TOO_LARGE:
            headers += dead_letters.instead_of(value)
            value = None
        if key is not None and len(key) > LONGEST_KEY:
            key = None
        self._letter(value, key, headers, produce)
        self._gate.refused(self.number, offset, key, error.reason)

    def _letter(self, value: bytes | None, key: bytes | None, headers: Headers, produce: Produce) -> None:
        """DEAD_LETTERS gets the bytes, REJECTIONS only the reason: the bytes may hold a driver's token."""
        produce(DEAD_LETTERS, value, key, -1, headers)
        produce(REJECTIONS, None, None, self.number, headers)
