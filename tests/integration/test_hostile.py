"""The attack of tests/hostile on a real worker and broker, once: the honest sessions come out as without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from confluent_kafka import Producer

from pipeline.agents.assembly import Assembly
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.rating import Rating
from pipeline.runtime.murmur import partition_of
from pipeline.topics import SESSIONS
from pipeline.wire.meter_events import Decoder
from tests.hostile.run import Records, Verdict, feed, mixed
from tests.integration.stack import Stack, started
from tests.runtime.partition_log import PartitionLog

pytestmark = pytest.mark.verify

PARTITIONS = 8
SEED, HOSTILE = 11, 2_500

Revisions = dict[bytes, list[bytes]]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with started(tmp_path) as stack:
        yield stack


def send(stack: Stack, records: Records) -> None:
    producer = Producer(
        {"bootstrap.servers": stack.settings.kafka, "message.max.bytes": 8_000_000, "compression.type": "lz4"}
    )
    ends = Random(SEED)  # noqa: S311 - a test, not a secret
    for key, value, _ in records:
        if key is not None:
            places = [partition_of(key, PARTITIONS) if ends.random() < 0.99 or b"SIM" in key or b"QRK" in key else 0]
        else:
            places = list(range(PARTITIONS))
        for partition in places:
            producer.produce("meter-events", value, key, partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def alone(stack: Stack, records: Records) -> Revisions:
    keyring = Keyring.decode((stack.folder / "keys.json").read_bytes(), "keys.json")
    log = PartitionLog(Assembly(Rating(keyring), Decoder(keyring)))
    feed(log, records, Verdict(SEED))
    told: Revisions = {}
    for each in log.outputs(SESSIONS.name):
        told.setdefault(each.key or b"", []).append(each.value or b"")
    return told


def test_honest_sessions_come_out_as_without_the_attack(stack: Stack) -> None:
    honest, together = mixed(SEED, HOSTILE)
    expected = alone(stack, honest)
    send(stack, together)
    stack.wait(180)
    found: Revisions = {}
    for message in stack.records(SESSIONS.name):
        if message.key() in expected:
            found.setdefault(message.key() or b"", []).append(message.value() or b"")
    assert len(expected) > 50
    assert found == expected
    reasons = Counter(dict(message.headers() or ())["reason"] for message in stack.records("dead-letters"))
    assert sum(reasons.values()) > 500
    assert reasons[b"INTERNAL_ERROR"] == 0
