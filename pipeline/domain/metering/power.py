"""Energy by the integral of stated power: where there is no register, and where one is proven wrong (problem 25).

A register that stands still while power flows may be refreshed on a slow beat: it is wrong only where it never catches
up. Standby draw is no charging.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING

from pipeline.domain.metering.evidence import Evidence
from pipeline.domain.metering.registers import LAG, SMALL_WH, Bound, Point, beat, changes, jumps, moves_each_time
from pipeline.domain.station import HOUR, MINUTE, SHORTEST_GAP

if TYPE_CHECKING:
    from pipeline.domain.metering.judgement import Judgement

STANDBY_W = 300
"""Up to here a vehicle does not charge: the least that IEC 61851 knows is 6 A."""
FLAT_US = 10 * MINUTE
"""So long a register must stand still while power flows to be looked at."""
CAUGHT_UP = 75
"""Percent of the stated power that a register must have moved to be right."""
PROOF = 3
"""So many powers must have been stated meanwhile."""
LATEST_REFRESH = MINUTE
"""What flowed so shortly before a reading its register may not show."""
HOLE_US = 5 * MINUTE
"""Between powers further apart than this, and than twice their usual distance, nothing is known."""


def _cumulated(powers: list[Point], since: int, until: int) -> tuple[list[Point], int, int, int]:
    """Energy by then (us, Wh), the least and the most that it can be at the end, and the time without power (us)."""
    marks = [(max(at, since), watts) for at, watts in powers if at <= until]
    if not marks:
        return [(since, 0)], 0, 0, until - since
    spans = sorted(b[0] - a[0] for a, b in pairwise(marks))
    hole = max(HOLE_US, 2 * spans[len(spans) // 2]) if spans else HOLE_US
    marks = [(since, marks[0][1]), *marks, (until, marks[-1][1])]
    doubled = least = most = unseen = 0
    points = [(since, 0)]
    for (a, p), (b, q) in pairwise(marks):
        span = b - a
        if span > hole:
            unseen += span
        else:
            doubled += (p + q) * span
            least += min(p, q) * span if min(p, q) > STANDBY_W else 0  # it may not pass the meter
            most += max(p, q) * span
        if b > points[-1][0]:
            points.append((b, doubled // (2 * HOUR)))
        else:
            points[-1] = (points[-1][0], doubled // (2 * HOUR))
    return points, least // HOUR, most // HOUR + 1, unseen


def integrated(found: Evidence, bound: Bound, judged: Judgement) -> Judgement:
    """The whole session by power alone: always estimated."""
    points, least, most, unseen = _cumulated(found.powers, found.since_us, found.until_us)
    energy = points[-1][1]
    judged.codes.append("POWER_INTEGRATED")
    if found.started_us is None:
        judged.codes.append("MISSING_START")
    if not bound.allows(energy, found.until_us - found.since_us):
        judged.codes.append("IMPOSSIBLE_ENERGY")
        return judged
    judged.times = [at for at, _ in points]
    judged.registers = [wh for _, wh in points]
    judged.energy_wh = judged.estimated_wh = energy
    judged.low_wh = max(least - _unsure(found) // HOUR, 0)
    judged.low_wh -= judged.low_wh // 50
    judged.high_wh = min(
        most + most // 50 + bound.unseen_wh(unseen), bound.unseen_wh(found.until_us - found.since_us) + 1
    )
    judged.unseen_us = found.until_us - found.since_us
    judged.account.facts["energy"] = "integral of Power.Active.Import"
    judged.account.used += len(found.powers)
    return judged


def _unsure(found: Evidence) -> int:
    """W us that may not have flowed: before the first power and after the last one, and in one pause between two."""
    (first, watts), (last, at_last) = found.powers[0], found.powers[-1]
    spans = [(b - a) * min(p, q) for (a, p), (b, q) in pairwise(found.powers) if b - a > SHORTEST_GAP]
    return (first - found.since_us) * watts + (found.until_us - last) * at_last + max(spans, default=0)


def stuck(found: Evidence, points: list[Point], bound: Bound, judged: Judgement) -> list[Point]:
    """`points` with the energy of the stretches in which the register stood still for good while power flowed."""
    added: list[tuple[int, int, list[Point]]] = []
    times, usual = [at for at, _ in points], beat(points)
    for since, until, following, moved in _flat(points):
        if until - since < FLAT_US:
            continue
        curve = _missing(found, since, until, following, moved, bound, found.idle)
        if curve:
            added.append((since, until, curve))
        elif found.idle and _missing(found, since, until, following, moved, bound, []):
            since = times[max(times.index(since) - 1, 0)]
            judged.high_wh = (judged.high_wh or 0) + bound.unseen_wh(until - since)  # the status or the power is wrong
            judged.unseen_us += until - since
    for since, until, curve in added:
        missing = curve[-1][1]
        place = times.index(since)  # it stuck after the reading before, or on a slow beat after the refresh before
        since = max(min(times[max(place - 1, 0)], since - usual), times[0])
        judged.energy_wh = (judged.energy_wh or 0) + missing
        judged.estimated_wh += missing
        judged.high_wh = (judged.high_wh or 0) + max(bound.unseen_wh(until - since), missing)
        judged.unseen_us += until - since
    if added:
        judged.codes.append("METER_STUCK")
        judged.account.facts["stuck"] = "integral of Power.Active.Import where the register stood still for good"
        points = [(at, register + sum(_by_then(curve, at) for _, _, curve in added)) for at, register in points]
    _compare(found, points, judged, bound)
    return points


def _compare(found: Evidence, points: list[Point], judged: Judgement, bound: Bound) -> None:
    """A register that moved by far less than what the power amounts to was wrong somewhere, if nobody knows where."""
    _, least, most, _ = _cumulated(found.powers, found.since_us, found.until_us)
    is_stuck = "METER_STUCK" in judged.codes
    most = min(most + most // 50, bound.unseen_wh(found.until_us - found.since_us) + 1)
    is_short = len(found.powers) >= PROOF and ((judged.energy_wh or 0) + SMALL_WH) * 100 < least * CAUGHT_UP
    is_short = is_short or (bool(found.powers) and _stands_at_last(found, points, bound))
    if is_short and not is_stuck:
        judged.codes.append("METER_STUCK")
    if (is_short or is_stuck) and most > (judged.high_wh or 0):
        judged.high_wh, judged.unseen_us = most, found.until_us - found.since_us


def _stands_at_last(found: Evidence, points: list[Point], bound: Bound) -> bool:
    """Did the register reach its last value with too small a step, or stand there already, when power was stated?"""
    until, last = points[-1]
    watts = dict(found.powers)
    first = next(place for place, (_, register) in enumerate(points) if register == last)
    for place in range(max(first, 1), len(points) - 1):
        (since, before), (at, _), (following, _) = points[place - 1 : place + 2]
        power = watts.get(at, 0)
        if power <= STANDBY_W or until - at < max(FLAT_US, 2 * beat(points)):
            continue
        if place == first:  # a pause before it would explain a part
            least = min(watts.get(since, 0), power) * (at - since) - power * LATEST_REFRESH
            missing = least // HOUR - (last - before) if (last - before) * 100 * HOUR < least * CAUGHT_UP else 0
        else:
            missing = power * (following - since) // (2 * HOUR)
        if missing > 2 * bound.step_wh:
            return True
    return False


def leaps(found: Evidence, points: list[Point], bound: Bound) -> list[tuple[Point, Point]]:
    """Rises that no connector can deliver in the time that the register took, or while power flowed; and those in a
    pause: the register is another meter's since then."""
    impossible = jumps(points, bound)
    is_fresh = bool(found.paused) and moves_each_time(points)
    for before, after in pairwise(changes(points)):
        if is_fresh and _rose_in_pause(found, before, after, bound) and (before, after) not in impossible:
            impossible.append((before, after))
        watts = _stated(found.powers, before[0] + 1, after[0] - 1)
        if len(watts) < PROOF or any(each > STANDBY_W for _, each in watts) or (before, after) in impossible:
            continue
        if not bound.allows(after[1] - before[1], max(after[0] - watts[-1][0], LAG)):
            impossible.append((before, after))
    return impossible


def _rose_in_pause(found: Evidence, before: Point, after: Point, bound: Bound) -> bool:
    """Did the register stand still, then rise by more than standby draw, while the station said again and again that no
    power flows, and that it or the vehicle pauses?"""
    watts = [each for _, each in _stated(found.powers, before[0], after[0])]
    if len(watts) < PROOF or max(watts) > STANDBY_W:
        return False
    if not any(since <= before[0] and after[0] <= until for since, until in found.paused):
        return False
    return (after[1] - before[1] - bound.step_wh) * HOUR > STANDBY_W * (after[0] - before[0])


def _stated(powers: list[Point], since: int, until: int) -> list[Point]:
    """Of powers in order of time those of this time, its ends included."""
    first = bisect_left(powers, since, key=itemgetter(0))
    return powers[first : bisect_right(powers, until, first, key=itemgetter(0))]


def _by_then(curve: list[Point], at: int) -> int:
    """Energy of the curve at a time, Wh; it flows evenly between its points."""
    index = bisect_right([point[0] for point in curve], at)
    if index == 0:
        return 0
    if index == len(curve):
        return curve[-1][1]
    (since, before), (until, after) = curve[index - 1], curve[index]
    return before + (after - before) * (at - since) // (until - since)


def _flat(points: list[Point]) -> list[tuple[int, int, int, int]]:
    """(from, to, time of the next change or the end, Wh that it rose by) of each value of the register."""
    runs: list[list[int]] = []
    for at, register in points:
        if runs and runs[-1][2] == register:
            runs[-1][1] = at
        else:
            runs.append([at, at, register])
    ends = [(at, register) for at, _, register in runs[1:]] + [(runs[-1][1], runs[-1][2])]
    return [
        (since, until, at, register - value) for (since, until, value), (at, register) in zip(runs, ends, strict=True)
    ]


def _missing(
    found: Evidence, since: int, until: int, following: int, moved: int, bound: Bound, idle: list[tuple[int, int]]
) -> list[Point]:
    """(us, Wh by then) of what flowed while the register stood still and its next change does not hold."""
    flowing = [
        (at, 0 if watts <= STANDBY_W or any(a <= at < b for a, b in idle) else watts)
        for at, watts in _stated(found.powers, since, following)
    ]
    if sum(watts > 0 for _, watts in flowing) < PROOF:
        return []
    curve, least, _, _ = _cumulated(flowing, since, following)
    flowed, while_flat = curve[-1][1], max(wh for at, wh in curve if at <= until)
    missing = min(flowed - moved, while_flat)
    certain = least - flowing[-1][1] * LATEST_REFRESH // HOUR
    if while_flat <= 2 * bound.step_wh or moved * 100 >= certain * CAUGHT_UP or missing <= 0:
        return []
    return [(at, wh * missing // while_flat) for at, wh in curve if at <= until]
