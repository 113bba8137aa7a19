"""A topic of ours read from outside: committed records up to the end as it is at the beginning. Nothing is committed.

Used by commands that look at a topic or export it; the stages have consumers of their own (runtime/).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_rights import Right, is_denied, lacking, said
from pipeline.runtime.kafka.reading import patiently, read_to_ends

Properties = Mapping[str, str | int | float | bool]

TIMEOUT_S = 10.0
_MOVED = frozenset({KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE})
SILENCE_S = 30.0
"""Without a record or an end of a partition for this long, the broker is given up."""


def read_topic(
    config: Properties,
    topic: str,
    on_progress: Callable[[int], None] = lambda records: None,
    partition: int | None = None,
) -> Iterator[Message]:
    """All records, or those of one `partition`; of one partition in order.

    Raises Unavailable, WrongUsage if the topic does not exist.
    """
    consumer = reader(config, topic)
    try:
        places = partitions(consumer, topic, config) if partition is None else [partition]
        ends = {place: (OFFSET_BEGINNING, watermarks(consumer, topic, place, config)[1]) for place in places}
        silent = Unavailable(f"topic {topic}: the broker says nothing for {SILENCE_S:.0f} s")

        def failed(error: KafkaError) -> None:
            raise Unavailable(f"topic {topic}: {_needs_reading(error, topic, config)}")

        for found, _ in read_to_ends(consumer, topic, ends, patiently(consumer, 1_000, SILENCE_S, silent), failed):
            yield from found
            on_progress(len(found))
    finally:
        consumer.close()


def reader(config: Properties, topic: str) -> Consumer:
    return Consumer(
        dict(config)
        | {
            "group.id": f"{topic}-{uuid4()}",  # required by the client; it joins no group and commits nothing
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "log_level": 0,
        }
    )


def partitions(client: Consumer | Producer, topic: str, config: Properties) -> list[int]:
    """Raises Unavailable without a broker or without the right, WrongUsage without the topic."""
    try:
        found = client.list_topics(timeout=TIMEOUT_S).topics.get(topic)
        if found is None:  # or not to be seen by us
            found = client.list_topics(topic, timeout=TIMEOUT_S).topics.get(topic)
    except KafkaException as error:
        raise Unavailable(
            f"no Kafka broker answers: {error.args[0].str()}; is CHARGELINE_KAFKA right? Is `chargeline up` running?"
        ) from error
    if found is not None and is_denied(found.error):
        raise Unavailable(lacking(config, Right("Describe", "topic", topic)))
    if found is None or not found.partitions:
        raise WrongUsage(f"topic {topic} does not exist; make it with `chargeline topics create`")
    return sorted(found.partitions)


def watermarks(consumer: Consumer, topic: str, partition: int, config: Properties) -> tuple[int, int]:
    """First offset, and the end of what is committed. A partition whose leader has just changed is asked again."""
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _MOVED or time.monotonic() > until:
                raise Unavailable(f"topic {topic}: {_needs_reading(error.args[0], topic, config)}") from error
            time.sleep(0.2)


def is_end(message: Message, topic: str, config: Properties) -> bool:
    """Is it the end of its partition? Raises Unavailable for any other error."""
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    raise Unavailable(f"topic {topic}: {_needs_reading(error, topic, config)}")


def _needs_reading(error: KafkaError, topic: str, config: Properties) -> str:
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return said(error, config, Right("Read", "group", f"{topic}- --resource-pattern-type prefixed"))
    return said(error, config, Right("Read", "topic", topic))
