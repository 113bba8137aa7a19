"""Reference data into its compacted topic: each version once, and never changed.

A version that was published prices sessions, so the same key with other content is refused before anything is sent:
with it a replay would price otherwise than the first run did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.edge.producer import METADATA_TIMEOUT_S, produce
from pipeline.errors import Unavailable, WrongUsage

Document = tuple[str, bytes]
"""Key (the version's identity), and the content in canonical form."""

Config = Mapping[str, str | int | float | bool]
READ_TIMEOUT_S = 60.0


class Published(NamedTuple):
    new: int
    known: int
    """Already there with the same content."""


def publish(topic: str, documents: Sequence[Document], reader: Config, writer: Config) -> Published:
    """Sends what the topic does not hold yet, in the order given, and waits for the broker's answers.

    `reader`, `writer`: properties of a client and of an idempotent producer (kafka_config.py).

    Raises WrongUsage (a version that exists with other content; nothing was sent then) or Unavailable.
    """
    known = dict(_read(topic, reader))
    fresh: dict[str, bytes] = {}
    for key, value in documents:
        if known.get(key, value) != value or fresh.get(key, value) != value:
            raise WrongUsage(
                f"{topic}: {key} is published with other content; a version never changes: give it a new one"
            )
        if key not in known:
            fresh[key] = value
    if fresh:
        report = produce([(0, key.encode(), value) for key, value in fresh.items()], topic, writer)
        if report.failed:
            raise Unavailable(f"{topic}: {report.failed} records refused by the broker: {report.first_error}")
    return Published(len(fresh), len(documents) - len(fresh))


def _read(topic: str, config: Config) -> Iterator[tuple[str, bytes]]:
    """Keys and values of the topic, which has one partition."""
    consumer = Consumer(
        dict(config)
        | {"group.id": "publisher", "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 0}
        | {"isolation.level": "read_committed"}
    )
    try:
        found = consumer.list_topics(timeout=METADATA_TIMEOUT_S).topics.get(topic)
        if found is None or len(found.partitions) != 1:
            raise WrongUsage(
                f"topic {topic} does not exist with one partition; make it with `chargeline topics create`"
            )
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        last = time.monotonic()
        while True:
            messages = consumer.consume(10_000, 0.2)
            if messages:
                last = time.monotonic()
            elif time.monotonic() - last > READ_TIMEOUT_S:
                raise Unavailable(f"{topic}: no answer from the broker for {READ_TIMEOUT_S:.0f} s")
            for message in messages:
                error = message.error()
                if error is None:
                    yield (message.key() or b"").decode(errors="replace"), message.value() or b""
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                else:
                    raise Unavailable(f"{topic}: {error.str()}")
    except KafkaException as error:
        raise Unavailable(f"no Kafka broker answers: {error.args[0].str()}; is `chargeline up` running?") from error
    finally:
        consumer.close()
