"""Levels of a station's clock: by how much it was off between which messages, as their lags show.

The rules are those of clock.py, which says what of a session they correct. Here are only pairs of times, no station.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple

from pipeline.domain.station import CLOCK_TOLERANCE, EARLIEST, HOUR, MINUTE, NEVER, SECOND

STEADY = 5 * SECOND
"""Lags of one level differ by less, the network's jitter; those of two outages hardly ever do."""
RIGHT = 30 * SECOND
"""A message that is received so soon after it happened was stamped by a clock that is right, whatever was before."""
PROOF = 3
"""So many messages show a level ..."""
LASTING = MINUTE
"""... received over at least this long."""
ZONE = 15 * MINUTE
"""Wall-clock stamps are off by whole quarters of an hour."""


class Level(NamedTuple):
    """From the message received at `from_us` to the one at `until_us` the clock was off; `offset_us` is to be added."""

    from_us: int
    until_us: int
    offset_us: int
    is_own: bool = False
    """Shown by the messages of the session itself."""
    is_proven: bool = False
    """Many messages show it."""


def levels_of(observations: Iterable[tuple[int, int]]) -> list[Level]:
    """Levels of the clock by (time received, lag), in order of receipt.

    A smaller lag ends a level: no message is received sooner after it happened than the clock is off. Levels that go on
    are more than STEADY apart, so of those in order of their lag only the last ones are looked at.
    """
    ended: list[list[tuple[int, int]]] = []
    runs: list[list[tuple[int, int]]] = []
    for received, lag in sorted(set(observations)):
        while runs and lag < runs[-1][0][1] - RIGHT:
            ended.append(runs.pop())
        place = len(runs)
        while place and runs[place - 1][0][1] >= lag - STEADY:
            place -= 1
        near = [run for run in runs[place : place + 2] if run[0][1] <= lag + STEADY]
        if near:
            max(near, key=itemgetter(0)).append((received, lag))
        else:
            runs.insert(place, [(received, lag)])
    found: list[Level] = []
    for run in [*ended, *runs]:
        least = min(lag for _, lag in run)
        proven = len(run) >= PROOF and run[-1][0] - run[0][0] >= LASTING
        if proven or least < -CLOCK_TOLERANCE:
            offset = settled(least) if abs(least) > CLOCK_TOLERANCE else 0
            found.append(Level(run[0][0], run[-1][0], offset, is_proven=proven))
    kept, least_shown = [], NEVER
    for level in sorted(found, key=lambda level: (level.from_us, not level.is_proven)):
        if level.is_proven:
            least_shown = min(least_shown, level.offset_us)
        if level.is_proven or level.offset_us + RIGHT < least_shown:  # else late messages of a level that many show
            kept.append(level)
    return sorted(kept)


def explains(shown: Level, other: Level) -> bool:
    """Are the few messages of `other` late ones of a level that many show?"""
    return shown.from_us <= other.from_us and shown.offset_us <= other.offset_us + RIGHT


def was_late(level: Level, shown: Level) -> bool:
    """Were its messages late, although the clock may have been set since? By whole hours it was (daylight saving)."""
    by = (level.offset_us - shown.offset_us + STEADY) % HOUR
    return level.until_us <= shown.until_us or by > 2 * STEADY


def settled(lag: int) -> int:
    """The least lag as an offset: the zone that it stands for, else whole seconds; the rest is the network's delay."""
    zone = (lag + ZONE // 2) // ZONE * ZONE
    return zone if -SECOND <= lag - zone <= STEADY else lag // SECOND * SECOND


def offset_of(levels: Sequence[Level], at: int, received: int) -> int:
    """What is to be added to the time of a message, us; 0: nothing, or nothing is known. Never leads before 2017."""
    if not received:
        return 0
    offset = _offset_of(levels, at, received)
    return offset if at + offset >= EARLIEST else received - at


def _offset_of(levels: Sequence[Level], at: int, received: int) -> int:
    lag = received - at
    level = in_force(levels, received, lag)
    offset = 0 if level is None else level.offset_us
    if at < EARLIEST:
        return offset if level is not None and _was_delayed(level, at, received) else lag
    if abs(lag) <= RIGHT:
        return 0
    if lag < offset - RIGHT and lag < -CLOCK_TOLERANCE:
        return lag  # not even this level can explain it
    return offset if offset <= lag + RIGHT else 0


def _was_delayed(level: Level, at: int, received: int) -> bool:
    """Of a clock that was never set: does the message go on from those of this level, or did the clock begin anew?"""
    happened = at + level.offset_us
    return received - happened > RIGHT and happened >= (level.from_us if received <= level.until_us else level.until_us)


def in_force(levels: Sequence[Level], received: int, lag: int) -> Level | None:
    """The first level around this time, else the one that ended last before it, else the first one.

    Where the session's own messages show levels, one of the station's counts only for a message with just that lag.
    """
    own = [level for level in levels if level.is_own]
    around = [level for level in levels if level.from_us <= received <= level.until_us]
    for level in around:
        if level.is_own or not own or abs(lag - level.offset_us) <= STEADY:
            return level
    known = own or levels
    before = [level for level in known if level.until_us < received]
    return max(before, key=lambda level: level.until_us) if before else known[0] if known else None
