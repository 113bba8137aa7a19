"""`chargeline topics`: makes the broker's topics as schemas/topics/*.yaml declares them.

It aligns configuration but not partition counts, because they decide which station goes to which partition.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from pipeline.cli.acls import acls_command, users_command
from pipeline.cli.declared import Declared, declared_topics
from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo
from pipeline.edge import acceptance, publisher
from pipeline.errors import Unavailable, WrongUsage
from pipeline.kafka_config import client_config, producer_config
from pipeline.kafka_rights import Right, is_denied, lacking, said
from pipeline.topics import CONNECTOR_STATUS, METER_EVENTS, PRICE_SIGNALS, SITE_STATE, SITES, STATION_STATE, TARIFFS

TIMEOUT_S = 10.0
STAGES = {METER_EVENTS.name: ("assemble", STATION_STATE.name), CONNECTOR_STATUS.name: ("occupy", SITE_STATE.name)}
"""The stage whose state follows from a topic, and where that is."""


def create_topics(
    admin: AdminClient,
    topics: Sequence[Declared],
    replication_factor: int | None = None,
    client: Mapping[str, object] | None = None,
) -> list[str]:
    """Create what is missing and align the configuration of the rest; returns what was done, a sentence each.

    `replication_factor` replaces the declared one. Raises WrongUsage, before anything is done, if a topic exists with
    another number of partitions; Unavailable if the broker does not answer or refuses.
    """
    existing = {name: len(topic.partitions) for name, topic in _found(admin).items()}
    for topic in topics:
        if existing.get(topic.name, topic.partitions) != topic.partitions:
            raise WrongUsage(
                f"topic {topic.name} has {existing[topic.name]} partitions, schemas/topics says {topic.partitions}: "
                "the number is never changed, because stations would move away from their state; "
                "nothing was done, correct the file or migrate to a new topic"
            )
    missing = [topic for topic in topics if topic.name not in existing]
    done = _create(admin, missing, replication_factor, client or {}) if missing else []
    return done + _align(admin, [topic for topic in topics if topic.name in existing], client or {})


@click.group()
def command() -> None:
    """Create and list the topics that schemas/topics declares, and who may do what with them."""


command.add_command(acls_command)
command.add_command(users_command)


@command.command()
@kafka_option
@click.option("--replication-factor", type=click.IntRange(1), help="Instead of the declared one; a fleet uses 3.")
def create(kafka: str | None, replication_factor: int | None) -> None:
    """Create the topics that are missing and align the configuration of the others. May be repeated."""
    client = client_config(settings(kafka=kafka))
    done = create_topics(AdminClient(client | {"log_level": 0}), declared_topics(), replication_factor, client)
    echo("\n".join(done) if done else "all topics are as declared")


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """What the topics are for: key, retention, who writes and reads, whether drivers' identifiers are inside."""
    for topic in declared_topics():
        facts = {
            "name": topic.name,
            "key": topic.key,
            "partitions": topic.partitions,
            "cleanup": topic.config.get("cleanup.policy", "delete"),
            "retention_ms": int(topic.config["retention.ms"]) if "retention.ms" in topic.config else None,
            "identifiers": topic.identifiers,
            "writers": topic.writers,
            "readers": topic.readers,
        }
        if as_json:
            print_json(facts)
        else:
            echo(_paragraph(topic))


@command.command()
@click.argument("topic", type=click.Choice(list(STAGES)))
@kafka_option
def accept(topic: str, kafka: str | None) -> None:
    """Go on with TOPIC as it is now, after it was deleted and recreated or has lost its end. Stop all workers first.

    The state of the stations stays: open sessions go on. Unread records of the former topic are lost. A recreated topic
    is read from its beginning, a partition that has lost its end from its present end; partitions that need no
    acceptance stay as they are. Runbook: ops/runbooks/lost-records.md.
    """
    chosen = settings(kafka=kafka)
    stage, changelog = STAGES[topic]
    group = f"{chosen.group}-{stage}"
    accepted = acceptance.accept(client_config(chosen), group, topic, changelog)
    for place in accepted:
        echo(f"{topic} partition {place.partition}: reading goes on at offset {place.offset}")
    if not accepted:
        echo(f"{topic}: nothing to accept: it is the topic that {group} has read, up to its offsets", err=True)


@command.command()
@click.argument("topic", type=click.Choice([SITES.name, TARIFFS.name, PRICE_SIGNALS.name]))
@click.argument("end", type=click.IntRange(1))
@kafka_option
def fill(topic: str, end: int, kafka: str | None) -> None:
    """Go on without reference data that is lost: fill TOPIC with records without content up to offset END.

    For a topic that was restored with fewer records than clock ticks name; /readyz of a worker says so, with numbers.
    First restore the backup and publish what is missing: records that only fill price nothing.
    """
    chosen = settings(kafka=kafka)
    filled = publisher.fill(topic, end, client_config(chosen), producer_config(chosen))
    echo(f"{topic}: {filled:,} records without content; it ends at {end} or later")


def _paragraph(topic: Declared) -> str:
    kept = topic.config.get("cleanup.policy", "delete")
    if "retention.ms" in topic.config:
        kept += f", {int(topic.config['retention.ms']) / 3_600_000:g} hours"
    return (
        f"{topic.name}: {' '.join(topic.description.split())}\n"
        f"  key          {topic.key}\n"
        f"  partitions   {topic.partitions}\n"
        f"  kept         {kept}\n"
        f"  identifiers  {'yes: restrict access' if topic.identifiers else 'none'}\n"
        f"  written by   {', '.join(topic.writers)}\n"
        f"  read by      {', '.join(topic.readers)}\n"
    )


def _found(admin: AdminClient, only: str | None = None) -> dict[str, TopicMetadata]:
    try:
        return admin.list_topics(*([only] if only else []), timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise Unavailable(
            f"Kafka does not answer: {_text(error)}; is it running, is CHARGELINE_KAFKA right?"
        ) from error


def _create(
    admin: AdminClient, topics: Sequence[Declared], replication_factor: int | None, client: Mapping[str, object]
) -> list[str]:
    for each in topics:
        if is_denied(_found(admin, each.name)[each.name].error):
            raise Unavailable(lacking(client, Right("Describe", "topic", each.name)))
    wanted = [
        NewTopic(each.name, each.partitions, replication_factor or each.replication_factor, config=each.config)
        for each in topics
    ]
    for name, future in admin.create_topics(wanted, operation_timeout=TIMEOUT_S).items():
        try:
            future.result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process created it: just as good
                why = said(error.args[0], client, Right("Create", "topic", name))
                raise Unavailable(f"topic {name} cannot be created: {why}") from error
    _await_leaders(admin, {each.name for each in topics})
    return [f"created {each.name}: {each.partitions} partitions" for each in topics]


def _await_leaders(admin: AdminClient, names: set[str]) -> None:
    """Waits, because the controller confirms before the brokers know the topic."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        found = _found(admin)
        led = {name for name in names & found.keys() if all(p.leader >= 0 for p in found[name].partitions.values())}
        if led == names:
            return
        time.sleep(0.05)
    raise Unavailable(f"topic {min(names - led)} was created, but a partition has no leader; are all brokers running?")


def _align(admin: AdminClient, topics: Sequence[Declared], client: Mapping[str, object]) -> list[str]:
    """Sets what differs from the declaration; a setting of the topic that is not declared stays."""
    if not topics:
        return []
    resources = {ConfigResource(ResourceType.TOPIC, topic.name): topic for topic in topics}
    changes: list[ConfigResource] = []
    done: list[str] = []
    right = Right("DescribeConfigs", "topic", "")
    try:
        for resource, future in admin.describe_configs(list(resources)).items():
            topic = resources[resource]
            right = right._replace(resource=topic.name)
            found = future.result(TIMEOUT_S)
            differing = {
                name: value
                for name, value in topic.config.items()
                if found[name].value != value or found[name].source != ConfigSource.DYNAMIC_TOPIC_CONFIG.value
            }
            if differing:
                entries = [
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in differing.items()
                ]
                changes.append(ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=entries))
                done.append(f"aligned {topic.name}: {', '.join(f'{n}={v}' for n, v in differing.items())}")
        if changes:
            for resource, future in admin.incremental_alter_configs(changes).items():
                right = Right("AlterConfigs", "topic", resource.name)
                future.result(TIMEOUT_S)
    except KafkaException as error:
        raise Unavailable(
            f"the topics' configuration cannot be aligned: {said(error.args[0], client, right)}"
        ) from error
    return done


def _text(error: KafkaException) -> str:
    cause = error.args[0]
    return str(cause.str()) if isinstance(cause, KafkaError) else str(cause)
