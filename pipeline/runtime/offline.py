"""Runs a Logic over records in memory: the offline commands, audits and comparisons use it instead of the stage.

It has no checkpoint and no changelog. A tick means the same as in the stage: it visits the keys that follow its clock
and whose `wake_us` is reached. There is no log to read again, so a key that raises is set aside at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import NEVER, KeyedState, Logic, Output, ReferenceBehind, Watermark, advanced, reference_of
from pipeline.runtime.partition.checks import check_value
from pipeline.runtime.partition.internal_errors import log_error, place
from pipeline.runtime.partition.tick_schedule import Sleeper, TickSchedule
from pipeline.topics import LARGEST_RECORD

State = TypeVar("State", bound=KeyedState)


class MemoryArchive:
    """Implements runtime.logic.Archive as a dictionary."""

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
        self._reference = reference_of(logic)
        self.states: dict[bytes, State] = {}
        self.refused = 0
        """Number of records that could not be used; `feed` raised InvalidMessage for each."""
        self.set_aside: dict[bytes, str] = {}
        """Keys that raised, with type and place of the exception: earlier outputs stand, later records are not used."""
        self._sleepers: dict[bytes, Sleeper] = {}
        self._ticks = TickSchedule(self._sleepers)
        self._watermark: Watermark = ()

    def feed(self, key: bytes | None, value: bytes, sent_at_ms: int = NEVER) -> Iterator[Output]:
        """Outputs of one record. Raises InvalidMessage where the stage would make a dead letter."""
        try:
            if len(value) > LARGEST_RECORD:
                check_value(value)
            if key is None:
                yield from self._tick(value, sent_at_ms)
                return
            state = self.states.get(key)
            if state is None:
                if key in self.set_aside:
                    raise InvalidMessage("STATION_QUARANTINED", self.set_aside[key])
                state = self._logic.create(key, MemoryArchive())
                outputs = self._logic.apply(state, value, sent_at_ms)
                self.states[key] = state
            else:
                outputs = self._logic.apply(state, value, sent_at_ms)
        except ReferenceBehind:
            raise  # no error: the data may still arrive
        except InvalidMessage:
            self.refused += 1
            raise
        except Exception as error:
            self.refused += 1
            self.put_aside(key, error)
            raise InvalidMessage("INTERNAL_ERROR", place(error)) from error
        asleep = self._sleepers.get(key)
        if asleep is None or state.wake_us < asleep.scheduled or state.clock != asleep.clock:  # seldom, as in the stage
            self._schedule(key, state)
        if outputs:
            yield from outputs

    def put_aside(self, key: bytes | None, error: Exception) -> None:
        """Sets the key aside because its state raised `error`."""
        log_error(error, "offline")
        if key is not None:
            self.set_aside[key] = place(error)
            self.states.pop(key, None)
            self._ticks.waiting.discard(key)
            self._sleepers.pop(key, None)

    def _schedule(self, key: bytes, state: State) -> None:
        sleeper = self._sleepers.get(key)
        if sleeper is None:
            sleeper = self._sleepers[key] = Sleeper(key)
        self._ticks.schedule(sleeper, state)

    def _tick(self, value: bytes, append_time_ms: int) -> Iterator[Output]:
        tick = self._logic.tick_of(value, append_time_ms)
        if tick.signed:
            self._logic.trust(unsigned=False)
        if tick.watermark:
            yield from self._show(tick.watermark)
        for key in [sleeper.key for sleeper in self._ticks.due(tick)]:
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

    def _show(self, watermark: Watermark) -> Iterator[Output]:
        self._watermark, brought = advanced(self._watermark, watermark)
        if not brought:
            return
        self._reference.see(self._watermark)
        for key in sorted(self._ticks.waiting):
            state = self.states[key]
            if state.waits & brought:
                try:
                    outputs = self._reference.release(state) or ()
                except Exception as error:
                    self.put_aside(key, error)
                    continue
                yield from outputs
            if not state.waits:
                self._ticks.waiting.discard(key)
            self._schedule(key, state)
