"""A restore reads the changelog to its end; what hinders it for long is a sentence for an operator."""

from __future__ import annotations

import time

import confluent_kafka as ck
import pytest

from pipeline.metrics import Meters
from pipeline.runtime.kafka import history as module
from pipeline.runtime.kafka.config import StageConfig
from pipeline.runtime.kafka.history import KafkaHistory
from pipeline.runtime.kafka.retry import Waits
from tests.runtime.workers import Arena

PATIENCE_S = 0.5
LIMIT_S = 20.0


def test_a_transaction_that_nobody_ends_is_named_with_what_to_do(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDLESS_S", PATIENCE_S)
    client = {"bootstrap.servers": arena.bootstrap}
    left_open = ck.Producer(client | {"transactional.id": f"{arena.name}-dead", "transaction.timeout.ms": 60_000})
    left_open.init_transactions(20)
    left_open.begin_transaction()
    left_open.produce(arena.changelog, b"value", b"key", 2)
    left_open.flush(20)
    waits = Waits("count", Meters())
    config = StageConfig(
        name="count", topics=[arena.source], changelog=arena.changelog, group=arena.name, client=client, slot="a"
    )
    history, until, said = KafkaHistory(config, waits, lambda: False), time.monotonic() + LIMIT_S, ""
    try:
        ends = history.ends([0, 2])
        assert ends[2] == 1, "records of open transactions are waited for"
        for chunk in history.read(ends):
            assert not chunk, "nothing of it may be seen"
            assert time.monotonic() < until, "the restore neither ended nor said why"
            if not said and (sentences := waits.troubles.sentences()):
                (said,) = sentences
                left_open.abort_transaction(20)
    finally:
        history.close()
    assert f"partitions [2] of {arena.changelog}" in said
    assert "find-hanging" in said
    assert not waits.troubles, "it is over"
