"""A station with tens of thousands of kept records comes back on a real broker, and nobody waits for it."""

from __future__ import annotations

import re

import confluent_kafka as ck
import pytest

from pipeline.runtime.murmur import partition_of
from pipeline.runtime.offline import Offline
from pipeline.wire.quarantine import RELEASE
from tests.runtime.counting import GROWS, Counting
from tests.runtime.probes import asked, free_port, metric, until
from tests.runtime.workers import PARTITIONS, Arena, Record, numbers

BAD = b"bad"
KEPT = 30_000


def release(arena: Arena) -> None:
    producer = ck.Producer({"bootstrap.servers": arena.bootstrap})
    producer.produce(arena.source, None, BAD, partition_of(BAD, PARTITIONS), headers=[(RELEASE, b"")])
    assert producer.flush(20) == 0


def mended(arena: Arena) -> dict[bytes, bytes]:
    """What all records mean to a release that has no error."""
    told: dict[bytes, bytes] = {}
    for records in arena.records.values():
        logic = Counting(arena.output)
        logic.broken = False
        offline = Offline(logic)
        for key, value in records:
            told.update({output.key: output.value or b"" for output in offline.feed(key, value)})
    return told


def late(port: int) -> float:
    """Batches whose outputs were committed more than 5 s after they had arrived."""
    text = asked(port, "/metrics")[1]
    counts = [
        float(re.search(rf"^chargeline_latency_seconds_{name} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]
        for name in (r'count{stage="count"}', r'bucket{le="5.0",stage="count"}')
    ]
    return counts[0] - counts[1]


@pytest.mark.verify
def test_a_large_release_loses_nothing_and_delays_nobody(arena: Arena) -> None:
    port = free_port()
    arena.start("a", probe_port=port)
    kept: list[Record] = [(BAD, b"%d" % number) for number in range(KEPT)]
    arena.fill([(BAD, b"1"), (BAD, GROWS), *kept])
    assert until(lambda: metric(port, "stations_quarantined") == 1)
    assert until(lambda: metric(port, "lag_records") == 0)
    assert arena.stop_all() == {"a": 0}

    port = free_port()
    arena.start("a", probe_port=port, broken=False)
    assert until(lambda: asked(port, "/readyz")[0] == 200)
    assert until(lambda: metric(port, "stations_quarantined") == 1)
    release(arena)
    while metric(port, "stations_quarantined") == 1:
        arena.fill(numbers(keys=40, count=2_000))
    arena.fill(numbers(keys=40, count=2_000))
    expected = mended(arena)
    assert dict(arena.outputs(len(expected), 60)) == expected
    assert until(lambda: metric(port, "checkpoint_age_seconds") == 0)
    assert late(port) == 0
    assert arena.stop_all() == {"a": 0}
