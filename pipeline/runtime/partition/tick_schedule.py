"""Which keys a tick visits: one heap of wake-ups per clock, and the set of keys that wait for reference data.

A wake-up stays on its heap when its key schedules another one. `due` drops it, because its time differs from the
time that the key has scheduled last.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from pipeline.runtime.logic import NEVER, KeyedState, Tick


class Sleeper:
    """One key and the wake-up that it has scheduled."""

    __slots__ = ("clock", "key", "scheduled")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.clock = ""
        self.scheduled = NEVER
        """The wake-up that is on the heap of `clock`."""


S = TypeVar("S", bound=Sleeper)


class TickSchedule(Generic[S]):
    def __init__(self, sleepers: Mapping[bytes, S]) -> None:
        self.waiting: set[bytes] = set()
        """Keys that wait for reference data, or did so when they were scheduled last."""
        self._sleepers = sleepers
        self._heaps: dict[str, list[tuple[int, bytes]]] = {}

    def schedule(self, sleeper: S, state: KeyedState) -> None:
        """Puts the key's next wake-up on the heap of its clock, unless an earlier one is there."""
        clock, next_us = state.clock, state.wake_us
        if state.waits:
            self.waiting.add(sleeper.key)
        if clock != sleeper.clock:
            sleeper.clock, sleeper.scheduled = clock, NEVER
        if next_us < sleeper.scheduled:
            sleeper.scheduled = next_us
            heapq.heappush(self._heaps.setdefault(clock, []), (next_us, sleeper.key))

    def reschedule(self, sleeper: S, state: KeyedState) -> None:
        """Schedules a key whose state was replaced: its earlier wake-up no longer counts."""
        sleeper.clock, sleeper.scheduled = "", NEVER
        self.schedule(sleeper, state)

    def due(self, tick: Tick) -> Sequence[S]:
        """The keys that are due at the tick. All leave the heap first, so that a tick visits a key only once."""
        heap = self._heaps.get(tick.clock)
        due: list[S] = []
        while heap and heap[0][0] <= tick.time_us:
            next_us, key = heapq.heappop(heap)
            sleeper = self._sleepers.get(key)
            if sleeper is not None and sleeper.scheduled == next_us and sleeper.clock == tick.clock:
                sleeper.scheduled = NEVER
                due.append(sleeper)
        return due
