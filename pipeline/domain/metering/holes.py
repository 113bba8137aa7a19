"""Where it is not known when the energy of a session flowed: readings are missing, or the register caught up."""

from __future__ import annotations

from itertools import pairwise
from operator import sub

from pipeline.domain.metering.registers import Bound, lags, resolution
from pipeline.domain.station import SHORTEST_GAP, Session


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
