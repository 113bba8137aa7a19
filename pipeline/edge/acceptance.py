"""An operator accepts a topic that was recreated or is shorter than before: its stage goes on with its state."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.edge.reading import TIMEOUT_S, Properties, partitions, read_topic, watermarks
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_rights import Right, said
from pipeline.runtime.kafka.topics import topic_id
from pipeline.runtime.partition.changelog import ACCEPTED, archive_key
from pipeline.runtime.partition.restore import SOURCE

_MEMBERS = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS})


def accept(config: Properties, group: str, topic: str, changelog: str) -> Sequence[TopicPartition]:
    """The offset from which `group` reads each partition of `topic` at its next start; only those that need it.

    A partition of a recreated topic is read from its beginning, one that has lost its end from its present end.
    `changelog` shows from which topic the state was made. Raises WrongUsage when workers of the group run, Unavailable
    without a broker.
    """
    consumer = Consumer(dict(config) | {"group.id": group, "enable.auto.commit": False, "log_level": 0})
    try:
        present = topic_id(AdminClient(dict(config)), topic)
        known = {
            message.partition(): (message.value() or b"").decode()
            for message in read_topic(config, changelog)
            if message.key() == archive_key(b"", SOURCE)
        }
        places = [TopicPartition(topic, number) for number in partitions(consumer, topic, config)]
        accepted: list[TopicPartition] = []
        for place in consumer.committed(places, TIMEOUT_S):
            first, end = watermarks(consumer, topic, place.partition, config)
            if place.offset < 0 or known.get(place.partition, present) != present:
                accepted.append(TopicPartition(topic, place.partition, first, ACCEPTED))
            elif place.offset > end:
                accepted.append(TopicPartition(topic, place.partition, end, ACCEPTED))
        if accepted:
            consumer.commit(offsets=accepted, asynchronous=False)
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() in _MEMBERS:
            raise WrongUsage(f"group {group} has members: stop all workers first; nothing was changed") from error
        raise Unavailable(f"offsets: {said(cause, config, Right('Read', 'group', group))}") from error
    finally:
        consumer.close()
    return accepted
