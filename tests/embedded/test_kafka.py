"""The embedded broker: it starts, keeps its data, refuses clearly, and never outlives its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.embedded import kafka as module
from pipeline.embedded.kafka import LARGEST_RECORD, EmbeddedKafka
from pipeline.errors import Unavailable

OWNER = """
import sys, time
from pathlib import Path
from pipeline.embedded.kafka import EmbeddedKafka
with EmbeddedKafka(Path(sys.argv[1]), port=0) as broker:
    print(broker.pid, broker.port, flush=True)
    time.sleep(120)
"""


def make_topic(bootstrap: str, name: str, config: dict[str, str] | None = None) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, 1, 1, config=config or {})]).values():
        future.result(20)


def send(bootstrap: str, topic: str, value: bytes, **options: str | int) -> None:
    failures: list[str] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", **options})
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(str(error)) if error else None)
    assert producer.flush(20) == 0
    assert failures == []


def read_first(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "read-first", "fetch.message.max.bytes": 8_000_000}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        value = message.value()
        assert isinstance(value, bytes)
        return value
    finally:
        consumer.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def eventually(holds: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def test_the_largest_source_record_and_its_dead_letter_fit(any_kafka: str) -> None:
    make_topic(any_kafka, "largest-record")
    value = os.urandom(LARGEST_RECORD)
    send(any_kafka, "largest-record", value, **{"message.max.bytes": LARGEST_RECORD + 65536})
    assert read_first(any_kafka, "largest-record") == value


def test_a_topic_nobody_declared_is_not_created(any_kafka: str) -> None:
    producer = Producer({"bootstrap.servers": any_kafka, "message.timeout.ms": 3000})
    failures: list[str] = []
    producer.produce("never-declared", b"x", on_delivery=lambda error, _: failures.append(str(error)))
    producer.flush(10)
    assert len(failures) == 1
    assert "never-declared" not in AdminClient({"bootstrap.servers": any_kafka}).list_topics(timeout=5).topics


def test_a_former_owner_is_fenced_and_what_it_sent_is_never_read(any_kafka: str) -> None:
    """What a checkpoint relies on: one transactional id, two producers, only the second one's record is visible."""
    make_topic(any_kafka, "fenced")
    former, owner = (Producer({"bootstrap.servers": any_kafka, "transactional.id": "fenced"}) for _ in range(2))
    former.init_transactions(30)
    former.begin_transaction()
    former.produce("fenced", b"former owner")
    assert former.flush(20) == 0
    owner.init_transactions(30)
    owner.begin_transaction()
    owner.produce("fenced", b"owner")
    owner.commit_transaction(30)
    with pytest.raises(KafkaException) as fenced:
        former.commit_transaction(30)
    assert fenced.value.args[0].fatal()
    assert read_first(any_kafka, "fenced") == b"owner"


def test_records_survive_a_kill_and_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path, port=0) as broker:
        port = broker.port
        make_topic(broker.bootstrap, "kept")
        send(broker.bootstrap, "kept", b"before the kill")
        broker.kill()
        assert broker.pid is None
        broker.restart()
        assert broker.port == port
        assert read_first(broker.bootstrap, "kept") == b"before the kill"

        with pytest.raises(Unavailable, match=rf"in use by process {os.getpid()}; stop it or choose another"):
            EmbeddedKafka(tmp_path, port=0).start()
        with pytest.raises(Unavailable, match=rf"port {port} on 127\.0\.0\.1 cannot be used .*; choose another"):
            EmbeddedKafka(tmp_path / "other", port=port).start()
    with socket.socket() as probe:
        assert probe.connect_ex((module.HOST, port)) != 0


def test_the_broker_dies_with_an_owner_that_was_killed_and_leaves_no_stale_lock(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own program
    try:
        assert owner.stdout is not None
        pid, _ = map(int, owner.stdout.readline().split())
        assert alive(pid)
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
    assert eventually(lambda: not alive(pid))
    with EmbeddedKafka(tmp_path, port=0) as broker:  # the same folder, without anybody cleaning up
        assert broker.pid is not None


def test_a_broker_that_cannot_start_says_why_and_where_to_look(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder of the log should be")
    with pytest.raises(Unavailable, match=r"Kafka cannot format .*log"):
        EmbeddedKafka(tmp_path, port=0).start()
    (tmp_path / "log").unlink()
    with EmbeddedKafka(tmp_path, port=0) as broker:  # the failed start left no lock behind
        assert broker.pid is not None


def test_a_cluster_id_never_looks_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 64 random ids begins with a dash; this is one of them."""
    monkeypatch.setattr("uuid.uuid4", lambda: UUID(bytes=b"\xfb" * 16))
    with EmbeddedKafka(tmp_path, port=0) as broker:
        assert broker.pid is not None
