"""Registers of one connector in order of time -> a way that only rises, with a name for every fall and every lag.

A fall is told apart by what follows it (problems 3 and 4): the old value returns (drop-out, rollback), the register
ran over its last digit (wrap), it counts on from about 0 (reset) or from anywhere (another meter). A rise is judged
over the time that the register needed for it, never by one step: registers refresh on a beat of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress, pairwise
from math import gcd
from operator import ne, sub
from typing import NamedTuple

from pipeline.domain.station import HOUR, MINUTE

LAG = 5 * MINUTE
"""Power is judged over at least this long."""
CLOSE = 15 * MINUTE
"""A register that ran over its last digit was seen before and after that within this time; else it may be a reset."""
SMALL_WH, SMALL_STEPS = 100, 10
"""A fall of at most this much is a rollback, no reset."""
MODULI = tuple(sorted({10**digits for digits in range(5, 13)} | {1000 * 2**16, 2**24, 2**31, 2**32, 1000 * 2**31}))
"""Where registers start over, in Wh: full decades of Wh and kWh, and full integers."""
SHOWN = 10
"""So many registers on either side of a fall show how fast energy flows there."""
COARSE = (1000, 100, 10)
"""Steps of registers, Wh, other than 1."""

Point = tuple[int, int]
"""(time us, register Wh)"""


class Bound(NamedTuple):
    """What is physically possible (problem 11): W including the tolerance, and the step of the register in Wh."""

    watts: int
    step_wh: int
    rate_w: int = 0
    """What it delivers at full rate, without the tolerance: what may have flowed while nobody looked."""

    def unseen_wh(self, span_us: int) -> int:
        """The most that is taken to have flowed unseen in this time, without the fraction of a Wh: parts add up."""
        return (self.rate_w or self.watts) * max(span_us, 0) // HOUR

    def time_us(self, energy_wh: int) -> int:
        """How long so much takes to flow unseen."""
        return energy_wh * HOUR // (self.rate_w or self.watts) + 1

    def most_wh(self, span_us: int) -> int:
        """The most that can flow in this time."""
        return self.watts * max(span_us, 0) // HOUR

    def allows(self, energy_wh: int, span_us: int) -> bool:
        return -self.step_wh <= energy_wh <= self.most_wh(span_us) + self.step_wh


@dataclass(slots=True)
class Way:
    """`points` rise; `dropped_wh` was added after falls: the last register as sent is the last point less it."""

    points: list[Point]
    dropped_wh: int = 0
    codes: list[str] = field(default_factory=list)
    unseen: list[Point] = field(default_factory=list)
    """(from us, to us) around each fall: what flowed there before it is not known."""
    left_out: dict[str, list[Point]] = field(default_factory=dict)
    firm_us: int = 0
    """When the last of the points was read that is not a little lower as it was sent, nor the next one after such."""
    is_ambiguous: bool = False
    """It ran over its last digit, or was reset: nothing was read around that."""


def resolution(values: set[int], least: int = 2) -> int:
    """The step of a register that showed these values, Wh; 1 where too few of them (`least`) tell."""
    if len(values) < least:
        return 1
    shared = gcd(*values)
    for step in COARSE:
        if shared % step == 0:
            return step
    return 1


def risen(points: list[Point], bound: Bound, closing: Point | None = None) -> Way:
    """The way of registers in order of time; the first point is believed.

    `closing`: the register of the stop, which may show that an old register returned, and is no part of the way.
    """
    way = Way(points[:1])
    told = points if closing is None else [*points, closing]
    index, is_firm = 1, True
    while index < len(points):
        at, sent = points[index]
        highest = way.points[-1][1]
        register = sent + way.dropped_wh
        if register >= highest:
            way.points.append((at, register))
            way.firm_us, is_firm = at if is_firm else way.firm_us, True
        elif highest - register <= bound.step_wh:
            way.points.append((at, highest))
            is_firm = False
        else:
            index, is_firm = _fall(way, points, told, index, bound), False
            continue
        index += 1
    return way


def _fall(way: Way, points: list[Point], told: list[Point], index: int, bound: Bound) -> int:
    """Explains the fall at `index`; returns where to go on. `told`: the points, and the register of the stop."""
    since, highest = way.points[-1]
    at, sent = points[index]
    old = highest - way.dropped_wh
    back = next((place for place in range(index, len(told)) if told[place][1] >= old - bound.step_wh), None)
    if back is not None and _returns(told, index, back, (since, old), bound):
        below = points[index:back]
        is_out = max(low for _, low in below) < max(old // 10, 1)
        _leave_out(way, "REGISTER_DROPOUT" if is_out else "ROLLBACK_IGNORED", below)
        if old <= small(bound):
            way.unseen.append((since, told[back][0]))  # a reset of a register that was near 0 looks the same
        return back
    span = at - since
    if highest - (sent + way.dropped_wh) <= small(bound):  # stays there: whoever closes the session decides
        _leave_out(way, "ROLLBACK_IGNORED", [(at, sent)])
        return index + 1
    modulus = wrapped(old, sent, span, bound)
    if (
        modulus
        and not _stands(way.points, points[index:])
        and _flows_on(way.points, points[index:], modulus - old + sent, span, bound)
    ):
        way.dropped_wh += modulus
        way.points.append((at, sent + way.dropped_wh))
        way.is_ambiguous |= span > CLOSE
        _add(way, "REGISTER_WRAPPED")
        return index + 1
    if index + 1 == len(points):  # one value that nothing confirms
        _leave_out(way, "ROLLBACK_IGNORED", [(at, sent)])
        return index + 1
    counts = next((when for when, register in points[index:] if register), at)  # 0 may be less than what it means
    way.unseen.append((min(stale_since(way.points), way.firm_us or since), counts))
    way.dropped_wh = highest - sent
    way.points.append((at, highest))
    _add(way, "REGISTER_RESET" if sent <= bound.most_wh(max(span, LAG)) + bound.step_wh else "METER_REPLACED")
    return index + 1


def small(bound: Bound) -> int:
    return max(SMALL_WH, SMALL_STEPS * bound.step_wh)


def wrapped(old: int, sent: int, span_us: int, bound: Bound) -> int:
    """By how much the register starts over, if it ran over its last digit between two values; 0: it did not."""
    most = bound.most_wh(max(span_us, LAG)) + bound.step_wh
    return next((modulus for modulus in MODULI if modulus > old and modulus - old + sent <= most), 0)


def wrapped_at_end(way: Way, closing: Point, bound: Bound) -> int:
    """The same between the last sample and the register of the stop."""
    at, last = way.points[-1]
    until, stop = closing
    old = last - way.dropped_wh
    modulus = wrapped(old, stop, until - at, bound)
    if not modulus or len(way.points) == 1 or until - at > CLOSE:
        return 0
    gained = modulus - old + stop
    if stop == 0 and gained > bound.step_wh:
        return 0  # hardly any register is read just when it starts over
    return modulus if _flows_on(changes(way.points), [], gained, until - at, bound) else 0


def _returns(points: list[Point], index: int, back: int, before: Point, bound: Bound) -> bool:
    """Did the old register return at `back`? Not if the low values climbed there, as those of a reset register do."""
    (at, register), (since, low) = points[back], points[back - 1]
    if not bound.allows(register - before[1], max(at - before[0], LAG)):
        return False
    below = [each for _, each in points[index:back]]
    is_dip = before[1] - min(below) <= small(bound)
    is_flat = min(below) == max(below) and (len(below) > 1 or low == 0)  # one value alone may have climbed from 0
    return is_dip or is_flat or not bound.allows(register - low, max(at - since, LAG))


def _stands(before: list[Point], after: list[Point]) -> bool:
    """Did the register stand still just before a fall and just after it?"""
    return len(before) > 1 < len(after) and before[-2][1] == before[-1][1] and after[0][1] == after[1][1]


def _flows_on(before: list[Point], after: list[Point], energy_wh: int, span_us: int, bound: Bound) -> bool:
    """Is this what flows on either side of a fall? A register that was reset near its end looks like a wrap."""
    rises = [*_spans(changes(before[-SHOWN:])), *_spans(changes(after[:SHOWN]))]
    if len(rises) < 2:
        return True
    fastest = max((b[1] - a[1]) * HOUR // (b[0] - a[0]) for a, b in rises)
    usual = sorted(b[0] - a[0] for a, b in rises)[len(rises) // 2]  # pauses are longer
    if energy_wh > fastest * max(span_us, usual) // HOUR * 21 // 20 + 2 * bound.step_wh:
        return False
    if usual > span_us * 3 // 2:
        return True  # refreshed on a beat of its own
    beside = [(b[1] - a[1]) * span_us // (b[0] - a[0]) for a, b in (*_spans(before[-2:]), *_spans(after[:2]))]
    return len(beside) < 2 or energy_wh >= min(beside) * 19 // 20 - 2 * bound.step_wh


def _spans(points: list[Point]) -> list[tuple[Point, Point]]:
    """From each point to the next one, where time passed between them."""
    return [(a, b) for a, b in pairwise(points) if b[0] > a[0]]


def _leave_out(way: Way, code: str, points: list[Point]) -> None:
    way.left_out.setdefault(code, []).extend(points)
    _add(way, code)


def _add(way: Way, code: str) -> None:
    if code not in way.codes:
        way.codes.append(code)


def changes(points: list[Point]) -> list[Point]:
    """The points at which the register had another value than before; the first one included."""
    return points[:1] + [after for before, after in pairwise(points) if after[1] != before[1]]


def jumps(points: list[Point], bound: Bound) -> list[tuple[Point, Point]]:
    """Rises that no connector can deliver in the time that the register took for them."""
    return [
        (before, after)
        for before, after in pairwise(changes(points))
        if not bound.allows(after[1] - before[1], max(after[0] - before[0], LAG))
    ]


def lags(points: list[Point], bound: Bound, longer_than: int, folded_us: int) -> list[tuple[int, int]]:
    """(from, to): the register stood still for so long and then rose by more than flows between two readings, or by
    more than a step if it is refreshed on a beat of its own.

    When that energy flowed is not known. Up to `folded_us` readings were left out, so they show no beat.
    """
    found = []
    whole = [point for point in points if point[0] > folded_us]
    is_fresh = not beat(whole) or moves_each_time(whole)
    for index, (before, after) in enumerate(pairwise(points)):
        if after[1] - before[1] <= bound.step_wh + (bound.most_wh(after[0] - before[0]) if is_fresh else 0):
            continue
        since = index
        while since and points[since - 1][1] == before[1]:
            since -= 1
        if after[0] - points[since][0] > longer_than:
            found.append((points[since][0], after[0]))
    return found


def stale_since(points: list[Point]) -> int:
    """Since when energy may be missing in the last of these registers: it may not have been refreshed after that.

    That is the reading itself, unless the register stands still by then and its beat does not show that it is idle.
    """
    at, last = points[-1]
    changed = next((place for place in range(len(points) - 1, 0, -1) if points[place - 1][1] != last), 0)
    moving = points[: changed + 1]  # what was read after it had stopped tells nothing of its beat
    spans = sorted(after[0] - before[0] for before, after in pairwise(moving if changed else points))
    usual = beat(points)
    if not spans or (usual and usual * 2 <= spans[len(spans) // 2] * 3):
        return at
    since = points[max(changed - 1, 0)][0]
    return max(since, at - usual) if usual else since


def moves_each_time(points: list[Point]) -> bool:
    """Does the register move from reading to reading, as far as it moves? Else it is refreshed on a beat of its own."""
    spans = sorted(after[0] - before[0] for before, after in pairwise(points))
    return 0 < beat(points) * 2 <= spans[len(spans) // 2] * 3


def beat(points: list[Point]) -> int:
    """The usual time between two changes of the register, us; 0: too few of them tell."""
    if len(points) < 4:
        return 0
    times, registers = zip(*points, strict=True)
    changed = list(compress(times[1:], map(ne, registers[1:], registers)))  # as `changes`, in C
    spans = sorted(map(sub, changed[1:], changed))
    return spans[len(spans) // 2] if len(spans) >= 2 else 0
