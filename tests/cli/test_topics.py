"""`chargeline topics` against a real broker: created as declared, aligned, never repartitioned."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from pipeline.cli import run
from pipeline.cli.declared import Declared, declared_topics
from pipeline.cli.topics import create_topics
from pipeline.errors import Unavailable, WrongUsage
from pipeline.topics import TOPICS


@pytest.fixture
def admin(any_kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": any_kafka})


@pytest.fixture
def topic(request: pytest.FixtureRequest, admin: AdminClient) -> Iterator[Declared]:
    """A topic of the test's own, gone afterwards."""
    name = f"cli-{request.function.__name__}"
    yield Declared(
        name=name, description="of a test", key="any", partitions=3, replication_factor=1,
        config={"retention.ms": "60000", "cleanup.policy": "delete"}, writers=(), readers=(), identifiers=False,
    )  # fmt: skip
    for future in admin.delete_topics([name]).values():
        future.result(20)


def config(admin: AdminClient, topic: str) -> dict[str, str]:
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return {name: entry.value for name, entry in future.result(20).items()}


def partitions(admin: AdminClient, topic: str) -> int:
    return len(admin.list_topics(topic, timeout=10).topics[topic].partitions)


def test_a_missing_topic_is_created_as_declared_and_a_repeat_does_nothing(admin: AdminClient, topic: Declared) -> None:
    assert create_topics(admin, [topic]) == [f"created {topic.name}: 3 partitions"]
    assert partitions(admin, topic.name) == 3
    assert config(admin, topic.name)["retention.ms"] == "60000"
    assert create_topics(admin, [topic]) == []


def test_a_configuration_that_differs_is_aligned_and_other_settings_stay(admin: AdminClient, topic: Declared) -> None:
    create_topics(admin, [dataclasses.replace(topic, config={"retention.ms": "1000", "segment.ms": "5000"})])
    assert create_topics(admin, [topic]) == [f"aligned {topic.name}: retention.ms=60000, cleanup.policy=delete"]
    found = config(admin, topic.name)
    until = time.monotonic() + 10
    while found["retention.ms"] != "60000" and time.monotonic() < until:  # the broker hears of it from the controller
        time.sleep(0.05)
        found = config(admin, topic.name)
    assert (found["retention.ms"], found["segment.ms"]) == ("60000", "5000")
    assert create_topics(admin, [topic]) == []


def test_the_partition_count_of_an_existing_topic_is_never_changed(admin: AdminClient, topic: Declared) -> None:
    create_topics(admin, [topic])
    other = dataclasses.replace(topic, name=f"{topic.name}-never-created")
    more = dataclasses.replace(topic, partitions=4)
    with pytest.raises(WrongUsage, match=rf"{topic.name} has 3 partitions, schemas/topics says 4: .*nothing was done"):
        create_topics(admin, [other, more])
    assert partitions(admin, topic.name) == 3
    assert other.name not in admin.list_topics(timeout=10).topics


def test_a_broker_that_refuses_or_does_not_answer_is_unavailable(
    admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Declared(
        name="cli-refused", description="", key="", partitions=1, replication_factor=3, config={}, writers=(),
        readers=(), identifiers=False,
    )  # fmt: skip
    with pytest.raises(Unavailable, match=r"topic cli-refused cannot be created: .*replication"):
        create_topics(admin, [wrong])
    monkeypatch.setattr("pipeline.cli.topics.TIMEOUT_S", 2.0)
    nobody = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    with pytest.raises(Unavailable, match=r"Kafka does not answer: .*CHARGELINE_KAFKA"):
        create_topics(nobody, [wrong])


def test_the_list_shows_every_topic_of_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "list", "--json"]) == 0
    shown = {line["name"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert shown.keys() == TOPICS.keys()
    assert {name: line["identifiers"] for name, line in shown.items()} == {
        name: topic.holds_identifiers for name, topic in TOPICS.items()
    }
    assert run(["topics", "list"]) == 0
    assert all(f"{name}: " in capsys.readouterr().out for name in list(shown)[:1])


GOOD = """
name: cars
description: d
key: k
partitions: 1
replication_factor: 1
config: {}
writers: []
readers: []
identifiers: false
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name: [", "cars.yaml: not readable YAML"),
        ("- a list", "cars.yaml: expected the fields of a topic"),
        (GOOD.replace("key: k\n", ""), "cars.yaml: field key is missing"),
        (GOOD.replace("partitions: 1", "partitions: many"), "cars.yaml: invalid literal for int.*many"),
        (GOOD.replace("name: cars", "name: trucks"), "cars.yaml: declares the topic trucks"),
    ],
)
def test_a_bad_declaration_names_its_file_and_field(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "cars.yaml").write_text(GOOD)
    assert [topic.name for topic in declared_topics(tmp_path)] == ["cars"]
    (tmp_path / "cars.yaml").write_text(text)
    with pytest.raises(WrongUsage, match=complaint):
        declared_topics(tmp_path)
