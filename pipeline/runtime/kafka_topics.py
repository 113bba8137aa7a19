"""Whether the topics of a stage are there and fit together, and whether its source is still the same one."""

from __future__ import annotations

import time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from pipeline.errors import WrongUsage
from pipeline.runtime.config import STEADY, StageConfig
from pipeline.runtime.retry import BROKER, CALL_S, Backoff, Waits

GONE = "{topic} cannot be looked at ({why}): was it deleted? Nothing is read; see ops/runbooks/lost-records.md"


def partitions_of(config: StageConfig, waits: Waits) -> int:
    """Partitions of the source; waits for the broker. Raises WrongUsage when a topic is missing or does not fit."""
    admin = AdminClient(dict(STEADY) | dict(config.client))
    backoff, began = Backoff(), time.monotonic()
    while True:
        try:
            found = admin.list_topics(timeout=CALL_S).topics
            break
        except ck.KafkaException as error:
            waits.missed(BROKER, "listing topics", error.args[0].name(), began)
            with waits.declared(BROKER):
                time.sleep(backoff.pause_s())
    wanted = (config.source, config.changelog, *config.outputs)
    for topic in wanted:
        if topic not in found:
            raise WrongUsage(f"topic {topic} does not exist on {config.client['bootstrap.servers']}: create the topics")
    source = len(found[config.source].partitions)
    for topic in wanted:
        if (count := len(found[topic].partitions)) != source:
            raise WrongUsage(f"{topic} has {count} partitions, it needs the {source} of {config.source}")
    return source


def topic_id(admin: AdminClient, topic: str) -> str:
    """Kafka's own, another one for a topic that was deleted and made anew. Raises KafkaException, TimeoutError."""
    return str(admin.describe_topics(ck.TopicCollection([topic]))[topic].result(CALL_S).topic_id)


class SourceWatch:
    """A consumer reads on in a topic that was made anew, from its old offsets, and says nothing (measured)."""

    def __init__(self, config: StageConfig, waits: Waits) -> None:
        self._admin = AdminClient(dict(STEADY) | dict(config.client))
        self._topic = config.source
        self._waits = waits
        self._id = ""

    def replaced(self) -> bool:
        """Is the source another topic than at the last call? Blocks. False without an answer; a topic that is gone is a
        trouble until it is there."""
        try:
            found = topic_id(self._admin, self._topic)
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
                self._waits.troubles.told(self._topic, GONE.format(topic=self._topic, why=error.args[0].str()))
            return False  # the broker is away: others wait for it and say so
        except TimeoutError:
            return False
        self._waits.troubles.over(self._topic)
        known, self._id = self._id, found
        return known not in ("", found)
