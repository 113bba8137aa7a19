"""Which keys a tick concerns: a heap of wake-ups for each clock; and which wait for reference data.

A wake-up stays on its heap when the key plans another one; what it finds is then compared with the key's own plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from pipeline.runtime.logic import NEVER, KeyedState, Tick


class Sleeper:
    """What a key has planned."""

    __slots__ = ("clock", "key", "scheduled")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.clock = ""
        self.scheduled = NEVER
        """The wake-up that is on the heap of `clock`."""


S = TypeVar("S", bound=Sleeper)


class Wakes(Generic[S]):
    def __init__(self, sleepers: Mapping[bytes, S]) -> None:
        self.waiting: set[bytes] = set()
        """Keys that wait for reference data, or did when they were planned."""
        self._sleepers = sleepers
        self._heaps: dict[str, list[tuple[int, bytes]]] = {}

    def plan(self, sleeper: S, state: KeyedState) -> None:
        """Puts the key's next wake-up on the heap of its clock, unless an earlier one is there."""
        clock, wake = state.clock, state.wake_us
        if state.waits:
            self.waiting.add(sleeper.key)
        if clock != sleeper.clock:
            sleeper.clock, sleeper.scheduled = clock, NEVER
        if wake < sleeper.scheduled:
            sleeper.scheduled = wake
            heapq.heappush(self._heaps.setdefault(clock, []), (wake, sleeper.key))

    def plan_anew(self, sleeper: S, state: KeyedState) -> None:
        """The same where the state was exchanged: what it had planned is not believed."""
        sleeper.clock, sleeper.scheduled = "", NEVER
        self.plan(sleeper, state)

    def due(self, tick: Tick) -> Sequence[S]:
        """The keys on the tick's heap that are due; all are taken off first, so that a tick visits a key once."""
        heap = self._heaps.get(tick.clock)
        due: list[S] = []
        while heap and heap[0][0] <= tick.time_us:
            wake, key = heapq.heappop(heap)
            sleeper = self._sleepers.get(key)
            if sleeper is not None and sleeper.scheduled == wake and sleeper.clock == tick.clock:
                sleeper.scheduled = NEVER
                due.append(sleeper)
        return due
