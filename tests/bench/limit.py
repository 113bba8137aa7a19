"""The limit: what one Python process can do at all with confluent-kafka. Consume, decode, update a dictionary.

No offsets, no output, no durable state. `python -m tests.bench.limit KAFKA TOPIC` prints its count.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

BATCH = 10_000


def batches(kafka: str, topic: str) -> Iterator[Sequence[Message]]:
    """All partitions of the topic from the beginning, without a group; empty batches while nothing is new."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "bench-limit",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 4_000_000,
            "queued.min.messages": 100_000,
        }
    )
    found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in found])
    try:
        while True:
            yield consumer.consume(BATCH, 0.1)
    finally:
        consumer.close()


def loop(source: Iterator[Sequence[Message]], report: Callable[[int], bool]) -> dict[str, tuple[Any, Any]]:
    """Last time and register of each station; `report` is told the count now and then, and says when to stop."""
    stations: dict[str, tuple[Any, Any]] = {}
    done, told = 0, 0.0
    decode = orjson.loads
    for messages in source:
        for message in messages:
            event = decode(message.value() or b"")
            if "station_id" in event:  # a clock tick has none
                stations[event["station_id"]] = (event["event_time_us"], event["register_wh"])
        done += len(messages)
        now = time.monotonic()
        if now - told > 0.05:
            told = now
            if not report(done):
                break
    return stations


def _print(done: int) -> bool:
    print(done, flush=True)
    return True


if __name__ == "__main__":
    loop(batches(sys.argv[1], sys.argv[2]), _print)
