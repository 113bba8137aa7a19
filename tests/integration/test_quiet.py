"""A pipeline to which nothing comes is idle, not stalled, although its topics end with markers of transactions."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline import topics
from pipeline.runtime.kafka.leases import Lease
from tests.integration.stack import Stack, started

pytestmark = pytest.mark.verify

STALL_LIMIT_S = 5


@pytest.mark.parametrize(
    ("position", "end", "tail", "behind"),
    [(10, 10, 12, 0), (9, 10, 12, 3), (10, 10, 0, 2), (12, 12, 12, 0), (10, 10, 11, 1)],
    ids=["only markers left", "a record waits", "not at the end yet", "no markers", "more has come since"],
)
def test_markers_after_the_last_record_are_no_work(position: int, end: int, tail: int, behind: int) -> None:
    lease = Lease("sessions", 0)
    lease.end, lease.tail, lease.high = end, tail, 12
    assert lease.behind(position) == behind


def ticked(stack: Stack, topic: str) -> set[int | None]:
    """Partitions in which live time passes."""
    found = (message for message in stack.records(topic) if message.key() is None)
    return {message.partition() for message in found if b"sim" not in (message.value() or b"")}


def test_quiet_workers_live_on_before_and_after_a_restart(tmp_path: Path) -> None:
    with started(tmp_path, stall_limit_s=str(STALL_LIMIT_S)) as stack:
        done = stack.chargeline("simulate", "--stations", "2", "--sites", "1", "--faults", "none")
        assert done.returncode == 0, done.stderr
        stack.wait()
        for _ in range(2):
            time.sleep(2 * STALL_LIMIT_S)
            assert ticked(stack, topics.METER_EVENTS.name) == set(range(8))
            assert ticked(stack, topics.CONNECTOR_STATUS.name) == set(range(4))
            assert set(stack.stop_workers()) == {0}
            stack.start_workers()
