"""Stretches of a session in which a link was down, and what statuses that were lost there leave unclear.

Statuses are not queued (OCPP 1.6): the one before such a stretch stands until the next one after it, whatever the
vehicle did. Registers and powers may confirm it; else nobody knows whether the vehicle paused, or the station.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import sub
from typing import NamedTuple

from pipeline.domain.metering.power import STANDBY_W
from pipeline.domain.metering.registers import Bound, Point, beat, moves_each_time
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.station import ABSENT, CLOCK_TOLERANCE, HOUR, MINUTE, RECEIVED, SHORTEST_GAP, STRIDE, TIME, Numbers

AGREES = 5
"""Percent by which the register may differ from what statuses and power amount to."""


STEADY = 90
"""Percent of the higher power that leave no time for a pause."""


class Unheard(NamedTuple):
    """(from, to) us, each from the reading before to the one after."""

    missing: list[tuple[int, int]]
    """Nothing was read."""
    queued: list[tuple[int, int]]
    """Readings came late, and all at once."""


NOTHING = Unheard([], [])


class _Read(NamedTuple):
    """What is known of a moment: register (Wh) and power (W), ABSENT where they were not told."""

    at: int
    register: int
    watts: int

    def mean_since(self, before: _Read) -> int:
        """W by the register; ABSENT: not known."""
        if ABSENT in (self.register, before.register):
            return ABSENT
        return (self.register - before.register) * HOUR // (self.at - before.at)

    def flowed_since(self, before: _Read) -> bool:
        """More than standby draw."""
        return max(self.watts, self.mean_since(before)) > STANDBY_W


def unheard(readings: Numbers, started: int, until: int) -> Unheard:
    """`readings` as in Session, in order of their true times."""
    times = [started, *readings[TIME::STRIDE], until]
    return Unheard(_missing(times), list(_queued(times, readings[RECEIVED::STRIDE].tolist())))


def _missing(times: list[int]) -> list[tuple[int, int]]:
    if len(times) < 5 or max(map(sub, times[1:], times)) <= SHORTEST_GAP:
        return []
    spans = sorted(map(sub, times[1:], times))
    longest = max(2 * spans[len(spans) // 2], SHORTEST_GAP)
    return [(a, b) for a, b in pairwise(times) if b - a > longest]


def _queued(times: list[int], received: list[int]) -> Iterator[tuple[int, int]]:
    """`received` belong to the times between the first and the last: from before one that came late, if nothing came
    until it did. Else it alone was delayed."""
    if max(map(sub, received, times[1:]), default=0) <= CLOCK_TOLERANCE:
        return  # nearly always: none came late
    came, up = sorted(received), 0
    for before, at, arrived in zip(times, times[1:], received, strict=False):
        if at > up and arrived - at > CLOCK_TOLERANCE and came[bisect_right(came, at)] > arrived - MINUTE:
            up = arrived
            yield before, up


def leave_unclear(
    found: Unheard, reports: Sequence[ActivityPeriod], points: list[Point], stated: Sequence[Point], until: int,
    bound: Bound,
) -> bool:  # fmt: skip
    """May the vehicle have been idle, or not idle, against what was reported?

    `reports`: each status with its activity, the first one from the start on. `points`: registers, `stated`: powers, in
    order of time; `until`: the end.
    """
    registers, watts = dict(points), dict(stated)
    reads = [_Read(at, registers.get(at, ABSENT), watts.get(at, ABSENT)) for at in sorted({*registers, *watts})]
    if found.missing and (_is_slow(reads, bound) or (beat(points) and not moves_each_time(points))):
        return True
    for since, to in [*found.missing, *found.queued]:
        fresh = next((each.from_us for each in reports if each.from_us >= to), until)
        if _pauses([each for each in reads if since <= each.at <= fresh], reports, fresh):
            return True
    return not all(_is_confirmed(gap, reads, reports, bound) for gap in found.missing)


def _is_slow(reads: Sequence[_Read], bound: Bound) -> bool:
    """Did the register stand still from reading to reading while power flowed? Then it confirms nothing."""
    return any(
        before.register == after.register != ABSENT
        and min(before.watts, after.watts) > STANDBY_W
        and min(before.watts, after.watts) * (after.at - before.at) > 2 * bound.step_wh * HOUR
        for before, after in pairwise(reads)
    )


def _pauses(reads: list[_Read], reports: Sequence[ActivityPeriod], fresh: int) -> bool:
    """Did nothing flow for more than a minute after something had, and no status tells who paused?"""
    if not reads:
        return False
    first = _heard(reports, 0, reads[0].at)
    since, flowed = reads[0].at, first is None or first.activity == "charging"
    for before, after in pairwise(reads):
        if heard := _heard(reports, before.at + 1, after.at):
            since, flowed = heard.from_us, heard.activity == "charging"
        if after.flowed_since(before):
            since, flowed = after.at, True
        elif flowed and after.at - since > MINUTE:
            return True
    return flowed and since < reads[-1].at and fresh - since > MINUTE


def _heard(reports: Sequence[ActivityPeriod], since: int, until: int) -> ActivityPeriod | None:
    """The last report of this time."""
    return next((each for each in reversed(reports) if since <= each.from_us <= until), None)


def _is_confirmed(gap: tuple[int, int], reads: list[_Read], reports: Sequence[ActivityPeriod], bound: Bound) -> bool:
    """Did the register move by what power and statuses amount to while nothing was read?"""
    since, to = gap
    place = next((place for place, each in enumerate(reads) if each.at >= to), 0)
    if not place:
        return False
    before, after = reads[place - 1], reads[place]
    if ABSENT in (before.register, after.register):
        return False
    ends = [each.from_us for each in reports[1:]] + [to]
    charged = sum(
        max(min(end, to) - max(each.from_us, since), 0)
        for each, end in zip(reports, ends, strict=True)
        if each.activity == "charging"
    )
    around = [before.watts, after.watts]
    if around == [ABSENT, ABSENT]:
        around = [
            b.mean_since(a) for a, b in (*pairwise(reads[max(place - 2, 0) : place]), *pairwise(reads[place:][:2]))
        ]
    flowing = [watts for watts in around if watts > STANDBY_W]
    expected = sum(flowing) * charged // (max(len(flowing), 1) * HOUR)
    if charged and (not flowing or bound.step_wh * HOUR > min(flowing) * SHORTEST_GAP):
        return False  # too coarse to show a pause
    rise, most = after.register - before.register, max(flowing, default=0) * charged // HOUR
    if expected < rise <= most + bound.step_wh:
        return rise * 100 >= most * STEADY  # it tapered late
    return abs(rise - expected) <= expected * AGREES // 100 + bound.step_wh
