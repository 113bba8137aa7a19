"""The watchdog ends a worker that does not work, and leaves one alone that waits or has nothing to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from pipeline.metrics import Meters
from pipeline.runtime.kafka.intake import Intake
from pipeline.runtime.kafka.retry import Waits
from pipeline.runtime.process.liveness import Watchdog

LIMIT_S = 25.0


class Clock:
    """Monotonic seconds that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


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
    intake: Intake = field(default_factory=lambda: cast(Intake, SimpleNamespace(alive=True, beat=1000.0)))

    async def open(self) -> None: ...
    async def close(self) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def part() -> Part:
    return Part()


def nothing() -> None:
    """Is done between two looks."""


def complaint_after(
    watchdog: Watchdog, part: Part, clock: Clock, seconds: float, *, beats: bool = True,
    meanwhile: Callable[[], None] = nothing,
) -> tuple[float, str | None]:  # fmt: skip
    """The first complaint of a look a second, and after how many seconds."""
    began = clock.now_s
    found = None
    while found is None and clock.now_s < began + seconds:
        clock.now_s += 1
        meanwhile()
        if beats:
            watchdog.beat()
            part.intake.beat = clock.now_s
        found = watchdog.complaint()
    return clock.now_s - began, found


def watching(part: Part, clock: Clock) -> Watchdog:
    return Watchdog([part], LIMIT_S, clock=clock)


def test_an_idle_worker_is_left_alone(part: Part, clock: Clock) -> None:
    assert complaint_after(watching(part, clock), part, clock, 10 * LIMIT_S) == (10 * LIMIT_S, None)


def test_lag_without_progress_is_a_stall(part: Part, clock: Clock) -> None:
    part.lag = 5
    told = "assemble: no progress for 25 s although there is work"
    assert complaint_after(watching(part, clock), part, clock, 3 * LIMIT_S) == (LIMIT_S + 1, told)


def test_a_declared_wait_is_no_stall_but_what_comes_after_it_is(part: Part, clock: Clock) -> None:
    part.lag = 5
    watchdog = watching(part, clock)
    with part.waits.declared("broker"):
        assert complaint_after(watchdog, part, clock, 3 * LIMIT_S)[1] is None
    after_s, told = complaint_after(watchdog, part, clock, 3 * LIMIT_S)
    assert told is not None
    assert after_s == LIMIT_S + 1, "the wait is not counted"


def test_progress_without_commits_is_a_stall(part: Part, clock: Clock) -> None:
    def progress() -> None:
        part.progress += 1
        part.uncommitted_s += 1

    watchdog = watching(part, clock)
    found = complaint_after(watchdog, part, clock, 3 * LIMIT_S, meanwhile=progress)
    assert found == (LIMIT_S + 1, "assemble: nothing committed for 25 s")


def test_an_event_loop_that_hangs_is_a_stall(part: Part, clock: Clock) -> None:
    found = complaint_after(watching(part, clock), part, clock, 3 * LIMIT_S, beats=False)
    assert found == (LIMIT_S + 1, "the event loop hangs")


def test_an_intake_that_hangs_is_a_stall(part: Part, clock: Clock) -> None:
    watchdog = watching(part, clock)
    found = complaint_after(watchdog, part, clock, 3 * LIMIT_S, beats=False, meanwhile=watchdog.beat)
    assert found == (LIMIT_S + 1, "assemble: the intake hangs")


def test_a_thread_of_its_own_looks_and_ends_the_worker(part: Part, clock: Clock) -> None:
    """Each look is a tenth of the limit after the one before it."""
    limit_s, looks, ended = 0.04, iter(range(1_000_000)), threading.Event()
    told: list[str] = []

    def end(reason: str) -> None:
        told.append(reason)
        ended.set()

    watchdog = Watchdog([part], limit_s, end, clock=lambda: next(looks) * limit_s / 10)
    watchdog.start()
    assert ended.wait(30)
    watchdog.stop()
    assert told[0] == "the event loop hangs"


def test_a_process_that_was_stopped_is_given_its_time_anew_and_then_judged_as_ever(part: Part, clock: Clock) -> None:
    part.lag, part.uncommitted_s = 5, 2 * LIMIT_S
    watchdog = watching(part, clock)
    assert complaint_after(watchdog, part, clock, LIMIT_S / 4)[1] is None
    clock.now_s += 2 * LIMIT_S  # nobody ran, the watchdog neither
    assert watchdog.complaint() is None
    assert complaint_after(watchdog, part, clock, 3 * LIMIT_S)[0] == LIMIT_S + 1
