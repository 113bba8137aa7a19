"""One partition without a leader: what can go on does, what cannot waits, and afterwards everything is told once."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pipeline.embedded.kafka import EmbeddedKafka
from pipeline.runtime.murmur import partition_of
from tests.runtime.cluster import SecondBroker, settle_coordinators
from tests.runtime.workers import APART, PARTITIONS, Arena, Record, numbers

pytestmark = pytest.mark.verify

AWAY_S = 8.0
TRANSACTION_S = 6.0
"""Shorter: the broker has given up the transaction when the leader comes back."""


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedKafka, SecondBroker]]:
    folder = tmp_path_factory.mktemp("cluster")
    with EmbeddedKafka(folder / "first", port=0, heap_mb=512) as first:
        settle_coordinators(first.bootstrap)
        with SecondBroker(first, folder / "second") as second:
            yield first, second


@pytest.mark.parametrize("apart", ["in", "state", "out"])
def test_a_partition_without_leader_is_waited_for(
    brokers: tuple[EmbeddedKafka, SecondBroker], tmp_path: Path, apart: str
) -> None:
    first, second = brokers
    second.start()
    arena = Arena(first.bootstrap, tmp_path, apart, transaction_timeout_ms=round(TRANSACTION_S * 1000))
    arena.fill(numbers(keys=40, count=4000))
    port = _free_port()
    process = arena.start("a", probe_port=port, stall_limit_s=15)
    try:
        before = arena.expected()
        assert dict(arena.outputs(len(before), 30)) == before
        second.kill()
        arena.fill(_elsewhere(range(4000, 8000)) if apart == "in" else numbers(keys=40, count=8000))
        began = time.monotonic()
        if apart == "in":
            reachable = arena.expected()
            assert dict(arena.outputs(len(reachable), 30)) == reachable, "the other partitions go on"
        else:
            _await_wait(port, "broker")
            told = dict(arena.outputs(1 << 62, 2))
            assert told.items() <= before.items(), "nothing is visible that is not committed as a whole"
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
        second.start()
        arena.fill(numbers(keys=40, count=2000))
        expected = arena.expected()
        found = arena.outputs(len(expected), 60)
        assert len(found) == len(dict(found)), "told twice"
        assert dict(found) == expected
        assert process.poll() is None, "the same process went on"
        assert arena.stop_all() == {"a": 0}
    finally:
        process.kill()
        process.wait(10)


def _elsewhere(values: Iterable[int]) -> Iterable[Record]:
    """Records of keys whose partition has a leader."""
    keys = [key for key in (b"key-%d" % number for number in range(40)) if partition_of(key, PARTITIONS) != APART]
    return [(keys[value % len(keys)], b"%d" % value) for value in values]


def _await_wait(port: int, dependency: str) -> None:
    """Until the gauge says that the stage waits for `dependency`."""
    until = time.monotonic() + 10
    wanted = re.compile(rf'^chargeline_waiting.*"{dependency}".* 1\.0$', re.MULTILINE)
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            if wanted.search(answer.read().decode()):
                return
        time.sleep(0.1)
    raise AssertionError(f"no wait for {dependency} was declared")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
