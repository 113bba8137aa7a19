"""What Kafka's access control refuses is a sentence with principal, operation and resource, and /readyz is 503.

A broker with StandardAuthorizer, on which we log in as nobody: each test takes one right away from ANONYMOUS.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.edge.producer import produce
from pipeline.edge.reading import read_topic
from pipeline.embedded.kafka import BROKER, EmbeddedKafka
from pipeline.errors import Unavailable
from tests.integration.stack import COMMAND, chargeline, environment
from tests.runtime.probes import asked, free_port, until
from tests.runtime.workers import Arena, numbers

AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}
NOBODY = "User:ANONYMOUS"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}


class Guarded(EmbeddedKafka):
    """Everything is allowed to everybody until a test denies it."""

    def _configure(self) -> Path:
        config = super()._configure()
        with config.open("a", encoding="utf-8") as more:
            more.writelines(f"{name}={value}\n" for name, value in AUTHORIZER.items())
        return config


class Rights:
    """Takes rights from NOBODY, who stays allowed everything else, and gives them back."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        for kind in KINDS.values():
            name = "kafka-cluster" if kind == ResourceType.BROKER else "*"
            self._make(kind, name, AclOperation.ALL, AclPermissionType.ALLOW)

    def deny(self, operation: str, kind: str, name: str) -> None:
        self._make(KINDS[kind], name, AclOperation[operation.upper()], AclPermissionType.DENY)
        time.sleep(0.5)  # the controller answers before the broker knows

    def give_back(self) -> None:
        any_ = (ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.DENY)
        anything = AclBindingFilter(*any_)  # type: ignore[arg-type]  # its stubs do not know that None is any
        for each in self._admin.delete_acls([anything]).values():
            each.result(20)

    def _make(self, kind: ResourceType, name: str, operation: AclOperation, permission: AclPermissionType) -> None:
        acl = AclBinding(kind, name, ResourcePatternType.LITERAL, NOBODY, "*", operation, permission)
        for each in self._admin.create_acls([acl]).values():
            each.result(20)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    with Guarded(tmp_path_factory.mktemp("guarded"), port=0) as broker:
        yield broker


@pytest.fixture
def rights(guarded: EmbeddedKafka) -> Iterator[Rights]:
    rights = Rights(guarded.bootstrap)
    yield rights
    rights.give_back()


@pytest.fixture
def arena(guarded: EmbeddedKafka, tmp_path: Path) -> Iterator[Arena]:
    arena = Arena(guarded.bootstrap, tmp_path)
    yield arena
    for process in arena.processes.values():
        process.kill()
        process.wait(10)


LACKING = [
    (False, "Read", "topic", "{source}"),
    (False, "Describe", "topic", "{changelog}"),
    (False, "Read", "group", "{name}"),
    (False, "Write", "transactional-id", "{name}-a"),
    (True, "Read", "topic", "{source}"),
    (True, "Write", "topic", "{output}"),
]
"""Whether the worker runs already when it is taken away."""


@pytest.mark.parametrize(("runs", "operation", "kind", "pattern"), LACKING)
def test_a_worker_says_which_right_it_lacks_and_goes_on_when_it_has_it(
    arena: Arena, rights: Rights, runs: bool, operation: str, kind: str, pattern: str
) -> None:
    name = pattern.format(**vars(arena))
    port = free_port()
    if runs:
        process = arena.start("a", probe_port=port)
        assert until(lambda: asked(port, "/readyz")[0] == 200)
        rights.deny(operation, kind, name)
        arena.fill(numbers(keys=20, count=1000))
    else:
        arena.fill(numbers(keys=20, count=1000))
        rights.deny(operation, kind, name)
        process = arena.start("a", probe_port=port)
    sentence = f"Kafka does not allow {NOBODY} {operation} on {kind} {name}; grant it: kafka-acls --add"
    assert until(lambda: sentence in asked(port, "/readyz")[1]), (asked(port, "/readyz"), arena.log("a")[-3000:])
    assert asked(port, "/readyz")[0] == 503
    assert f"ERROR count: {sentence}" in arena.log("a")
    rights.give_back()
    assert until(lambda: asked(port, "/readyz") == (200, "ok\n")), asked(port, "/readyz")
    expected = arena.expected()
    found = arena.outputs(len(expected), 20)
    assert sorted(found) == sorted(expected.items())
    assert process.poll() is None
    assert arena.stop_all() == {"a": 0}


@pytest.mark.parametrize(
    ("operation", "topic"),
    [("Write", "meter-events"), ("Read", "tariffs"), ("Write", "receipts")],
    ids=["ticks", "reference data", "outputs"],
)
def test_the_pipeline_needs_its_rights_before_it_uses_them(
    guarded: EmbeddedKafka, rights: Rights, tmp_path: Path, operation: str, topic: str
) -> None:
    """Without a station nothing but ticks is ever written; they were missed in silence."""
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": guarded.bootstrap}
    create_topics(AdminClient(client), declared_topics(), 1, client)
    rights.deny(operation, "topic", topic)
    port = free_port()
    assert chargeline("keys", "create", tmp_path / "keys.json").returncode == 0
    given = {"kafka": guarded.bootstrap, "web_port": str(port), "keys_file": str(tmp_path / "keys.json")}
    worker = subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "worker", "--stage", "assemble"], env=environment(given), stderr=subprocess.DEVNULL
    )
    try:
        sentence = f"assemble: Kafka does not allow {NOBODY} {operation} on topic {topic}; grant it"
        assert until(lambda: sentence in asked(port, "/readyz")[1]), asked(port, "/readyz")
        rights.give_back()
        assert until(lambda: asked(port, "/readyz") == (200, "ok\n")), asked(port, "/readyz")
    finally:
        worker.terminate()
        assert worker.wait(20) == 0


def test_commands_say_which_right_they_lack(guarded: EmbeddedKafka, rights: Rights) -> None:
    client: dict[str, str | int | float | bool] = {"bootstrap.servers": guarded.bootstrap}
    admin = AdminClient(client)
    declared = declared_topics()
    new = replace(declared[0], name="one-more")
    for operation in ("Describe", "Create"):
        rights.deny(operation, "topic", new.name)
        rights.deny(operation, "cluster", "kafka-cluster")  # each of the two suffices to create one
        with pytest.raises(Unavailable, match=f"allow {NOBODY} {operation} on topic {new.name}; grant it"):
            create_topics(admin, [new], 1, client)
        rights.give_back()
    create_topics(admin, declared, 1, client)
    other = replace(next(each for each in declared if each.name == "receipts"), config={"retention.ms": "1000000"})
    for operation in ("DescribeConfigs", "AlterConfigs"):
        rights.deny(operation.replace("C", "_C"), "topic", "receipts")
        with pytest.raises(Unavailable, match=f"allow {NOBODY} {operation} on topic receipts; grant it"):
            create_topics(admin, [other], 1, client)
        rights.give_back()
    rights.deny("Read", "topic", "receipts")
    rights.deny("Write", "topic", "meter-events")
    produce([(0, b"k", b"v")], "receipts", client)
    with pytest.raises(Unavailable, match=f"allow {NOBODY} Read on topic receipts; grant it"):
        list(read_topic(client, "receipts"))
    with pytest.raises(Unavailable, match=f"allow {NOBODY} Write on topic meter-events; grant it"):
        produce([(0, b"k", b"v")], "meter-events", client)


def test_the_broker_of_this_file_guards() -> None:
    assert not AUTHORIZER.keys() & BROKER.keys()
