"""Which keys of a partition a tick concerns: a heap of wake-ups for each clock; and which wait for reference data.

A wake-up stays on its heap when the key plans another one; what it finds is then compared with the key's own plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Generic

from pipeline.runtime.logic import NEVER, State, Tick
from pipeline.runtime.partition.entries import Entry


class Wakes(Generic[State]):
    def __init__(self, entries: Mapping[bytes, Entry[State]]) -> None:
        self.waiting: set[bytes] = set()
        """Keys that wait for reference data, or did when they were planned."""
        self._entries = entries
        self._heaps: dict[str, list[tuple[int, bytes]]] = {}

    def plan(self, entry: Entry[State]) -> None:
        """Puts the key's next wake-up on the heap of its clock, unless an earlier one is there."""
        state = entry.state
        clock, wake = state.clock, state.wake_us
        if state.waits:
            self.waiting.add(entry.key)
        if clock != entry.clock:
            entry.clock, entry.scheduled = clock, NEVER
        if wake < entry.scheduled:
            entry.scheduled = wake
            heapq.heappush(self._heaps.setdefault(clock, []), (wake, entry.key))

    def plan_anew(self, entry: Entry[State]) -> None:
        """The same for an entry whose state was exchanged: what it had planned is not believed."""
        entry.clock, entry.scheduled = "", NEVER
        self.plan(entry)

    def due(self, tick: Tick) -> Sequence[Entry[State]]:
        """The keys on the tick's heap that are due; all are taken off first, so that a tick visits a key once."""
        heap = self._heaps.get(tick.clock)
        due: list[Entry[State]] = []
        while heap and heap[0][0] <= tick.time_us:
            wake, key = heapq.heappop(heap)
            entry = self._entries.get(key)
            if entry is not None and entry.scheduled == wake and entry.clock == tick.clock:
                entry.scheduled = NEVER
                due.append(entry)
        return due
