"""Implements runtime.partition.ports.Recall on a real broker, with a new consumer per call because calls are rare.

It blocks the event loop, so it does not wait for a broker that is away: TransactionLost leads to the next attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import confluent_kafka as ck

from pipeline.runtime.kafka.config import STEADY, StageConfig
from pipeline.runtime.kafka.reading import patiently, read_to_ends
from pipeline.runtime.partition.ports import TransactionLost
from pipeline.topics import QUARANTINE
from pipeline.wire.dead_letters import headers_of
from pipeline.wire.quarantine import Kept, decode_kept

CHUNK = 10_000
"""Records per read."""
SILENCE_S = 4.0
"""The broker counts as away after this long without a record."""


class KafkaRecall:
    """Implements runtime.partition.ports.Recall."""

    def __init__(self, config: StageConfig) -> None:
        self._config = config

    def source(self, partition: int, start: int, end: int) -> Iterator[ck.Message]:
        for chunk in self._read(self._config.source, partition, start, end):
            yield from chunk

    def kept(self, partition: int, source: str) -> Iterator[Sequence[tuple[bytes, Kept | None]]]:
        for chunk in self._read(QUARANTINE.name, partition, 0, None):
            yield list(_kept(chunk, source))

    def _read(self, topic: str, partition: int, start: int, end: int | None) -> Iterator[Sequence[ck.Message]]:
        """Committed records from `start` to `end`, or to the end that the partition has now."""
        with self._reader() as reader:
            place = ck.TopicPartition(topic, partition)
            try:
                first, last = reader.get_watermark_offsets(place, SILENCE_S)
            except ck.KafkaException as error:
                raise TransactionLost(f"reading {topic} again: {error.args[0].name()}") from error
            if end is not None and first > start:
                raise LookupError(f"{topic} partition {partition}: records {start} to {first - 1} are gone")
            until = last if end is None else min(end, last)
            silent = TransactionLost(f"reading {topic} again: no answer")
            consume = patiently(reader, CHUNK, SILENCE_S, silent)
            places = {partition: (max(start, first), until)}
            for chunk in read_to_ends(reader, topic, places, consume, _heals):
                yield chunk.messages

    @contextmanager
    def _reader(self) -> Iterator[ck.Consumer]:
        reader = ck.Consumer(
            dict(STEADY)
            | dict(self._config.client)
            | {
                "group.id": self._config.group,  # the client wants one; it never joins and never commits
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
            }
        )
        try:
            yield reader
        finally:
            reader.close()


def _heals(error: ck.KafkaError) -> None:
    """Ignores an error: one that lasts ends as silence."""


def _kept(chunk: Iterable[ck.Message], source: str) -> Iterator[tuple[bytes, Kept | None]]:
    for message in chunk:
        key, value = message.key() or b"", message.value()
        if value is None:
            yield key, None
        elif (found := decode_kept(key, value, headers_of(message.headers()), source)) is not None:
            yield key, found
