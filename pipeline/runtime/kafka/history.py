"""Implements runtime.partition.ports.History on a real broker, with a consumer and an admin client per restore.

It repeats unanswered requests as long as the restore is wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.kafka_rights import Right
from pipeline.runtime.kafka.config import STEADY, StageConfig
from pipeline.runtime.kafka.reading import read_to_ends
from pipeline.runtime.kafka.retry import BROKER, CALL_S, Backoff, Waits
from pipeline.runtime.kafka.topics import topic_id
from pipeline.runtime.partition.changelog import ACCEPTED, decode_metadata
from pipeline.runtime.partition.ports import Committed

Result = TypeVar("Result")

ENDLESS_S = 60.0
"""An open transaction times out long before this; one that does not end was lost by the broker itself."""


class Cancelled(Exception):
    """The partitions of a restore were revoked while it ran."""


class KafkaHistory:
    """Implements runtime.partition.ports.History for one restore; calls `cancelled` between its requests."""

    def __init__(self, config: StageConfig, waits: Waits, cancelled: Callable[[], bool]) -> None:
        self._config = config
        self._waits = waits
        self._cancelled = cancelled
        self.progress = "no record yet"
        self._reader = ck.Consumer(
            dict(STEADY)
            | dict(config.client)
            | {
                "group.id": config.group,  # to ask for its offsets; it never joins and never commits
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            },
        )
        self._admin = AdminClient(dict(STEADY) | dict(config.client))
        self._endless = ""

    def close(self) -> None:
        self._waits.troubles.clear(self._endless)
        self._reader.close()

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Committed]:
        source = [ck.TopicPartition(self._config.source, number) for number in partitions]
        reading = Right("Read", "topic", self._config.source)
        answers = self._ask(
            "committed offsets",
            Right("Read", "group", self._config.group),
            lambda: _sound(self._reader.committed(source, CALL_S)),
        )
        source_id = self._ask("id of the topic", reading, lambda: topic_id(self._admin, self._config.source))
        found: dict[int, Committed] = {}
        for answer in answers:
            place = ck.TopicPartition(self._config.source, answer.partition)
            first, end = self._ask("first offset", reading, partial(self._reader.get_watermark_offsets, place, CALL_S))
            oldest, watermark = decode_metadata(answer.metadata)
            offset = None if answer.offset < 0 else answer.offset
            accepted = answer.metadata == ACCEPTED
            found[answer.partition] = Committed(offset, oldest, first, watermark, end, source_id, accepted)
        return found

    def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent-kafka leaves it untyped
        asked = {ck.TopicPartition(self._config.changelog, number): latest for number in partitions}

        def ask() -> Mapping[int, int]:
            answers = self._admin.list_offsets(asked, isolation_level=ck.IsolationLevel.READ_UNCOMMITTED)
            return {place.partition: answer.result(CALL_S).offset for place, answer in answers.items()}

        return self._ask("ends of the changelog", Right("Read", "topic", self._config.changelog), ask)

    def read(self, ends: Mapping[int, int]) -> Iterator[Sequence[tuple[int, bytes, bytes | None]]]:
        topic = self._config.changelog
        total, done = sum(ends.values()), 0
        places = {number: (ck.OFFSET_BEGINNING, end) for number, end in ends.items()}
        chunks = read_to_ends(self._reader, topic, places, self._consume, self._failed, waits_for_transactions=True)
        for found, waiting in chunks:
            done += len(found)
            if found:
                self._waits.granted(Right("Read", "topic", topic))
            self._note_endless(waiting, is_moving=bool(found))
            self.progress = f"{done} records of offsets up to {total}, partitions left: {sorted(waiting)}"
            yield [(message.partition() or 0, message.key() or b"", message.value()) for message in found]

    def _failed(self, error: ck.KafkaError) -> None:
        if error.fatal():
            raise ck.KafkaException(error)
        self._waits.denied(error, Right("Read", "topic", self._config.changelog))
        self._waits.missed(BROKER, "reading the changelog", error.name(), time.monotonic())

    def _note_endless(self, waiting: set[int], *, is_moving: bool) -> None:
        """Reports a transaction that the broker has lost track of: it blocks later records until an operator helps."""
        topic, name = self._config.changelog, f"{self._config.changelog} {sorted(waiting)} does not end"
        if is_moving or name != self._endless:
            self._waits.troubles.clear(self._endless)
            self._endless = name
        elif waiting:
            sentence = (
                f"partitions {sorted(waiting)} of {topic} cannot be read to their ends: a transaction is open there "
                "that nobody ends; name it with `kafka-transactions.sh find-hanging` and end it with `abort`, or "
                "restart the broker that leads them"
            )
            self._waits.troubles.report(name, sentence, ENDLESS_S)

    def _consume(self) -> list[ck.Message]:
        if self._cancelled():
            raise Cancelled
        found = self._reader.consume(10_000, 0.05)
        if found:
            return found
        with self._waits.declared("open transaction or broker"):  # of a dead owner: ends with its time-out
            return self._reader.consume(10_000, 0.5)

    def _ask(self, what: str, right: Right, call: Callable[[], Result]) -> Result:
        backoff, began = Backoff(), time.monotonic()
        while True:
            if self._cancelled():
                raise Cancelled
            try:
                with self._waits.declared(BROKER):
                    answer = call()
                self._waits.granted(right)
                return answer
            except (ck.KafkaException, TimeoutError) as error:
                if not (isinstance(error, ck.KafkaException) and self._waits.denied(error.args[0], right)):
                    self._waits.missed(BROKER, what, error, began)
                with self._waits.declared(BROKER):
                    time.sleep(backoff.pause_s())


def _sound(answers: list[ck.TopicPartition]) -> list[ck.TopicPartition]:
    for answer in answers:
        if answer.error is not None:
            raise ck.KafkaException(answer.error)
    return answers
