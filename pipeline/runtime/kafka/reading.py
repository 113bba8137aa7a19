"""Reads partitions up to the ends that they had at the beginning: for restores, recalls and commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import confluent_kafka as ck

Consume = Callable[[], Sequence[ck.Message]]
WAIT_S = 0.1


class Chunk(NamedTuple):
    messages: Sequence[ck.Message]
    """Records below the ends; may be empty while the reader waits."""
    waiting: set[int]
    """Partitions that are not read to their ends yet."""


def read_to_ends(
    consumer: ck.Consumer,
    topic: str,
    places: Mapping[int, tuple[int, int]],
    consume: Consume,
    failed: Callable[[ck.KafkaError], None],
    *,
    waits_for_transactions: bool = False,
) -> Iterator[Chunk]:
    """`places`: first offset (or OFFSET_BEGINNING) and end by partition; `failed` raises, or returns if it may heal.

    A partition is done at its end or at the end of its committed records; with `waits_for_transactions` only at its
    end, after open transactions have ended. `consumer` needs `enable.partition.eof`.
    """
    waiting = {number for number, (first, end) in places.items() if max(0, first) < end}
    consumer.assign([ck.TopicPartition(topic, number, places[number][0]) for number in waiting])
    while waiting:
        found: list[ck.Message] = []
        for message in consume():
            number, offset, error = message.partition() or 0, message.offset() or 0, message.error()
            end = places[number][1]
            if error is None:
                if offset < end:
                    found.append(message)
                offset += 1
            elif error.code() != ck.KafkaError._PARTITION_EOF:
                failed(error)
                continue
            elif not waits_for_transactions:
                offset = end
            if offset >= end:
                waiting.discard(number)
        yield Chunk(found, waiting)


def patiently(consumer: ck.Consumer, most: int, silence_s: float, silent: Exception) -> Consume:
    """Consumes at most `most` records per call; raises `silent` after `silence_s` without a record."""
    waited = 0

    def consume() -> Sequence[ck.Message]:
        nonlocal waited
        found = consumer.consume(most, WAIT_S)
        waited = 0 if found else waited + 1
        if waited * WAIT_S > silence_s:
            raise silent
        return found

    return consume
