"""Where it is not known when the energy of a session flowed: readings are missing, or the register caught up."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from operator import sub

from pipeline.domain.metering.registers import Bound, lags, resolution
from pipeline.domain.station import SHORTEST_GAP, Session

SHOWN = 5
"""So many readings after a gap show what flowed there."""


def gaps_of(session: Session, times: list[int]) -> list[tuple[int, int]]:
    """Stretches longer than twice the usual interval and than two minutes; none known without three readings."""
    if len(times) < 5 or session.thinned:
        return []
    longest = max(map(sub, times[1:], times))
    if longest <= SHORTEST_GAP:
        return []
    spans = sorted(map(sub, times[1:], times))
    limit = max(2 * spans[len(spans) // 2], SHORTEST_GAP)
    return [(a, b) for a, b in pairwise(times) if b - a > limit] if longest > limit else []


def paused_in(gaps: list[tuple[int, int]], times: list[int], registers: list[int], step_wh: int) -> bool:
    """Did less flow in a gap than in the readings after it, as if nothing had for longer than between two readings?

    A vehicle takes less and less, so before its readings it took no less than in them.
    """
    for since, until in gaps:
        at = bisect_left(times, until)
        following = min(at + SHOWN, len(times) - 1)
        flowed, risen = registers[following] - registers[at] - step_wh, registers[at] - registers[at - 1] + step_wh
        if flowed > 0 and until - since - risen * (times[following] - until) // flowed > SHORTEST_GAP:
            return True
    return False


def lags_of(
    session: Session, times: list[int], registers: list[int], bound: Bound, is_rising: bool
) -> list[tuple[int, int]]:
    """Where it is not known when energy flowed, although no reading is missing.

    Between a few readings that are far apart, and where the register stood still and then caught up. `is_rising`: it
    is known that it did not stand still before the end.
    """
    if len(times) < 5:
        return [(a, b) for a, b in pairwise(times) if b - a > SHORTEST_GAP]
    if is_rising:
        return []
    rising = registers[: registers.index(registers[-1]) + 1]  # at the end it stood still, and nothing came after it
    if len(set(rising)) == len(rising):
        return []
    spans = sorted(map(sub, times[1:], times))
    longest = max(2 * spans[len(spans) // 2], SHORTEST_GAP)
    step = max(bound.step_wh, resolution(set(registers), 3))
    return lags(list(zip(times, registers, strict=True)), bound._replace(step_wh=step), longest, session.folded_us)
