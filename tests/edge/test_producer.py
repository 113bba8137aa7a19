"""What the producer reports is what a real broker has, in order, where the Java clients would put it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.edge.producer import Record, limited_rate, paced, produce
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import producer_config
from pipeline.settings import Settings

PARTITIONS = 3


def a_topic(kafka: str, **config: str) -> str:
    name = f"edge-{uuid4().hex}"
    new = NewTopic(name, PARTITIONS, 1, config=config)
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([new])[name].result(20)
    return name


@pytest.fixture
def topic(kafka: str) -> str:
    return a_topic(kafka)


def stored(kafka: str, topic: str) -> list[list[tuple[bytes | None, bytes | None]]]:
    """Key and value of all records, by partition."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid4().hex, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found: list[list[tuple[bytes | None, bytes | None]]] = [[] for _ in range(PARTITIONS)]
    ends = 0
    while ends < PARTITIONS:
        for message in consumer.consume(1000, 0.5):
            if message.error():
                ends += 1
            else:
                found[message.partition() or 0].append((message.key(), message.value()))
    consumer.close()
    return found


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, as its Java clients compute it (org.apache.kafka.common.utils.Utils)."""
    mask, mixer = 0xFFFFFFFF, 0x5BD1E995
    value = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for place in range(0, whole, 4):
        part = int.from_bytes(data[place : place + 4], "little") * mixer & mask
        value = (value * mixer & mask) ^ ((part ^ part >> 24) * mixer & mask)
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * mixer & mask
    value = (value ^ value >> 13) * mixer & mask
    return value ^ value >> 15


def test_every_record_is_acknowledged_once_and_in_order(kafka: str, topic: str) -> None:
    records: list[Record] = [(at, f"CS-{at % 40}".encode(), str(at).encode()) for at in range(1, 5_001)]
    records.insert(2_500, (2_500, None, b"tick"))
    records.append((5_001, None, b"last tick"))
    steps: list[int] = []
    report = produce(records, topic, producer_config(Settings(kafka=kafka)), steps.append)
    assert (report.events, report.ticks, report.acknowledged, report.failed) == (5_000, 2, 5_000 + 2 * PARTITIONS, 0)
    assert sum(steps) == 5_000
    found = stored(kafka, topic)
    assert sum(map(len, found)) == report.acknowledged
    for partition, values in enumerate(found):
        assert values[-1] == (None, b"last tick")
        assert values.count((None, b"tick")) == 1
        numbers = [int(value or b"") for key, value in values if key is not None]
        assert numbers == sorted(numbers)
        assert {(murmur2(key) & 0x7FFFFFFF) % PARTITIONS for key, _ in values if key is not None} == {partition}


def test_a_full_queue_slows_the_source_and_loses_nothing(kafka: str, topic: str) -> None:
    config = producer_config(Settings(kafka=kafka)) | {"queue.buffering.max.messages": 10}
    report = produce(((at, b"A", b"%d" % at) for at in range(2_000)), topic, config)
    assert report.acknowledged == 2_000


def test_what_the_broker_refuses_is_counted_with_its_reason(kafka: str) -> None:
    narrow = a_topic(kafka, **{"max.message.bytes": "1000"})
    config = producer_config(Settings(kafka=kafka)) | {"linger.ms": 0, "compression.type": "none"}
    report = produce([(1, b"A", b"x" * 2_000)], narrow, config)
    assert (report.acknowledged, report.failed) == (0, 1)
    assert "size" in report.first_error.lower()


def test_a_missing_topic_is_named(kafka: str) -> None:
    with pytest.raises(WrongUsage, match="no-such-topic does not exist"):
        produce([(1, b"A", b"x")], "no-such-topic", producer_config(Settings(kafka=kafka)))


def test_a_missing_broker_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.edge.reading.TIMEOUT_S", 0.5)
    with pytest.raises(Unavailable, match="no Kafka broker answers"):
        produce([(1, b"A", b"x")], "any", producer_config(Settings(kafka="127.0.0.1:1")))


def every(step_us: int, count: int) -> Iterator[Record]:
    return ((1 + number * step_us, b"A", b"") for number in range(count))


def test_pacing_follows_the_due_times_and_skips_long_silence() -> None:
    began = time.monotonic()
    assert len(list(paced(every(1_000_000, 21), speed=100))) == 21
    assert 0.2 <= time.monotonic() - began < 0.5
    began = time.monotonic()
    assert len(list(paced(every(3_600_000_000, 26), speed=1))) == 26
    assert time.monotonic() - began < 0.1


def test_a_rate_is_kept() -> None:
    began = time.monotonic()
    assert len(list(limited_rate(every(1, 101), per_second=500))) == 101
    assert 0.2 <= time.monotonic() - began < 0.5
