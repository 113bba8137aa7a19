"""A Logic that is easy to predict: it counts, and tells the count at every tenth record, at ticks and when released."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.errors import InvalidMessage
from pipeline.metrics import Meters
from pipeline.runtime.logic import NEVER, Archive, Output, ReferenceBehind, Tick, Trouble, Watermark

OUTPUTS = "sessions"
REMINDER_US = 5_000_000
HANGS = b"9" * 20
"""At this number `apply` does not return for a minute: a bug that blocks the event loop."""

RAISES, GROWS, OUTGROWS = b"9" * 21, b"9" * 22, b"9" * 23
"""At these numbers `apply` raises, makes an output above the bound, makes a state of more than 400 bytes."""
TICK_RAISES = 7
"""At ticks whose time ends in it `tick` raises for the key `bad`."""


class Count:
    """`total` is the sum of the numbers that a key sent; the key wakes REMINDER_US after its last tenth record.

    After each record that ends in 5 (10 n + 5) it waits for reference data, and adds what it then sees to the total.
    """

    __slots__ = ("archive", "clock", "count", "key", "time_us", "total", "waits", "wake_us")

    def __init__(self, key: bytes, archive: Archive) -> None:
        self.key = key
        self.archive = archive
        self.clock = "live"
        self.wake_us = NEVER
        self.waits = 0
        self.time_us = 0
        self.count = 0
        self.total = 0


class Counting:
    """Implements runtime.logic.Logic[Count]. Records are decimal numbers, `clock time_us` is a tick, and
    `clock time_us offset` one that makes reference data visible, of which `reached` is here; `signed` may be first."""

    codec_version = 1
    readable_versions = frozenset({1})

    def tally(self, state: Count) -> Sequence[int]:
        return (state.count, 1)

    def show(self, totals: Sequence[int], stage: str, meters: Meters) -> None:
        """Of records and keys, which the tests read from the partitions."""

    def __init__(self, output: str = OUTPUTS, reached: int = NEVER) -> None:
        self.output = output
        self.reached = reached
        self.broken = True
        """RAISES, GROWS and TICK_RAISES do harm; else they are numbers as any other."""
        self._seen = 0

    def create(self, key: bytes, archive: Archive) -> Count:
        return Count(key, archive)

    def apply(self, state: Count, value: bytes, sent_at_ms: int) -> Sequence[Output] | None:
        if not value.isdigit():
            raise InvalidMessage("NOT_A_NUMBER", "send decimal digits")
        if value == HANGS:
            time.sleep(60)
        state.count += 1
        if self.broken and value == RAISES:
            state.archive.put(b"half", b"done")
            raise KeyError("an error of ours, in the middle of a change")
        if self.broken and value == GROWS:
            return [Output("sessions", state.key, b"x" * 5_000_001)]
        if value == OUTGROWS:
            state.archive.put(b"large", b"1")
            state.total = 10**400
        state.total += int(value)
        if state.count % 10 == 5:
            state.waits, state.wake_us = 1, 0
        if state.count % 10:
            return None
        state.wake_us = state.time_us + REMINDER_US
        if state.count % 50 == 0:
            state.archive.put(b"%d" % state.count, b"%d" % state.total)
            state.archive.drop(b"%d" % (state.count - 100))
            state.archive.put(b"writes", b"%d" % (int(state.archive.get(b"writes") or 0) + 1))
        return [self._tell(state, b"%d" % state.count)]

    def tick_of(self, value: bytes, append_time_ms: int) -> Tick:
        signed = value.startswith(b"signed ")
        clock, *numbers = value.removeprefix(b"signed ").split(b" ")
        if not numbers or not all(number.isdigit() for number in numbers):
            raise InvalidMessage("NOT_A_TICK", "send `clock time_us`")
        return Tick(clock.decode(), int(numbers[0]), tuple(map(int, numbers[1:])), signed)

    def trust(self, unsigned: bool) -> bool:
        return True

    def check_release(self, key: bytes, way: bytes, at_ms: int, signature: bytes) -> None:
        """Everybody may."""

    def see(self, watermark: Watermark) -> None:
        if watermark and watermark[0] > self.reached:
            raise ReferenceBehind(f"{self.reached} of {watermark[0]}")
        self._seen = watermark[0] if watermark else 0

    def release(self, state: Count) -> Sequence[Output] | None:
        state.waits = 0
        state.total += self._seen
        return [self._tell(state, b"released-%d" % state.count)]

    def tick(self, state: Count, tick: Tick) -> Sequence[Output] | None:
        if self.broken and tick.time_us % 10 == TICK_RAISES and state.key == b"bad":
            raise ZeroDivisionError("an error of ours")
        if state.wake_us == 0:  # woken only because it waits
            state.wake_us = NEVER
            return None
        state.time_us = tick.time_us
        state.wake_us = NEVER
        return [self._tell(state, b"reminder-%d" % tick.time_us)]

    def _tell(self, state: Count, what: bytes) -> Output:
        archived = b",".join(name + b":" + value for name, value in sorted(state.archive.items()))
        return Output(self.output, state.key + b"/" + what, b"%d %d %s" % (state.total, self._seen, archived))

    def report(self, key: bytes, state: Count | None, trouble: Trouble) -> Sequence[Output]:
        told = b"held %d" % state.count if state is not None else b"unknown"
        return [Output("anomalies", key, b"%s %s" % (trouble.rule.encode(), told))]

    def dump(self, state: Count) -> bytes:
        numbers = state.wake_us, state.waits, state.time_us, state.count, state.total
        return b"%s %d %d %d %d %d" % (state.clock.encode(), *numbers)

    def load(self, key: bytes, value: bytes, version: int, archive: Archive) -> Count:
        state = Count(key, archive)
        clock, *numbers = value.split()
        state.clock = clock.decode()
        state.wake_us, state.waits, state.time_us, state.count, state.total = map(int, numbers)
        return state
