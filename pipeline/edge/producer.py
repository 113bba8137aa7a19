"""Records into one topic through an idempotent producer: back-pressure, pacing, and a count of what is acknowledged.

The order of records is kept in each partition. A record without a key is a clock tick: every partition gets it. The
properties of the client are an argument (kafka_config.producer_config).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.edge.reading import partitions
from pipeline.errors import Unavailable
from pipeline.kafka_rights import Right, is_denied, lacking, said
from pipeline.wire.control import Control

Record = tuple[int, bytes | None, bytes]
"""When it is due (us UTC), key (None: a clock tick), value."""

BY_KEY = -1
"""librdkafka's value for "the partitioner decides"."""
POLL_EVERY = 1_000
LONGEST_WAIT_US = 3_600_000_000
FLUSH_TIMEOUT_S = 120.0


class Report(msgspec.Struct, kw_only=True):
    """The result for all records. `acknowledged` and `failed` count Kafka records, ticks once per partition."""

    events: int = 0
    ticks: int = 0
    acknowledged: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    first_error: str = ""

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self.failed += 1
            self.first_error = self.first_error or error.str()


def produce(
    records: Iterable[Record],
    topic: str,
    config: Mapping[str, str | int | float | bool],
    on_progress: Callable[[int], None] = lambda sent: None,
) -> Report:
    """Sends all records and waits until the broker has answered for each of them.

    `on_progress` is called with the number of events sent since its last call. Raises Unavailable if no broker
    answers or records stay unanswered, WrongUsage if the topic does not exist; records that the broker refused are
    counted in the report.
    """
    report, began = Report(), time.monotonic()
    with sending(topic, config, report) as send:
        for _, key, value in records:
            if key is None:
                report.ticks += 1
                for partition in send.partitions:
                    send(key, value, partition)
            else:
                report.events += 1
                report.bytes += len(value)
                send(key, value)
                if report.events % POLL_EVERY == 0:
                    send.serve()
                    on_progress(POLL_EVERY)
    report.seconds = time.monotonic() - began
    on_progress(report.events % POLL_EVERY)
    return report


def signed(records: Iterable[Record], control: Control) -> Iterator[Record]:
    """The records with their clock ticks signed; workers believe no others."""
    for record in records:
        yield record if record[1] is not None else (record[0], None, control.sign(record[2]))


class Send:
    """Sends one record; waits for room when the producer's queue is full: the broker sets the pace."""

    def __init__(self, producer: Producer, topic: str, partitions: Sequence[int], report: Report) -> None:
        self.partitions = partitions
        self._producer = producer
        self._topic = topic
        self._report = report
        self.denied = False
        """Kafka's access control has refused a record."""

    def __call__(
        self,
        key: bytes | None,
        value: bytes | None,
        partition: int = BY_KEY,
        headers: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        deliver = self._delivered
        while True:
            try:
                self._producer.produce(self._topic, value, key, partition, deliver, headers=list(headers.items()))
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        self.denied |= is_denied(error)
        self._report.delivered(error, message)

    def serve(self) -> None:
        """Takes the broker's answers that have arrived."""
        self._producer.poll(0)


@contextmanager
def sending(topic: str, config: Mapping[str, str | int | float | bool], report: Report) -> Iterator[Send]:
    """When the block has ended, each record sent in it is acknowledged, or counted as failed in `report`.

    Raises as `produce` does.
    """
    producer = Producer({"log_level": 0} | dict(config))  # what goes wrong is said once, by this function
    try:
        send = Send(producer, topic, partitions(producer, topic, config), report)
        yield send
        waiting = producer.flush(FLUSH_TIMEOUT_S)
    except KafkaException as error:
        why = said(error.args[0], config, Right("Write", "topic", topic))
        raise Unavailable(f"topic {topic}: the producer gave up: {why}") from error
    if send.denied:
        raise Unavailable(lacking(config, Right("Write", "topic", topic)))
    if waiting:
        raise Unavailable(f"topic {topic}: {waiting} records without an answer after {FLUSH_TIMEOUT_S:.0f} s")


def paced(records: Iterable[Record], speed: float) -> Iterator[Record]:
    """The records at `speed` times the pace at which they are due; 0 = as fast as possible.

    Gaps of an hour or more, as between the ticks that end a log, are skipped.
    """
    if speed <= 0:
        yield from records
        return
    began, waited_us, last_us = time.monotonic(), 0, 0
    for record in records:
        step_us = record[0] - (last_us or record[0])
        waited_us += step_us if step_us < LONGEST_WAIT_US else 0
        last_us = record[0]
        ahead_s = waited_us / 1e6 / speed - (time.monotonic() - began)
        if ahead_s > 0.001:
            time.sleep(ahead_s)
        yield record


def limited_rate(records: Iterable[Record], per_second: float) -> Iterator[Record]:
    """The records at a steady `per_second`, whenever they are due; 0 = as fast as possible."""
    if per_second <= 0:
        yield from records
        return
    began = time.monotonic()
    for number, record in enumerate(records):
        ahead_s = number / per_second - (time.monotonic() - began)
        if ahead_s > 0.001:
            time.sleep(ahead_s)
        yield record
