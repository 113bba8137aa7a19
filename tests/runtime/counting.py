"""A Logic that is easy to predict: it counts, and tells the count at every tenth record and at ticks."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import NEVER, Archive, Output, Tick

OUTPUTS = "sessions"
REMINDER_US = 5_000_000


class Count:
    """`total` is the sum of the numbers that a key sent; the key wakes REMINDER_US after its last tenth record."""

    __slots__ = ("archive", "clock", "count", "key", "time_us", "total", "wake_us")

    def __init__(self, key: bytes, archive: Archive) -> None:
        self.key = key
        self.archive = archive
        self.clock = "live"
        self.wake_us = NEVER
        self.time_us = 0
        self.count = 0
        self.total = 0


class Counting:
    """Implements runtime.logic.Logic[Count]. Records are decimal numbers, `clock time_us` is a tick."""

    codec_version = 1
    readable_versions = frozenset({1})

    def __init__(self, output: str = OUTPUTS) -> None:
        self.output = output

    def create(self, key: bytes, archive: Archive) -> Count:
        return Count(key, archive)

    def apply(self, state: Count, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        if not value.isdigit():
            raise InvalidMessage("NOT_A_NUMBER", "send decimal digits")
        state.count += 1
        state.total += int(value)
        if state.count % 10:
            return None
        state.wake_us = state.time_us + REMINDER_US
        if state.count % 50 == 0:
            state.archive.put(b"%d" % state.count, b"%d" % state.total)
            state.archive.drop(b"%d" % (state.count - 100))
            state.archive.put(b"writes", b"%d" % (int(state.archive.get(b"writes") or 0) + 1))
        return [self._tell(state, b"%d" % state.count)]

    def tick_of(self, value: bytes, append_time_ms: int) -> Tick:
        clock, _, time_us = value.partition(b" ")
        if not time_us.isdigit():
            raise InvalidMessage("NOT_A_TICK", "send `clock time_us`")
        return Tick(clock.decode(), int(time_us))

    def tick(self, state: Count, tick: Tick) -> Sequence[Output] | None:
        state.time_us = tick.time_us
        state.wake_us = NEVER
        return [self._tell(state, b"reminder-%d" % tick.time_us)]

    def _tell(self, state: Count, what: bytes) -> Output:
        archived = b",".join(name + b":" + value for name, value in sorted(state.archive.items()))
        return Output(self.output, state.key + b"/" + what, b"%d %s" % (state.total, archived))

    def dump(self, state: Count) -> bytes:
        return b"%s %d %d %d %d" % (state.clock.encode(), state.wake_us, state.time_us, state.count, state.total)

    def load(self, key: bytes, value: bytes, version: int, archive: Archive) -> Count:
        state = Count(key, archive)
        clock, wake, time, count, total = value.split()
        state.clock = clock.decode()
        state.wake_us, state.time_us, state.count, state.total = int(wake), int(time), int(count), int(total)
        return state
