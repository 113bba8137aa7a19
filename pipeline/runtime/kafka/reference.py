"""Reads small topics whole and follows them: reference data that every worker holds.

A separate thread collects the records; the user of the data takes them with `drain` in its own thread. The reader
commits no offsets: each start reads from the beginning.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import NamedTuple

import confluent_kafka as ck

from pipeline.errors import Unavailable
from pipeline.kafka_rights import Right
from pipeline.runtime.kafka.config import STEADY, Client
from pipeline.runtime.kafka.retry import Waits

SHORTER = (
    "topic {topic} has fewer records than this worker has read: it was restored or recreated. The next "
    "start reads what it holds now; see ops/runbooks/reference-topics.md"
)


class Record(NamedTuple):
    """One record, or (value None) the note that the topic is read up to `offset`, exclusive."""

    topic: str
    offset: int
    value: bytes | None


class ReferenceReader:
    """Follows partition 0 of each of `topics`, which have no other; read committed."""

    def __init__(self, client: Client, topics: Sequence[str], name: str) -> None:
        self._records: queue.SimpleQueue[Record | BaseException] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._consumer = ck.Consumer(
            dict(STEADY)
            | dict(client)
            | {
                "group.id": f"{name}-reference",  # required; it never joins and never commits
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "auto.offset.reset": "error",
            }
        )
        self._consumer.assign([ck.TopicPartition(topic, 0, ck.OFFSET_BEGINNING) for topic in topics])
        self._thread = threading.Thread(target=self._run, name=f"{name}-reference", daemon=True)

    def start(self, waits: Waits) -> None:
        """`waits` belongs to the stage that needs the data."""
        self._waits = waits
        self._thread.start()

    def drain(self) -> Sequence[Record]:
        """The records since the last call. Raises the error that ended the reading."""
        found: list[Record] = []
        while True:
            try:
                each = self._records.get_nowait()
            except queue.Empty:
                return found
            if isinstance(each, BaseException):
                raise each
            found.append(each)

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for message in self._consumer.consume(1000, 0.1):
                    self._take(message)
        except BaseException as error:  # `drain` raises it in the thread that can act on it
            self._records.put(error)
        finally:
            self._consumer.close()

    def _take(self, message: ck.Message) -> None:
        topic, offset, error = message.topic() or "", message.offset() or 0, message.error()
        right = Right("Read", "topic", topic)
        if error is None or error.code() == ck.KafkaError._PARTITION_EOF:
            self._waits.granted(right)
        if error is None:
            self._records.put(Record(topic, offset, message.value()))
            self._records.put(Record(topic, offset + 1, None))
        elif error.code() == ck.KafkaError._PARTITION_EOF:
            self._records.put(Record(topic, offset, None))
        elif error.code() == ck.KafkaError._AUTO_OFFSET_RESET:
            raise Unavailable(SHORTER.format(topic=topic))
        elif not self._waits.denied(error, right) and error.fatal():
            raise ck.KafkaException(error)
