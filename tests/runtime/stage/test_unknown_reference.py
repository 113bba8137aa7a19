"""A tick that names more reference data than there is holds up its own partition, says so, and nobody forever."""

from __future__ import annotations

from collections.abc import Callable

import confluent_kafka as ck

from tests.runtime.probes import asked, free_port, metric, until
from tests.runtime.workers import PARTITIONS, Arena, numbers

NOWHERE = b"live 5 2305843009213693952"


def write(arena: Arena, partition: int, value: bytes) -> None:
    producer = ck.Producer({"bootstrap.servers": arena.bootstrap})
    producer.produce(arena.source, value, None, partition)
    assert producer.flush(20) == 0


def test_the_other_partitions_go_on_and_after_a_while_an_operator_is_asked(new_arena: Callable[..., Arena]) -> None:
    arena = new_arena(reference_wait_s=3)
    port = free_port()
    process = arena.start("a", probe_port=port, reached=100, stall_limit_s=4)
    assert until(lambda: asked(port, "/readyz")[0] == 200)
    arena.fill(numbers(keys=40, count=400))
    assert until(lambda: metric(port, "lag_records") == 0)
    write(arena, 1, b"signed " + NOWHERE)
    assert until(lambda: "partition 1 waits at offset" in asked(port, "/readyz")[1]), asked(port, "/readyz")
    status, why = asked(port, "/readyz")
    assert (status, "100 of 2305843009213693952" in why, "chargeline topics fill" in why) == (503, True, True)
    before = metric(port, "events_total")
    arena.fill(numbers(keys=40, count=4000))
    elsewhere = sum(len(records) for number, records in arena.records.items() if number != 1) * 10 // 11
    assert until(lambda: metric(port, "events_total") - before >= elsewhere), "three of four partitions are read on"
    assert metric(port, "lag_records") > 0
    assert asked(port, "/livez")[0] == 200, "the watchdog judges the others"
    assert process.poll() is None
    assert arena.stop_all() == {"a": 0}


def test_an_unsigned_one_is_a_dead_letter_after_a_while(new_arena: Callable[..., Arena]) -> None:
    arena = new_arena(reference_wait_s=2)
    port = free_port()
    arena.start("a", probe_port=port, reached=100)
    for number in range(PARTITIONS):
        write(arena, number, NOWHERE)
    arena.fill(numbers(keys=40, count=4000))
    expected = arena.expected()
    assert dict(arena.outputs(len(expected), 30)) == expected
    assert until(lambda: asked(port, "/readyz") == (200, "ok\n"))
    refused = 'chargeline_dead_letters_total{reason="REFERENCE_UNKNOWN",stage="count"} 4.0'
    assert refused in asked(port, "/metrics")[1]
    assert arena.stop_all() == {"a": 0}
