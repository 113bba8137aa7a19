"""Whether the topics of a stage are there and fit together."""

from __future__ import annotations

import time

import confluent_kafka as ck
from confluent_kafka.admin import AdminClient

from pipeline.errors import WrongUsage
from pipeline.runtime.config import STEADY, StageConfig
from pipeline.runtime.retry import BROKER, CALL_S, Backoff, Waits


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
