"""Workers are killed, paused and moved while records pass: everything is told exactly once, and the right thing."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.workers import Arena, numbers


def agrees(arena: Arena, timeout_s: float) -> None:
    """Every output that the records mean, once, and no other."""
    expected = arena.expected()
    found = arena.outputs(len(expected), timeout_s)
    repeated = {key for key, times in Counter(key for key, _ in found).items() if times > 1}
    got = dict(found)
    different = {key for key in got if got[key] != expected.get(key)}
    assert (len(expected.keys() - got.keys()), len(repeated), len(different)) == (0, 0, 0)


def test_one_worker_tells_what_the_offline_run_tells_and_stops_in_time(arena: Arena) -> None:
    arena.fill(numbers(keys=300, count=60_000))
    arena.start("a")
    agrees(arena, 40)
    began = time.monotonic()
    assert arena.stop_all() == {"a": 0}
    assert time.monotonic() - began < 10


def test_a_restarted_worker_goes_on_where_the_last_one_stopped(arena: Arena) -> None:
    arena.fill(numbers(keys=300, count=15_005))
    arena.start("a")
    agrees(arena, 30)
    assert arena.stop_all() == {"a": 0}
    arena.fill((key, b"7") for key, _ in numbers(keys=300, count=15_005))
    arena.start("a")
    agrees(arena, 30)
    assert arena.stop_all() == {"a": 0}


def test_workers_that_are_killed_at_any_moment_lose_and_repeat_nothing(arena: Arena) -> None:
    chance = random.Random(7)  # noqa: S311 - a schedule, not a secret
    arena.fill(numbers(keys=300, count=20_000))
    slots = ["a", "b", "c"]
    for slot in slots:
        arena.start(slot)
    for _ in range(6):
        arena.fill(numbers(keys=300, count=10_000), pace_s=0.05)
        slot = chance.choice(slots)
        time.sleep(chance.random())
        arena.kill(slot)
        arena.fill(numbers(keys=300, count=5_000), pace_s=0.05)
        arena.start(slot)
    agrees(arena, 60)
    assert set(arena.stop_all().values()) <= {0, -signal.SIGTERM}, "the latter: started a moment ago, not yet at work"


@pytest.mark.parametrize("step", ["apply", "flush", "offsets", "commit"])
def test_an_owner_paused_before_a_step_and_continued_later_is_fenced_or_complete(
    new_arena: Callable[..., Arena], step: str
) -> None:
    """Its session ends, others take over and go on; what it sends when it wakes up must not be seen."""
    arena = new_arena(session_timeout_ms=2500, transaction_timeout_ms=9000)
    arena.fill(numbers(keys=300, count=20_000))
    paused = arena.start("a", pause_at=f"count:{step}:3")
    state = Path(f"/proc/{paused.pid}/stat")
    until = time.monotonic() + 40
    while state.read_text().split()[2] != "T":
        assert time.monotonic() < until, "never reached the step"
        arena.fill(numbers(keys=300, count=1_000))
        time.sleep(0.2)
    arena.start("b")
    arena.fill(numbers(keys=300, count=10_000), pace_s=0.1)
    time.sleep(5)  # longer than the session, shorter than the transaction
    os.kill(paused.pid, signal.SIGCONT)
    arena.fill(numbers(keys=300, count=10_000), pace_s=0.1)
    agrees(arena, 60)
    assert set(arena.stop_all().values()) == {0}, arena.log("a")
    assert "restored" in arena.log("b")


def test_two_workers_with_the_same_slot_fence_each_other_again_and_again_and_tell_everything_once(arena: Arena) -> None:
    """A mistake of the operator: slow, loud in the log, never wrong."""
    arena.fill(numbers(keys=300, count=10_000))
    first = arena.start("a")
    arena.outputs(300, 20)
    second = arena.start("a")
    for _ in range(6):
        arena.fill(numbers(keys=300, count=2_000))
        time.sleep(0.5)
    agrees(arena, 60)
    assert "transaction given up" in arena.log("a")
    arena.processes = {"first": first, "second": second}
    codes = arena.stop_all()
    assert codes == {"first": 0, "second": 0}, arena.log("a")[-3000:]
