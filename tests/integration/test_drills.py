"""The runbooks of what can be lost, each done once.

lost-broker-disk.md, lost-clickhouse.md, lost-keyring.md and restored-reference-topics.md.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, PartitionMetadata

from pipeline.cli.declared import declared_topics
from pipeline.cli.simulate import write_documents
from pipeline.cli.topics import create_topics
from pipeline.edge.reading import read_topic
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.embedded.quorum import BROKERS, EmbeddedQuorum
from pipeline.topics import METER_EVENTS, SITES, TARIFFS
from tests.integration.stack import Stack, started

pytestmark = pytest.mark.verify

ROWS = "SELECT session_id, version, content_hash FROM charging.sessions FINAL ORDER BY session_id"
FINAL = (
    "SELECT session_id, revision, payable_incl_vat FROM charging.sessions_current "
    "WHERE bill_state = 'FINAL' AND currency IS NOT NULL ORDER BY session_id"
)
ALERTS = "SELECT alert_id, state FROM charging.anomalies FINAL ORDER BY alert_id, state"


@contextmanager
def drill(name: str, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Prints how long it took."""
    began = time.monotonic()
    yield
    with capsys.disabled():
        print(f"\ndrill: {name} took {time.monotonic() - began:.1f} s")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A fleet of a day is assembled and stored."""
    with started(tmp_path) as stack:
        assert stack.chargeline("simulate", "--stations", "10", "--sessions", "2").returncode == 0
        stack.wait()
        yield stack


def test_a_broker_that_lost_its_disk_gets_everything_from_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedQuorum([tmp_path / str(number) for number in range(BROKERS)]) as quorum:
        admin = AdminClient({"bootstrap.servers": quorum.bootstrap})
        create_topics(admin, declared_topics(), BROKERS)
        producer = Producer({"bootstrap.servers": quorum.bootstrap, "acks": "all"})
        for number in range(2_000):
            producer.produce(METER_EVENTS.name, b"%d" % number, b"CP-%d" % (number % 40))
        assert producer.flush(30) == 0
        lost = quorum.brokers[0]
        lost.kill()
        with drill("a new disk for one of three brokers", capsys):
            shutil.rmtree(lost.data)
            lost.start()
            until = time.monotonic() + 60
            while not _all_in_sync(admin):
                assert time.monotonic() < until, "the new disk does not catch up"
                time.sleep(0.2)
        quorum.brokers[1].kill()  # what is read now, the new disk answers for as well
        until = time.monotonic() + 60
        while 2 in _leaders(admin):
            assert time.monotonic() < until, "its partitions find no other leader"
            time.sleep(0.2)
        config = {"bootstrap.servers": f"{lost.bootstrap},{quorum.brokers[2].bootstrap}"}
        found = [message.value() or b"" for message in read_topic(config, METER_EVENTS.name)]
        assert sorted(found) == sorted(b"%d" % number for number in range(2_000))


def _partitions(admin: AdminClient) -> list[PartitionMetadata]:
    return [each for topic in admin.list_topics(timeout=10).topics.values() for each in topic.partitions.values()]


def _all_in_sync(admin: AdminClient) -> bool:
    return all(len(each.isrs) == BROKERS for each in _partitions(admin))


def _leaders(admin: AdminClient) -> set[int]:
    return {each.leader for each in _partitions(admin)}


def test_a_clickhouse_that_lost_its_data_is_filled_from_the_topics(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    before, alerts = stack.rows(ROWS), stack.rows(ALERTS)
    assert before
    clickhouse = stack.platform.clickhouse
    refused = stack.chargeline("migrate", "--refill")
    assert (refused.returncode, "has members" in refused.stderr) == (2, True)
    with drill("a new ClickHouse, filled from the topics", capsys):
        clickhouse.kill()
        shutil.rmtree(clickhouse.data)
        assert set(stack.stop_workers()) == {0}
        clickhouse.start()
        done = stack.chargeline("migrate", "--refill")
        assert done.returncode == 0, done.stderr
        stack.start_workers()
        stack.wait()
    assert stack.rows(ROWS) == before
    assert stack.rows(ALERTS) == alerts


def test_a_copy_of_the_keyring_takes_the_place_of_a_lost_one(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    lost = Path(stack.environment["keys_file"])
    copy = lost.with_name("copy.json")
    shutil.copy(lost, copy)
    noted = stack.chargeline("keys", "fingerprint", lost).stdout
    before = stack.rows(ROWS)
    assert set(stack.stop_workers()) == {0}
    with drill("a lost keyring, from its copy", capsys):
        lost.unlink()
        refused = stack.chargeline("worker", "--stage", "assemble")
        assert (refused.returncode, "cannot read the keyring" in refused.stderr) == (2, True)
        assert stack.chargeline("keys", "create", lost).returncode == 0
        another = stack.chargeline("rebuild")
        assert (another.returncode, "is this the keyring of the workers?" in another.stderr) == (2, True)
        assert stack.chargeline("keys", "fingerprint", lost).stdout != noted
        shutil.copy(copy, lost)
        assert stack.chargeline("keys", "fingerprint", lost).stdout == noted
        stack.start_workers()
        stack.wait()
    assert "0 changed bills, 0 credits, 0 new bills, 0 sessions" in stack.chargeline("rebuild").stdout
    assert stack.rows(ROWS) == before


def publish(stack: Stack, folder: Path) -> None:
    for what in ("sites", "tariffs"):
        done = stack.chargeline(what, "publish", folder / f"{what}.json")
        assert done.returncode == 0, done.stderr


def test_reference_topics_that_were_lost_are_published_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = FleetConfig(stations=10, sites=2, sessions=3)
    write_documents(config, tmp_path)
    records = list(simulate(config))
    with started(tmp_path) as stack:
        publish(stack, tmp_path)
        stack.send(records[: len(records) // 2])
        stack.wait()
        before = stack.rows(FINAL)
        assert len(before) > 10
        with drill("lost reference topics, published again", capsys):
            assert set(stack.stop_workers()) == {0}
            admin = AdminClient({"bootstrap.servers": stack.settings.kafka})
            for gone in admin.delete_topics([SITES.name, TARIFFS.name]).values():
                gone.result(20)
            assert stack.chargeline("topics", "create").returncode == 0
            publish(stack, tmp_path)
            assert "0 changed bills, 0 credits, 0 new bills, 0 sessions" in stack.chargeline("rebuild").stdout
            stack.start_workers()
            stack.send(records[len(records) // 2 :])
            stack.wait()
        after = stack.rows(FINAL)
        assert {row["session_id"] for row in before} < {row["session_id"] for row in after}
        assert len(after) > len(before) + 5, "what comes after is priced as before"
        assert [row for row in after if row in before] == before, "and what was billed stands"
