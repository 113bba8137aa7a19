"""The topic `dead-letters` from outside: read what lies there, and send it back to where it was read.

Reads committed records up to the end as it is at the beginning, so that what comes back as a dead letter again is not
met twice. What a dead letter's headers mean is in wire/dead_letters.py; nothing here looks at its content.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.edge.producer import BY_KEY, Report, sending
from pipeline.errors import InvalidMessage, Unavailable, WrongUsage
from pipeline.topics import DEAD_LETTERS, METER_EVENTS
from pipeline.wire import dead_letters
from pipeline.wire.dead_letters import DeadLetter

Properties = Mapping[str, str | int | float | bool]

FOREIGN = DeadLetter(
    "NOT_A_DEAD_LETTER", "its headers are not those of a dead letter: somebody else wrote it", "", 0, 0
)
TIMEOUT_S = 10.0
SILENCE_S = 30.0
"""Without a record or an end of a partition for this long, the broker is given up."""


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
    """What became of dead letters that were to be sent back."""

    report: Report = field(default_factory=Report)
    sent: Counter[str] = field(default_factory=Counter)
    """Records sent, by reason."""
    repeated: int = 0
    """Dead letters with the bytes of one that was sent: several parts of one record, or refused again."""
    foreign: int = 0
    """Not from a topic that this pipeline reads, so there is no place to send them back to."""


def read(config: Properties, on_progress: Callable[[int], None] = lambda records: None) -> Iterator[Letter]:
    """All dead letters; of one partition in order. Raises Unavailable, WrongUsage if the topic does not exist."""
    consumer = _consumer(config)
    try:
        places = _partitions(consumer)
        ends = {place: _watermarks(consumer, place)[1] for place in places}
        waiting = {place for place, end in ends.items() if end > 0}
        consumer.assign([TopicPartition(DEAD_LETTERS.name, place, OFFSET_BEGINNING) for place in waiting])
        heard = time.monotonic()
        while waiting:
            found = consumer.consume(1_000, 0.1)
            if found:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_S:
                raise Unavailable(f"topic {DEAD_LETTERS.name}: the broker says nothing for {SILENCE_S:.0f} s")
            for message in found:
                place, offset = message.partition() or 0, message.offset() or 0
                if _is_end(message):
                    waiting.discard(place)
                elif place in waiting and offset < ends[place]:
                    yield _letter(message)
                if offset + 1 >= ends[place]:
                    waiting.discard(place)
            on_progress(len(found))
    finally:
        consumer.close()


def find(config: Properties, partition: int, offset: int) -> Letter:
    """The dead letter at that place. Raises WrongUsage if there is none, Unavailable if no broker answers."""
    consumer = _consumer(config)
    try:
        if partition not in _partitions(consumer):
            raise WrongUsage(f"topic {DEAD_LETTERS.name} has no partition {partition}")
        first, end = _watermarks(consumer, partition)
        if first <= offset < end:
            consumer.assign([TopicPartition(DEAD_LETTERS.name, partition, offset)])
            message = consumer.poll(SILENCE_S)
            if message is not None and not _is_end(message) and message.offset() == offset:
                return _letter(message)
        raise WrongUsage(
            f"no dead letter at partition {partition} offset {offset}: it expired, or the place is wrong; "
            "see `chargeline dead-letters list`"
        )
    finally:
        consumer.close()


def send_back(config: Properties, letters: Iterable[Letter], *, dry_run: bool = False) -> Replay:
    """The original bytes under the original key to the topic that they came from; the same bytes only once.

    A key decides the partition anew; a record without one returns to the partition where it was read. `dry_run` counts
    and sends nothing. Raises Unavailable, WrongUsage as edge.producer does.
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


def _consumer(config: Properties) -> Consumer:
    return Consumer(
        dict(config)
        | {
            "group.id": f"dead-letters-{uuid4()}",  # required by the client; it joins no group and commits nothing
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )


def _partitions(consumer: Consumer) -> list[int]:
    try:
        found = consumer.list_topics(timeout=TIMEOUT_S).topics.get(DEAD_LETTERS.name)
    except KafkaException as error:
        raise Unavailable(f"no Kafka broker answers: {error.args[0].str()}; is CHARGELINE_KAFKA right?") from error
    if found is None or not found.partitions:
        raise WrongUsage(f"topic {DEAD_LETTERS.name} does not exist; make it with `chargeline topics create`")
    return sorted(found.partitions)


def _watermarks(consumer: Consumer, partition: int) -> tuple[int, int]:
    """First offset, and the end of what is committed."""
    try:
        return consumer.get_watermark_offsets(TopicPartition(DEAD_LETTERS.name, partition), TIMEOUT_S)
    except KafkaException as error:
        raise Unavailable(f"topic {DEAD_LETTERS.name}: {error.args[0].str()}") from error


def _is_end(message: Message) -> bool:
    """Is it the end of its partition? Raises Unavailable for any other error."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise Unavailable(f"topic {DEAD_LETTERS.name}: {error.str()}")
