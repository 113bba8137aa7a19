"""A worker process beside bad records, a broker that goes away, SIGTERM and questions of its supervisor."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import confluent_kafka as ck

from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.runtime.murmur import partition_of
from pipeline.runtime.process.liveness import STALLED
from pipeline.wire import dead_letters
from tests.runtime.counting import HANGS
from tests.runtime.probes import free_port
from tests.runtime.workers import PARTITIONS, Arena, numbers


def letters_of(arena: Arena, count: int, timeout_s: float = 20) -> list[ck.Message]:
    """Dead letters whose source is the arena's, once `count` of them are there."""
    reader = ck.Consumer({"bootstrap.servers": arena.bootstrap, "group.id": arena.name, "enable.auto.commit": False})
    reader.assign([ck.TopicPartition("dead-letters", number, ck.OFFSET_BEGINNING) for number in range(4)])
    found: list[ck.Message] = []
    until = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < until:
        for message in reader.consume(1000, 0.2):
            headers = dict(message.headers() or ())
            if message.error() is None and headers.get("topic") == arena.source.encode():
                found.append(message)
    reader.close()
    return found


def test_bad_records_become_dead_letters_with_reason_place_and_original_bytes(arena: Arena) -> None:
    right = b"key-1"
    home = partition_of(right, PARTITIONS)
    wrong = (home + 1) % PARTITIONS
    bad: list[tuple[int, bytes | None, bytes | None, str]] = [
        (home, right, b"\xff\x00 not a number", "NOT_A_NUMBER"),
        (home, right, b"x" * 5_000_000, "NOT_A_NUMBER"),
        (home, right, None, "EMPTY_VALUE"),
        (wrong, right, b"17", "WRONG_PARTITION"),
        (0, b"\xff\xfe", b"17", "INVALID_KEY"),
        (0, b"", b"17", "INVALID_KEY"),
        (0, b"with\x00zero", b"17", "INVALID_KEY"),
        (0, None, b"not a tick", "NOT_A_TICK"),
    ]
    producer = ck.Producer({"bootstrap.servers": arena.bootstrap, "message.max.bytes": 5_200_000})
    for partition, key, value, _ in bad:
        producer.produce(arena.source, value, key, partition)
    assert producer.flush(20) == 0
    arena.fill(numbers(keys=5, count=1000))
    arena.start("a")
    expected = arena.expected()
    assert dict(arena.outputs(len(expected), 20)) == expected, "good records are used as if there were no bad ones"
    found = letters_of(arena, len(bad))
    told = [(dead_letters.decode(dead_letters.headers_of(m.headers())), m.key(), m.value()) for m in found]
    assert sorted((why.partition, why.reason, key or b"", value or b"") for why, key, value in told) == sorted(
        (partition, reason, key or b"", value or b"") for partition, key, value, reason in bad
    )
    assert arena.stop_all() == {"a": 0}


def test_a_flood_of_dead_letters_stops_the_worker_before_it_commits(new_arena: Callable[..., Arena]) -> None:
    arena = new_arena(dead_letter_run=500)
    arena.fill((b"key-%d" % (number % 50), b"not a number") for number in range(4000))
    process = arena.start("a")
    assert process.wait(20) == 1
    assert "500 dead letters in a row" in arena.log("a")
    assert len(letters_of(arena, 4000, timeout_s=4)) < 500
    arena.processes.clear()


def test_probes_and_metrics_answer_and_a_bug_at_many_keys_ends_the_worker(new_arena: Callable[..., Arena]) -> None:
    arena = new_arena(release_keys=3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arena.fill(numbers(keys=50, count=2000))
    process = arena.start("a", probe_port=port, stall_limit_s=4)
    arena.outputs(len(arena.expected()), 20)
    assert _get(port, "/livez") == (200, "ok\n")
    assert _get(port, "/readyz") == (200, "ok\n")
    metrics = _get(port, "/metrics")[1]
    assert re.search(r'^chargeline_events_total\{stage="count"\} 20\d\d\.0$', metrics, re.MULTILINE)
    assert 'chargeline_latency_seconds_bucket{le="1.0",stage="count"}' in metrics
    # int() refuses so many digits: our bug, not a bad message
    arena.fill([(b"key-%d" % number, b"9" * 5000) for number in range(3)])
    assert process.wait(20) == 1
    assert "ValueError" in arena.log("a")
    arena.processes.clear()


def test_a_worker_that_hangs_ends_itself(arena: Arena) -> None:
    """The event loop stands still, so only the watchdog's thread can end it."""
    process = arena.start("a", stall_limit_s=3)
    arena.fill([(b"key-1", b"1"), (b"key-1", HANGS)])
    assert process.wait(30) == STALLED
    assert "worker ends: " in arena.log("a")
    arena.processes.clear()


def test_a_worker_that_was_stopped_for_longer_than_any_limit_goes_on(arena: Arena) -> None:
    """Its session and its transaction are gone; a supervisor finds nothing to do."""
    port = free_port()
    process = arena.start("a", probe_port=port, stall_limit_s=3)
    arena.fill(numbers(keys=50, count=5_000))
    arena.outputs(100, 20)
    os.kill(process.pid, signal.SIGSTOP)
    arena.fill(numbers(keys=50, count=5_000))
    time.sleep(12)  # above stall limit and session time-out
    os.kill(process.pid, signal.SIGCONT)
    expected = arena.expected()
    found = arena.outputs(len(expected), 40)
    assert sorted(found) == sorted(expected.items()), "nothing is lost, nothing is told twice"
    assert _get(port, "/livez") == (200, "ok\n")
    assert arena.stop_all() == {"a": 0}


def test_more_keys_than_the_cap_stop_the_worker(new_arena: Callable[..., Arena]) -> None:
    arena = new_arena(max_keys=10)
    arena.fill(numbers(keys=50, count=500))
    assert arena.start("a").wait(20) == 1
    assert "more than 10 keys" in arena.log("a")
    arena.processes.clear()


def test_a_broker_that_is_away_longer_than_the_transaction_is_waited_for(tmp_path: Path) -> None:
    """The same process goes on afterwards, and everything is told once."""
    with EmbeddedKafka(tmp_path / "broker", port=0) as broker:
        arena = Arena(broker.bootstrap, tmp_path, transaction_timeout_ms=6000)
        arena.fill(numbers(keys=100, count=20_000))
        process = arena.start("a", stall_limit_s=20)
        arena.outputs(500, 20)
        broker.stop()
        time.sleep(8)
        broker.start()
        arena.fill(numbers(keys=100, count=5_000))
        expected = arena.expected()
        found = arena.outputs(len(expected), 60)
        assert len(found) == len(dict(found))
        assert dict(found) == expected
        assert process.poll() is None
        assert arena.stop_all() == {"a": 0}


def _get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
