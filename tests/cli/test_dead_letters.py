"""`chargeline dead-letters` on a real broker: lists places and reasons, shows bytes, sends each record back once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.cli import run
from pipeline.cli.declared import declared_topics
from pipeline.cli.topics import create_topics
from pipeline.runtime.murmur import partition_of
from pipeline.wire import dead_letters

SECRET = b"TAG-\xff\x00-of-a-driver"
"""Bytes that are no text, with something that only `show` may print."""
Letter = tuple[bytes | None, bytes, int]
"""Key, value, partition where the record was read."""


@pytest.fixture
def broker_of_ours(kafka: str, monkeypatch: pytest.MonkeyPatch) -> str:
    create_topics(AdminClient({"bootstrap.servers": kafka}), declared_topics())
    monkeypatch.setenv("CHARGELINE_KAFKA", kafka)
    return kafka


@pytest.fixture
def reason() -> str:
    """A code of this test alone: the topic is shared with others."""
    return f"TEST_{uuid4().hex.upper()}"


def write(
    kafka: str, reason: str, letters: Iterable[Letter], *, commit: bool = True, topic: str = "meter-events"
) -> None:
    """One transaction, as a worker writes them."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": uuid4().hex, "message.max.bytes": 5_300_000})
    producer.init_transactions(20)
    producer.begin_transaction()
    for number, (key, value, partition) in enumerate(letters):
        headers: dict[str, str | bytes | None] = dict(dead_letters.why(reason, "correct it"))
        headers |= dead_letters.where(topic, partition, 100 + number)
        producer.produce("dead-letters", value, key, headers=headers)
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


def listed(reason: str, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, str | int]]:
    assert run(["dead-letters", "list", "--reason", reason, "--json", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def arrived(kafka: str, keys: Iterable[bytes | None], value_part: bytes) -> list[tuple[int, bytes | None, bytes]]:
    """Partition, key and value of the records in meter-events that have one of these keys and these bytes."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": uuid4().hex, "enable.partition.eof": True})
    partitions = len(consumer.list_topics("meter-events", 10).topics["meter-events"].partitions)
    consumer.assign([TopicPartition("meter-events", number, 0) for number in range(partitions)])
    found, ends, wanted = [], 0, set(keys)
    while ends < partitions:
        for message in consumer.consume(1000, 0.2):
            if message.error():
                ends += 1
            elif message.key() in wanted and value_part in (message.value() or b""):
                found.append((message.partition() or 0, message.key(), message.value() or b""))
    consumer.close()
    return found


def test_a_list_names_place_and_reason_and_no_content(
    broker_of_ours: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(broker_of_ours, reason, [(b"station-1", SECRET, 3), (None, b"", 5)])
    write(broker_of_ours, reason, [(b"station-1", SECRET * 2, 3)])
    assert run(["dead-letters", "list", "--reason", reason]) == 0
    said = capsys.readouterr()
    newest, *_, oldest = said.out.splitlines()
    assert f"{2 * len(SECRET)} bytes" in newest
    assert f"{reason}: correct it (meter-events/3/100, {len(SECRET)} bytes)" in said.out
    assert f"{reason}: correct it (meter-events/5/101, 0 bytes)" in said.out
    assert "TAG" not in said.out + said.err
    assert oldest != newest

    rows = listed(reason, capsys)
    assert rows[0]["bytes"] == 2 * len(SECRET)
    assert {(row["source_partition"], row["source_offset"]) for row in rows} == {(3, 100), (5, 101)}
    assert listed(reason, capsys, "--limit", "1") == rows[:1]


def test_an_aborted_dead_letter_is_none(broker_of_ours: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(broker_of_ours, reason, [(b"station-1", SECRET, 3)], commit=False)
    assert run(["dead-letters", "list", "--reason", reason]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"no dead letters with reason {reason}" in said.err


def test_show_writes_the_original_bytes(
    broker_of_ours: str, reason: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    write(broker_of_ours, reason, [(b"station-1", SECRET, 3)])
    assert run(["dead-letters", "list", "--reason", reason, "--json"]) == 0
    place = json.loads(capfdbinary.readouterr().out)
    at = [str(place["partition"]), str(place["offset"])]
    assert run(["dead-letters", "show", *at]) == 0
    shown = capfdbinary.readouterr()
    assert shown.out == SECRET
    assert reason.encode() in shown.err
    assert run(["dead-letters", "show", *at, "--hex"]) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert bytes.fromhex(b"".join(line[10:57].replace(b" ", b"") for line in lines).decode()) == SECRET
    assert lines[0].endswith(b"TAG-..-of-a-driv")


def test_replay_sends_each_record_once_to_where_its_key_belongs(
    broker_of_ours: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, keys = uuid4().hex.encode(), [uuid4().hex.encode() for _ in range(10)]
    letters: list[Letter] = [(key, mark + SECRET, 0) for key in keys]
    unkeyed: Letter = (None, mark + b"tick", 5)
    write(broker_of_ours, reason, [*letters, letters[0], unkeyed])
    largest = (keys[0], mark + b"x" * (5_000_000 - len(mark)), 1)
    write(broker_of_ours, reason, [largest])
    write(broker_of_ours, reason, [(b"other", mark, 0)], topic="somewhere-else")

    assert run(["dead-letters", "replay", "--reason", reason, "--dry-run", "--json"]) == 0
    counts = {"records": 12, "by_reason": {reason: 12}, "repeated": 1, "foreign": 1}
    assert json.loads(capsys.readouterr().out) == counts | {"dry_run": True, "acknowledged": 0}
    assert arrived(broker_of_ours, [*keys, None, b"other"], mark) == []

    assert run(["dead-letters", "replay", "--reason", reason, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == counts | {"dry_run": False, "acknowledged": 12}
    expected = [(partition_of(key, 8), key, value) for key, value, _ in [*letters, largest] if key is not None]
    assert sorted(arrived(broker_of_ours, keys, mark)) == sorted(expected)
    assert arrived(broker_of_ours, [None, b"other"], mark) == [(5, None, mark + b"tick")]


def test_one_dead_letter_is_replayed_by_its_place(
    broker_of_ours: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = uuid4().hex.encode()
    write(broker_of_ours, reason, [(key, b"first", 0), (key, b"second", 0)])
    second = max(listed(reason, capsys), key=lambda row: row["offset"])
    at = ["--partition", str(second["partition"]), "--offset", str(second["offset"])]
    assert run(["dead-letters", "replay", *at]) == 0
    assert f"1 records sent, 1 acknowledged by Kafka\n  1 {reason}" in capsys.readouterr().out
    assert [value for _, _, value in arrived(broker_of_ours, [key], b"")] == [b"second"]
    assert run(["dead-letters", "replay", *at, "--reason", "OTHER"]) == 0
    assert "0 records sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["show", "0", "99999999"], 2, "no dead letter at partition 0 offset 99999999"),
        (["show", "77", "0"], 2, "no partition 77"),
        (["show", "0"], 2, "Missing argument 'OFFSET'"),
        (["replay", "--partition", "0"], 2, "--partition and --offset belong together"),
        (["replay", "--partition", "0", "--offset", "99999999"], 2, "no dead letter at"),
        (["list", "--limit", "0"], 2, "--limit"),
        (["list", "--kafka", "127.0.0.1:1"], 1, "no Kafka broker answers"),
        (["show", "0", "0", "--kafka", "127.0.0.1:1"], 1, "no Kafka broker answers"),
        (["replay", "--kafka", "127.0.0.1:1"], 1, "no Kafka broker answers"),
    ],
)
def test_a_mistake_is_one_sentence(
    broker_of_ours: str,
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.edge.reading.TIMEOUT_S", 2.0)
    assert run(["dead-letters", *arguments]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_the_help_of_show_warns_of_identifiers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dead-letters", "show", "--help"]) == 0
    assert "identifiers" in capsys.readouterr().out
