"""Ends a worker that makes no progress, so that its supervisor starts it again, but not a worker that waits.

The watchdog is a thread: it also sees an event loop that hangs. It ends the process with STALLED within the limit.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pipeline.runtime.kafka.intake import Intake
from pipeline.runtime.kafka.retry import Waits

log = logging.getLogger(__name__)

STALLED = 70
"""Exit code: no progress (EX_SOFTWARE)."""


class Part(Protocol):
    """A stage or a sink, as the worker and the watchdog see it."""

    name: str
    waits: Waits
    progress: int
    failure: asyncio.Future[None]
    intake: Intake

    @property
    def ready(self) -> bool: ...
    @property
    def lag(self) -> int: ...
    @property
    def uncommitted_s(self) -> float: ...

    async def open(self) -> None: ...
    async def close(self) -> None: ...


def die(reason: str) -> None:
    """Ends the process at once with a stack dump of each thread; the next process repeats what was not committed."""
    log.critical("worker ends: %s", reason)
    faulthandler.dump_traceback()
    logging.shutdown()
    os._exit(STALLED)


class Watchdog:
    """Looks once a second; `beat` is called by the event loop."""

    def __init__(
        self, parts: Sequence[Part], limit_s: float, end: Callable[[str], None] = die,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`clock`: monotonic seconds, the same as that of the parts."""
        self._clock = clock
        self._parts = parts
        self._limit_s = limit_s
        self._end = end
        now = self._clock()
        self._loop_beat = self._looked = now
        self._good = {part.name: (part.progress, now) for part in parts}
        self._waited = dict.fromkeys(self._good, now)
        """When each part last waited: it could not commit until then."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def beat(self) -> None:
        self._loop_beat = self._clock()

    def complaint(self) -> str | None:
        """Why this worker must end, or None. The watchdog asks once a second: a long time between two questions means
        that the whole process was stopped (SIGSTOP, a suspended machine), which is nobody's stall."""
        now = self._clock()
        stopped, self._looked = now - self._looked > self._limit_s / 2, now
        if stopped:
            self._restart_limits(now)
        if now - self._loop_beat > self._limit_s:
            return "the event loop hangs"
        for part in self._parts:
            if part.waits.active:
                self._good[part.name] = part.progress, now
                self._waited[part.name] = now
                continue
            progress, since = self._good[part.name]
            working = part.lag > 0 or part.uncommitted_s > 0
            if part.progress != progress or not working:
                self._good[part.name] = part.progress, now
            elif now - since > self._limit_s:
                return f"{part.name}: no progress for {self._limit_s:.0f} s although there is work"
            if min(part.uncommitted_s, now - self._waited[part.name]) > self._limit_s:
                return f"{part.name}: nothing committed for {self._limit_s:.0f} s"
            if part.intake.alive and now - max(part.intake.beat, self._waited[part.name]) > self._limit_s:
                return f"{part.name}: the intake hangs"
        return None

    def _restart_limits(self, now: float) -> None:
        log.warning("this process was stopped for a while; the time limits of its parts start again")
        self._loop_beat = now
        for part in self._parts:
            self._good[part.name] = part.progress, now
            self._waited[part.name] = now

    def _run(self) -> None:
        while not self._stop.wait(min(1.0, self._limit_s / 4)):
            if (reason := self.complaint()) is not None:
                self._end(reason)
