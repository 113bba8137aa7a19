"""Every role tries everything on a secured broker: it can do its work, and each other operation is refused.

The table below is written by hand from what each role is for, not read from schemas/topics: both must agree.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from pipeline.access import ROLES
from pipeline.cli.acls import apply_acls, apply_users
from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.embedded.kafka_secured import Credentials, create
from pipeline.errors import WrongUsage
from pipeline.topics import TOPICS

pytestmark = pytest.mark.verify

GROUP = "chargeline"
LIMIT_S = 15.0
REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}


class May(NamedTuple):
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()


def may(reads: str = "", writes: str = "") -> May:
    return May(frozenset(reads.split()), frozenset(writes.split()))


MATRIX: Mapping[str, May] = {
    "topics": may(),
    "producer": may(writes="meter-events"),
    "gateway": may(writes="meter-events"),
    "assemble": may(
        reads="meter-events station-state sites tariffs price-signals quarantine",
        writes="meter-events station-state sessions session-updates anomalies receipts connector-status dead-letters "
        "quarantine rejections",
    ),
    "occupy": may(
        reads="connector-status site-state quarantine",
        writes="connector-status site-state price-signals anomalies dead-letters quarantine rejections",
    ),
    "store": may(reads="sessions anomalies rejections"),
    "publisher": may(reads="sites tariffs price-signals", writes="sites tariffs price-signals"),
    "billing": may(reads="receipts", writes="meter-events"),
    "operator": may(reads="dead-letters quarantine", writes="meter-events connector-status"),
    "alerts": may(reads="anomalies"),
    "apps": may(reads="session-updates"),
    "analyst": may(),
}


class Secured(NamedTuple):
    bootstrap: str
    credentials: Credentials

    def client(self, role: str) -> dict[str, str | int | float | bool]:
        return {"bootstrap.servers": self.bootstrap, "log_level": 0, **self.credentials.properties(role)}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder: Path = tmp_path_factory.mktemp("secured")
    credentials = create(folder / "access", list(ROLES))
    with EmbeddedKafka(folder / "kafka", 0, heap_mb=512, credentials=credentials) as kafka:
        found = Secured(kafka.bootstrap, credentials)
        admin = AdminClient(found.client("admin"))
        apply_users(admin, credentials)
        apply_acls(admin, GROUP)
        _let_probe(admin)
        create_topics(AdminClient(found.client("topics")), declared_topics())
        yield found


def test_the_table_names_every_role_and_only_topics_that_exist() -> None:
    assert MATRIX.keys() == ROLES.keys()
    assert {name for each in MATRIX.values() for name in each.reads | each.writes} == TOPICS.keys()


@pytest.mark.parametrize("role", ROLES)
def test_each_role_reads_and_writes_its_topics_and_no_other(secured: Secured, role: str) -> None:
    allowed = MATRIX[role]
    tried = {("write", name): done for name, done in _write(secured, role).items()}
    tried |= {("read", name): done for name, done in _read(secured, role).items()}
    wanted = {("write", name): name in allowed.writes for name in TOPICS}
    wanted |= {("read", name): name in allowed.reads for name in TOPICS}
    assert tried == wanted
    print(f"{role}: {Counter(tried.values())[True]} allowed, {Counter(tried.values())[False]} refused")


@pytest.mark.parametrize("role", ROLES)
def test_only_a_stage_joins_its_group_and_takes_its_transactional_id(secured: Secured, role: str) -> None:
    stages = ("assemble", "occupy", "store")
    for stage in stages:
        assert _join(secured, role, f"{GROUP}-{stage}") is (role == stage), stage
    for stage in stages:
        able = role == stage and stage != "store"
        assert _begin(secured, role, f"{GROUP}-{stage}-0") is able, stage


@pytest.mark.parametrize("role", ROLES)
def test_nobody_but_the_administrator_changes_topics_or_rights(secured: Secured, role: str) -> None:
    admin = AdminClient(secured.client(role))
    topic, rule = NewTopic("not-ours", 1, 1), _allow(role, ResourceType.TOPIC, "receipts", AclOperation.READ)
    assert _done(lambda: admin.create_topics([topic])["not-ours"].result(LIMIT_S)) is False
    assert _done(lambda: admin.delete_topics(["receipts"])["receipts"].result(LIMIT_S)) is False
    assert _done(lambda: admin.create_acls([rule])[rule].result(LIMIT_S)) is False
    described = ConfigResource(ResourceType.TOPIC, "receipts")
    assert _done(lambda: admin.describe_configs([described])[described].result(LIMIT_S)) is (role == "topics")


def test_a_denial_stays_when_the_rights_are_aligned(secured: Secured) -> None:
    admin = AdminClient(secured.client("admin"))
    place = (ResourceType.TOPIC, "receipts", ResourcePatternType.LITERAL, "User:billing", "192.0.2.1")
    denial = AclBinding(*place, AclOperation.READ, AclPermissionType.DENY)
    admin.create_acls([denial])[denial].result(LIMIT_S)
    denials = AclBindingFilter(*place, AclOperation.READ, AclPermissionType.DENY)
    until = time.monotonic() + LIMIT_S
    while not admin.describe_acls(denials).result(LIMIT_S):  # the broker hears of it a moment later
        assert time.monotonic() < until
        time.sleep(0.1)
    done = apply_acls(admin, GROUP)
    _let_probe(admin)
    assert [sentence for sentence in done if "probe" not in sentence] == []


def test_another_host_needs_another_certificate(secured: Secured) -> None:
    with pytest.raises(WrongUsage, match=r"its certificate is for 127\.0\.0\.1 localhost; to have one for kafka"):
        create(secured.credentials.folder, list(ROLES), ["kafka"])


def test_without_a_password_nobody_gets_in(secured: Secured) -> None:
    stranger = {**secured.client("producer"), "sasl.password": "guessed"}
    with pytest.raises(KafkaException) as refused:
        AdminClient(stranger).list_topics(timeout=5)
    assert refused.value.args[0].code() in (KafkaError._TRANSPORT, KafkaError._AUTHENTICATION, KafkaError._TIMED_OUT)
    plain: dict[str, str | int | float | bool] = {"bootstrap.servers": secured.bootstrap, "log_level": 0}
    with pytest.raises(KafkaException):
        AdminClient(plain).list_topics(timeout=5)


def test_files_with_passwords_are_their_owners_alone(secured: Secured) -> None:
    folder = secured.credentials.folder
    assert folder.stat().st_mode & 0o077 == 0
    assert {file.stat().st_mode & 0o077 for file in folder.iterdir()} == {0}
    properties = folder.parent / "kafka" / "server.properties"
    assert properties.stat().st_mode & 0o077 == 0


# --- one operation each: True when it was done, False when it was refused ---------------------------------------------


def _done(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except KafkaException as error:
        if error.args[0].code() not in REFUSALS:
            raise
        return False
    return True


def _write(secured: Secured, role: str) -> dict[str, bool]:
    errors: dict[str, KafkaError | None] = {}
    producer = Producer(secured.client(role) | {"message.timeout.ms": 10_000})
    for topic in TOPICS:
        producer.produce(
            topic,
            b"probe",
            key=b"probe",
            on_delivery=lambda error, message: errors.update({str(message.topic()): error}),
        )
    assert producer.flush(LIMIT_S) == 0
    assert {error.code() for error in errors.values() if error is not None} <= REFUSALS, errors
    return {topic: error is None for topic, error in errors.items()}


def _read(secured: Secured, role: str) -> dict[str, bool]:
    """Of partition 0: its end, or a record, is an answer. Who may read may describe: if even that is refused, no."""
    consumer = Consumer(secured.client(role) | {"group.id": "probe", "enable.partition.eof": True})
    found = dict.fromkeys(TOPICS, False)
    try:
        for topic in TOPICS:
            unseen = consumer.list_topics(topic, LIMIT_S).topics[topic].error
            if unseen is not None:
                assert unseen.code() in REFUSALS, unseen
                continue
            consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
            message = consumer.poll(LIMIT_S)
            assert message is not None, f"{role}: no answer about {topic}"
            error = message.error()
            assert error is None or error.code() in REFUSALS | {KafkaError._PARTITION_EOF}, error
            found[topic] = error is None or error.code() == KafkaError._PARTITION_EOF
    finally:
        consumer.close()
    return found


def _join(secured: Secured, role: str, group: str) -> bool:
    """Looks at the group's offsets: who may join may do that."""
    wanted = ConsumerGroupTopicPartitions(group)
    admin = AdminClient(secured.client(role))
    return _done(lambda: admin.list_consumer_group_offsets([wanted])[group].result(LIMIT_S))


def _begin(secured: Secured, role: str, transactional_id: str) -> bool:
    producer = Producer(secured.client(role) | {"transactional.id": transactional_id})
    return _done(lambda: producer.init_transactions(LIMIT_S))


def _let_probe(admin: AdminClient) -> None:
    """The probes' own group is everybody's, so that a refused read is refused for its topic and for nothing else."""
    everybody = [_allow(role, ResourceType.GROUP, "probe", AclOperation.READ) for role in ROLES]
    for future in admin.create_acls(everybody).values():
        future.result(LIMIT_S)


def _allow(role: str, resource: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    return AclBinding(
        resource, name, ResourcePatternType.LITERAL, f"User:{role}", "*", operation, AclPermissionType.ALLOW
    )
