"""The watchdog ends a worker that does not work, and leaves one alone that waits or has nothing to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from pipeline.metrics import Meters
from pipeline.runtime.kafka.intake import Intake
from pipeline.runtime.kafka.retry import Waits
from pipeline.runtime.process.liveness import Watchdog

LIMIT_S = 0.3


@dataclass
class Part:
    """As liveness.Part; a real stage needs a broker to be lazy."""

    name: str = "assemble"
    waits: Waits = field(default_factory=lambda: Waits("assemble", Meters()))
    progress: int = 0
    lag: int = 0
    uncommitted_s: float = 0.0
    ready: bool = True
    failure: asyncio.Future[None] = field(default_factory=lambda: asyncio.Future(loop=asyncio.new_event_loop()))
    intake: Intake = field(default_factory=lambda: cast(Intake, SimpleNamespace(alive=True, beat=time.monotonic())))

    async def open(self) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture
def part() -> Part:
    return Part()


def complaint_after(watchdog: Watchdog, part: Part, seconds: float, *, beats: bool = True) -> str | None:
    until = time.monotonic() + seconds
    found = None
    while found is None and time.monotonic() < until:
        if beats:
            watchdog.beat()
            part.intake.beat = time.monotonic()
        found = watchdog.complaint()
        time.sleep(0.02)
    return found


def test_an_idle_worker_is_left_alone(part: Part) -> None:
    assert complaint_after(Watchdog([part], LIMIT_S), part, 3 * LIMIT_S) is None


def test_lag_without_progress_is_a_stall(part: Part) -> None:
    part.lag = 5
    assert complaint_after(Watchdog([part], LIMIT_S), part, 3 * LIMIT_S) == (
        "assemble: no progress for 0 s although there is work"
    )


def test_a_declared_wait_is_no_stall_but_what_comes_after_it_is(part: Part) -> None:
    part.lag = 5
    watchdog = Watchdog([part], LIMIT_S)
    with part.waits.declared("broker"):
        assert complaint_after(watchdog, part, 3 * LIMIT_S) is None
    assert complaint_after(watchdog, part, 3 * LIMIT_S) is not None


def test_progress_without_commits_is_a_stall(part: Part) -> None:
    watchdog = Watchdog([part], LIMIT_S)
    part.uncommitted_s = 2 * LIMIT_S
    until, found = time.monotonic() + 3 * LIMIT_S, None
    while found is None and time.monotonic() < until:
        part.progress += 1
        found = complaint_after(watchdog, part, 0.05)
    assert found == "assemble: nothing committed for 0 s"


def test_an_event_loop_that_hangs_is_a_stall(part: Part) -> None:
    assert complaint_after(Watchdog([part], LIMIT_S), part, 3 * LIMIT_S, beats=False) == "the event loop hangs"


def test_the_watchdog_thread_tells_within_its_limit_and_a_second(part: Part) -> None:
    told: list[str] = []
    watchdog = Watchdog([part], LIMIT_S, told.append)
    watchdog.start()
    began = time.monotonic()
    while not told and time.monotonic() - began < 5:
        time.sleep(0.02)
    watchdog.stop()
    assert told
    assert time.monotonic() - began < LIMIT_S + 1


def test_a_process_that_was_stopped_is_given_its_time_anew_and_then_judged_as_ever(part: Part) -> None:
    part.lag, part.uncommitted_s = 5, 2 * LIMIT_S
    watchdog = Watchdog([part], LIMIT_S)
    assert complaint_after(watchdog, part, LIMIT_S / 4) is None
    time.sleep(2 * LIMIT_S)  # nobody ran, the watchdog neither
    assert watchdog.complaint() is None
    assert complaint_after(watchdog, part, 3 * LIMIT_S) is not None
