"""Runs a Logic over records in memory: the offline commands, audits and comparisons use it instead of the stage.

It has no checkpoint and no changelog; what it must share with the stage is the meaning of a tick: it visits the keys
that follow its clock and whose `wake_us` is reached. There is no log to go back to: a key that raises is set aside.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import NEVER, KeyedState, Logic, Output, ReferenceBehind, View, widened
from pipeline.runtime.partition.checks import check_value
from pipeline.runtime.partition.internal_errors import place, tell
from pipeline.topics import LARGEST_RECORD

State = TypeVar("State", bound=KeyedState)


class MemoryArchive:
    """runtime.logic.Archive as a dictionary."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}

    def get(self, name: bytes) -> bytes | None:
        return self._kept.get(name)

    def put(self, name: bytes, value: bytes) -> None:
        self._kept[name] = value

    def drop(self, name: bytes) -> None:
        self._kept.pop(name, None)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self._kept.items())


class Offline(Generic[State]):
    """One partition (or a whole log) of a keyed stage in memory."""

    def __init__(self, logic: Logic[State]) -> None:
        self._logic = logic
        self.states: dict[bytes, State] = {}
        self.refused = 0
        """Records that were not decodable; each also came out as an InvalidMessage of `feed`."""
        self.set_aside: dict[bytes, str] = {}
        """Keys that met an error of ours, and its type and place: what came until then stands, no more is used."""
        self._wakes: dict[str, list[tuple[int, bytes]]] = {}
        self._scheduled: dict[bytes, tuple[str, int]] = {}
        self._waiting: set[bytes] = set()
        self._view: View = ()

    def feed(self, key: bytes | None, value: bytes, sent_at_ms: int = NEVER) -> Iterator[Output]:
        """Outputs of one record. Raises InvalidMessage, as the stage would make a dead letter of it."""
        try:
            if len(value) > LARGEST_RECORD:
                check_value(value)
            if key is None:
                yield from self._tick(value, sent_at_ms)
                return
            state = self.states.get(key)
            clock, wake = "", NEVER
            if state is None:
                if key in self.set_aside:
                    raise InvalidMessage("STATION_QUARANTINED", self.set_aside[key])
                state = self._logic.create(key, MemoryArchive())
                outputs = self._logic.apply(state, value, sent_at_ms)
                self.states[key] = state
            else:
                clock, wake = state.clock, state.wake_us
                outputs = self._logic.apply(state, value, sent_at_ms)
        except ReferenceBehind:
            raise  # no error: it may come
        except InvalidMessage:
            self.refused += 1
            raise
        except Exception as error:
            self.refused += 1
            self.put_aside(key, error)
            raise InvalidMessage("INTERNAL_ERROR", place(error)) from error
        if state.wake_us != wake or state.clock != clock or state.waits:  # else nothing is planned anew; nearly always
            self._schedule(key, state)
        if outputs:
            yield from outputs

    def put_aside(self, key: bytes | None, error: Exception) -> None:
        """`error` came from what the key's state was asked."""
        tell(error, "offline")
        if key is not None:
            self.set_aside[key] = place(error)
            self.states.pop(key, None)
            self._waiting.discard(key)
            self._scheduled.pop(key, None)

    def _schedule(self, key: bytes, state: State) -> None:
        if state.waits:
            self._waiting.add(key)
        clock, wake = state.clock, state.wake_us
        known = self._scheduled.get(key)
        if wake < NEVER and (known is None or known[0] != clock or wake < known[1]):
            self._scheduled[key] = (clock, wake)
            heapq.heappush(self._wakes.setdefault(clock, []), (wake, key))

    def _tick(self, value: bytes, append_time_ms: int) -> Iterator[Output]:
        tick = self._logic.tick_of(value, append_time_ms)
        if tick.signed:
            self._logic.trust(unsigned=False)
        if tick.view:
            yield from self._show(tick.view)
        wakes = self._wakes.get(tick.clock)
        while wakes and wakes[0][0] <= tick.time_us:
            at, key = heapq.heappop(wakes)
            if self._scheduled.get(key) != (tick.clock, at):
                continue
            del self._scheduled[key]
            state = self.states[key]
            if state.clock == tick.clock and state.wake_us <= tick.time_us:
                try:
                    outputs = self._logic.tick(state, tick)
                except Exception as error:
                    self.put_aside(key, error)
                    continue
                if outputs:
                    yield from outputs
            self._schedule(key, state)

    def _show(self, view: View) -> Iterator[Output]:
        self._view, brought = widened(self._view, view)
        if not brought:
            return
        self._logic.see(self._view)
        for key in sorted(self._waiting):
            state = self.states[key]
            if state.waits & brought:
                try:
                    outputs = self._logic.release(state) or ()
                except Exception as error:
                    self.put_aside(key, error)
                    continue
                yield from outputs
            if not state.waits:
                self._waiting.discard(key)
            self._schedule(key, state)
