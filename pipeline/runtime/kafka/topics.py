"""Checks that the topics of a stage exist and fit together, and watches whether they are replaced."""

from __future__ import annotations

import time
from collections.abc import Sequence

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from pipeline.errors import WrongUsage
from pipeline.kafka_rights import Operation, Right
from pipeline.runtime.kafka.config import STEADY, StageConfig
from pipeline.runtime.kafka.retry import BROKER, CALL_S, Backoff, Waits

REFERENCE_REPLACED = (
    "topic {topic} was deleted and recreated while this worker read it; the next start reads what it holds now; "
    "see ops/runbooks/reference-topics.md"
)
GONE = "{topic} cannot be looked at ({why}): was it deleted? Nothing is read; see ops/runbooks/lost-records.md"


def partitions_of(config: StageConfig, waits: Waits) -> int:
    """Partitions of the source; waits for the broker. Raises WrongUsage when a topic is missing or does not fit."""
    admin = AdminClient(dict(STEADY) | dict(config.client))
    backoff, began = Backoff(), time.monotonic()
    wanted = (config.source, config.changelog, *config.outputs)
    while True:
        try:
            found = admin.list_topics(timeout=CALL_S).topics
            hidden = [topic for topic in wanted if topic not in found and _hidden(admin, topic, waits)]
            if not hidden:
                break
        except ck.KafkaException as error:
            waits.missed(BROKER, "listing topics", error.args[0].name(), began)
        with waits.declared(BROKER):
            time.sleep(backoff.pause_s())
    for topic in wanted:
        if topic not in found:
            raise WrongUsage(f"topic {topic} does not exist on {config.client['bootstrap.servers']}: create the topics")
        waits.granted(Right("Describe", "topic", topic))
    source = len(found[config.source].partitions)
    for topic in wanted:
        if (count := len(found[topic].partitions)) != source:
            raise WrongUsage(f"{topic} has {count} partitions, it needs the {source} of {config.source}")
    return source


def _hidden(admin: AdminClient, topic: str, waits: Waits) -> bool:
    """Whether the list lacks the topic only because this client may not see it."""
    return waits.denied(admin.list_topics(topic, timeout=CALL_S).topics[topic].error, Right("Describe", "topic", topic))


def topic_id(admin: AdminClient, topic: str) -> str:
    """Kafka's id of the topic; a recreated topic has a new one. Raises KafkaException, TimeoutError."""
    return str(admin.describe_topics(ck.TopicCollection([topic]))[topic].result(CALL_S).topic_id)


class TopicWatch:
    """Checks the topics of a stage: do they exist, may this client use them, are they still the same ones?

    A consumer silently continues in a recreated topic from its old offsets, and the error of a refused transaction does
    not name the topic (both measured).
    """

    def __init__(self, config: StageConfig, waits: Waits) -> None:
        self._admin = AdminClient(dict(STEADY) | dict(config.client))
        self._needs: dict[str, set[Operation]] = {config.source: {"Read"}, config.changelog: {"Read", "Write"}}
        for topic in (*config.outputs, *config.writes):
            self._needs.setdefault(topic, set()).add("Write")
        for topic in config.reads:
            self._needs.setdefault(topic, set()).add("Read")
        self._waits = waits
        self._ids: dict[str, str] = {}

    def replaced(self) -> Sequence[str]:
        """Topics that were replaced since the last call. Blocks; reports a problem with any topic as a trouble."""
        asked = ck.TopicCollection(list(self._needs))
        replaced: list[str] = []
        for topic, answer in self._admin.describe_topics(asked, include_authorized_operations=True).items():
            try:
                found = answer.result(CALL_S)
            except (ck.KafkaException, TimeoutError) as error:
                self._missing(topic, error)
                continue
            self._waits.troubles.clear(topic)
            self._waits.granted(Right("Describe", "topic", topic))
            allowed = {each.name.title() for each in found.authorized_operations or ()}
            for operation in sorted(self._needs[topic]) if allowed else ():
                self._waits.judged(Right(operation, "topic", topic), operation in allowed)
            known, self._ids[topic] = self._ids.get(topic), str(found.topic_id)
            if known not in (None, self._ids[topic]):
                replaced.append(topic)
        return replaced

    def _missing(self, topic: str, error: Exception) -> None:
        """Reports a missing topic. Other callers wait for a broker that is away and report that."""
        cause = error.args[0] if isinstance(error, ck.KafkaException) else None
        if cause is not None and cause.code() == ck.KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._waits.troubles.report(topic, GONE.format(topic=topic, why=cause.str()))
        else:
            self._waits.denied(cause, Right("Describe", "topic", topic))
