"""Commands on the topic `dead-letters`: they read it, and send records back to the topic where they were read.

They read committed records up to the end that the topic has at the beginning, so that a record which becomes a dead
letter again is not met twice. wire/dead_letters.py knows the headers; nothing here looks at the content.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from confluent_kafka import Message, TopicPartition

from pipeline.edge.producer import BY_KEY, Report, sending
from pipeline.edge.reading import SILENCE_S, Properties, is_end, partitions, read_topic, reader, watermarks
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.topics import DEAD_LETTERS, METER_EVENTS
from pipeline.wire import dead_letters
from pipeline.wire.dead_letters import DeadLetter

FOREIGN = DeadLetter(
    "NOT_A_DEAD_LETTER", "its headers are not those of a dead letter: somebody else wrote it", "", 0, 0
)


class Letter(NamedTuple):
    """One record of the topic. `cause` is FOREIGN when its headers say nothing; `value` may hold identifiers."""

    partition: int
    offset: int
    sent_at_ms: int
    cause: DeadLetter
    key: bytes | None
    value: bytes


@dataclass(slots=True, kw_only=True)
class Replay:
    """The result of sending dead letters back."""

    report: Report = field(default_factory=Report)
    sent: Counter[str] = field(default_factory=Counter)
    """Records sent, by reason."""
    repeated: int = 0
    """Dead letters whose bytes were already sent: several parts of one record, or a record that was refused again."""
    foreign: int = 0
    """Dead letters of topics that this pipeline does not read; they cannot be sent back."""


def read(config: Properties, on_progress: Callable[[int], None] = lambda records: None) -> Iterator[Letter]:
    """All dead letters; of one partition in order. Raises Unavailable, WrongUsage if the topic does not exist."""
    return map(_letter, read_topic(config, DEAD_LETTERS.name, on_progress))


def find(config: Properties, partition: int, offset: int) -> Letter:
    """The dead letter at that place. Raises WrongUsage if there is none, Unavailable if no broker answers."""
    consumer = reader(config, DEAD_LETTERS.name)
    try:
        if partition not in partitions(consumer, DEAD_LETTERS.name, config):
            raise WrongUsage(f"topic {DEAD_LETTERS.name} has no partition {partition}")
        first, end = watermarks(consumer, DEAD_LETTERS.name, partition, config)
        if first <= offset < end:
            consumer.assign([TopicPartition(DEAD_LETTERS.name, partition, offset)])
            message = consumer.poll(SILENCE_S)
            if message is not None and not is_end(message, DEAD_LETTERS.name, config) and message.offset() == offset:
                return _letter(message)
        raise WrongUsage(
            f"no dead letter at partition {partition} offset {offset}: it expired, or the place is wrong; "
            "see `chargeline dead-letters list`"
        )
    finally:
        consumer.close()


def send_back(config: Properties, letters: Iterable[Letter], *, dry_run: bool = False) -> Replay:
    """Sends the original bytes under the original key to the topic that they came from; the same bytes only once.

    The key decides the partition; a record without a key returns to the partition where it was read. `dry_run` only
    counts. Raises Unavailable, WrongUsage as edge.producer does.
    """
    replay, seen = Replay(), set[bytes]()
    with sending(METER_EVENTS.name, config, replay.report) as send:
        for letter in letters:
            if letter.cause.topic != METER_EVENTS.name:
                replay.foreign += 1
                continue
            partition = BY_KEY if letter.key is not None else letter.cause.partition
            name = b"%d %r " % (partition, letter.key)
            digest = hashlib.sha256(name + letter.value).digest()
            if digest in seen:
                replay.repeated += 1
                continue
            seen.add(digest)
            replay.sent[letter.cause.reason] += 1
            if not dry_run:
                send(letter.key, letter.value, partition)
    return replay


def _letter(message: Message) -> Letter:
    try:
        cause = dead_letters.decode(dead_letters.headers_of(message.headers()))
    except InvalidMessage:
        cause = FOREIGN
    place, offset = message.partition() or 0, message.offset() or 0
    return Letter(place, offset, message.timestamp()[1], cause, message.key(), message.value() or b"")
