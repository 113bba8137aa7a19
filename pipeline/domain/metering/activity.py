"""Who charges when: what the station reported, unless the register says otherwise.

A status is a hint (problem 33) and belongs to the session in which it was reported. A register that moves contradicts
"idle", and the register wins; standby draw is no charging. Time that nobody observed counts as charging: nobody pays an
idle fee for what was not seen.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from operator import attrgetter, itemgetter
from typing import NamedTuple

from pipeline.domain.metering.flowing import Rise, where_power_flowed
from pipeline.domain.metering.inferred import infer_activity
from pipeline.domain.metering.power import STANDBY_W
from pipeline.domain.metering.registers import Bound, Point, beat, changes
from pipeline.domain.metering.unheard import Unheard, leave_unclear
from pipeline.domain.pricing.facts import Activity, ActivityPeriod
from pipeline.domain.station import ABSENT, HOUR, MINUTE, SECOND, SHORTEST_GAP

LATE_REFRESH = MINUTE
"""A register may show so late what flowed before."""
LATE_STATUS = 5 * SECOND
"""A status may come so much after what it tells."""
BEFORE_START = MINUTE
"""A status so shortly before the start, with no session there, is about the car that is starting."""
FEW = 8
"""So many stretches are looked through one by one."""
ACTIVITIES: Mapping[str, Activity] = {
    "charging": "charging",
    "suspended_ev": "idle",
    "idle": "idle",
    "suspended_evse": "evse_pause",
}
States = Sequence[tuple[int, str]]
"""(time us, charging state) at each change, in order."""


class Observed(NamedTuple):
    stretches: list[ActivityPeriod]
    is_contradicted: bool = False
    """The register moved while the station reported that the vehicle takes no power."""
    is_unclear: bool = False
    """The register stood still and no power flowed while the station reported that it charges."""


def observe(
    states: States,
    times: list[int],
    registers: list[int],
    powers: Sequence[int],
    between: Sequence[Point],
    started: int,
    until: int,
    bound: Bound,
    beat_us: int,
    lost: Unheard,
    is_rising: bool,
) -> Observed:
    """The activity from start to end. Parallel: `times` us, `registers` Wh as they were read, rising, `powers` W;
    `between`: (us, W) stated without a register; `lost`: where statuses may have been lost; `is_rising`: no two of the
    registers are equal, unless perhaps the last two."""
    told = _told(states, started, until) if states else infer_activity(times, registers, powers, started, until)
    if _took_nothing(told, registers, started, until):
        return Observed(told, is_unclear=True)
    is_heard = not lost.missing and not lost.queued
    if len(told) == 1 and told[0].activity == "charging" and is_heard and not between and is_rising:
        inside = powers[1:-1]
        if min(inside, default=ABSENT) > STANDBY_W or max(inside, default=ABSENT) < 0:
            return Observed(told)  # nearly always: the register rose, and no pause was stated
    points = list(zip(times, registers, strict=True))
    stated = [(at, watts) for at, watts in zip(times, powers, strict=False) if watts >= 0]
    if between:
        stated = sorted([*stated, *between])
    if not states:
        return Observed(told, is_unclear=_pauses(stated, told, started, until) or _flows(stated, told, until))
    is_unclear = _stands_still(points, powers, told, until, bound) or _pauses(stated, told, started, until)
    if not is_heard:
        reports = [
            ActivityPeriod(started, "charging"),
            *(ActivityPeriod(at, ACTIVITIES[state]) for at, state in states),
        ]
        is_unclear |= leave_unclear(lost, reports, points, stated, until, bound)
    if all(each.activity == "charging" for each in told):
        return Observed(told, is_unclear=is_unclear)
    rises = _moving(points, powers, told, until, bound, beat_us)
    moving, blind = where_power_flowed(rises, points, stated, bound)
    stretches = _overruled(told, moving, until) if moving else told
    is_unclear |= _flows(stated, stretches, until) or (bool(moving) and _pauses(stated, stretches, started, until))
    is_unclear |= _stays_paused(told, moving, until)
    charging = parts(told, until, "charging")
    longest = max(SHORTEST_GAP, 2 * (beat(points) or beat_us))
    is_unclear |= any(at - since > longest for since, at in blind)
    is_unclear |= bool(blind) and _dips(rises, dict(points), _apart(points))
    agrees = [
        any(since <= begin <= at + LATE_REFRESH or begin <= since <= at <= end for begin, end in charging)
        for since, at in moving
    ]
    return Observed(_seen(stretches, points, until), not all(agrees), is_unclear)


def _took_nothing(told: list[ActivityPeriod], registers: list[int], started: int, until: int) -> bool:
    """Does nothing say who paused, although no energy flowed in the whole session?"""
    if len(told) > 1 or told[0].activity != "charging" or not registers or until - started <= SHORTEST_GAP:
        return False
    return (registers[-1] - registers[0]) * HOUR <= STANDBY_W * (until - started)


def _stands_still(
    points: list[Point], powers: Sequence[int], told: list[ActivityPeriod], until: int, bound: Bound
) -> bool:
    """Was the register flat for longer than its beat explains, and no power stated, while it is said to charge?"""
    if len(points) < 4:
        return False  # too few readings to see it
    apart, usual = _apart(points), beat(points)
    shortest = max(SHORTEST_GAP - apart, apart * 3 // 4) if usual * 2 <= apart * 3 else 2 * usual
    shortest = max(shortest, _one_step(points, bound))
    charging = parts(told, until, "charging")
    flat_since = 0
    for index, (at, register) in enumerate(points):
        if register != points[flat_since][1] or powers[index] > STANDBY_W:
            flat_since = index
        elif index > flat_since and _longest(points[flat_since][0], at, charging) > shortest:
            watts = powers[flat_since]  # it tapers: the next step may take longer than those before
            if watts <= STANDBY_W or bound.step_wh * HOUR < watts * (at - points[flat_since][0]):
                return True
    return False


def _apart(points: list[Point]) -> int:
    """The usual time between two readings, us."""
    spans = sorted(after[0] - before[0] for before, after in pairwise(points))
    return spans[len(spans) // 2]


def _dips(rises: Sequence[Rise], registers: Mapping[int, int], longest: int) -> bool:
    """Did the register move slower than later on, as if nothing had flowed for so long in readings that follow each
    other? A pause may have ended in one and begun in another, and none of them shows it."""
    fastest, paused, following = 0, 0, 0
    for changed, _, at in reversed(rises):
        rise, span = registers[at] - registers[changed], at - changed
        paused = paused if at == following else 0
        if rise * HOUR < fastest * span:
            paused += span - rise * HOUR // fastest
        if paused > longest:
            return True
        fastest, following = max(fastest, rise * HOUR // span), changed
    return False


def _one_step(points: list[Point], bound: Bound) -> int:
    """How long one step of the register took on average, us; 0: it did not move."""
    moved = changes(points)[1:]
    if not moved or moved[-1][1] <= points[0][1]:
        return 0
    return bound.step_wh * (moved[-1][0] - points[0][0]) // (moved[-1][1] - points[0][1])


def _pauses(stated: list[Point], told: list[ActivityPeriod], started: int, until: int) -> bool:
    """Was no power stated for longer than between two readings, while it is said to charge?"""
    charging = parts(told, until, "charging")
    flowed, first = started, until
    for at, watts in stated:
        if watts > STANDBY_W:
            flowed, first = at, until
            continue
        first = min(first, at)
        if at - flowed < SHORTEST_GAP:
            continue
        if any(a < first and at + LATE_STATUS < b for a, b in meeting(charging, first, at)):
            return True
    return False


def _stays_paused(told: list[ActivityPeriod], moving: list[tuple[int, int]], until: int) -> bool:
    """Did energy flow in what was reported as a pause of the station, and then none: who paused the second time?"""
    for begin, end in parts(told, until, "evse_pause"):
        inside = [(since, to) for since, to in moving if begin < since < end]
        following = [since for since, _ in inside[1:]] + [end]
        if any(since - to > SHORTEST_GAP for (_, to), since in zip(inside, following, strict=False)):
            return True
    return False


def _flows(stated: list[Point], stretches: list[ActivityPeriod], until: int) -> bool:
    """Was power stated again and again while the vehicle is taken to be idle?"""
    idle = parts(stretches, until, "idle")
    flowing = [at for at, watts in stated if watts > STANDBY_W] if idle else []
    return sum(any(a + LATE_REFRESH < at < b for a, b in meeting(idle, at, at)) for at in flowing) > 1


def parts(stretches: list[ActivityPeriod], until: int, activity: Activity) -> list[tuple[int, int]]:
    """(from, to) of the stretches in this activity; the last one ends at `until`."""
    ends = [each.from_us for each in stretches[1:]] + [until]
    return [(each.from_us, end) for each, end in zip(stretches, ends, strict=True) if each.activity == activity]


def meeting(stretches: list[tuple[int, int]], since: int, until: int) -> list[tuple[int, int]]:
    """Those that do not end before `since` or begin after `until`, of stretches in order that do not overlap."""
    if len(stretches) <= FEW:
        return stretches
    first = bisect_left(stretches, since, key=itemgetter(1))
    return stretches[first : bisect_right(stretches, until, first, key=itemgetter(0))]


def _longest(since: int, until: int, stretches: list[tuple[int, int]]) -> int:
    """The longest part of a stretch inside one of others."""
    return max((min(until, b) - max(since, a) for a, b in meeting(stretches, since, until)), default=0)


def _seen(stretches: list[ActivityPeriod], points: list[Point], until: int) -> list[ActivityPeriod]:
    """Idle only as far as the register was read: what came after the last reading nobody saw."""
    last = points[-1][0] if points else until
    if stretches[-1].activity != "idle" or until - last <= SHORTEST_GAP:
        return stretches
    kept = [each for each in stretches if each.from_us < last] or [ActivityPeriod(stretches[0].from_us, "charging")]
    return [*kept, ActivityPeriod(last, "charging")] if kept[-1].activity != "charging" else kept


def of_session(reports: States, started: int, until: int, previous_end: int) -> list[tuple[int, str]]:
    """The part of a connector's statuses that is about the session from `started` to `until`."""
    earliest = max(started - BEFORE_START, previous_end)
    found = [(at, state) for at, state in reports if earliest < at < until and state != "available"]
    return [
        (max(at, started), state) for at, state in found if at >= started or state != "idle"
    ]  # Finishing: the former


def pauses(states: States, started: int, until: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(from, to) in which the vehicle took no power by what was reported; and where either it or the station paused."""
    told = _told(states, started, until)
    idle = parts(told, until, "idle")
    return idle, sorted([*idle, *parts(told, until, "evse_pause")])


def _told(states: States, started: int, until: int) -> list[ActivityPeriod]:
    stretches = [ActivityPeriod(started, "charging")]
    for at, state in states:
        activity = ACTIVITIES[state]
        if at <= started:
            stretches[0] = ActivityPeriod(started, activity)
        elif at < until and activity != stretches[-1].activity:
            stretches.append(ActivityPeriod(at, activity))
    return stretches


def _moving(
    points: list[Point], powers: Sequence[int], told: list[ActivityPeriod], until: int, bound: Bound, beat_us: int
) -> list[Rise]:
    """Rises of the register by more than what was reported explains, and by more than standby draw."""
    active = parts(told, until, "charging")
    usual = beat(points) or beat_us
    read_before = _read_before(points)
    rises: list[tuple[Rise, bool]] = []
    for (changed, before), (at, register) in pairwise(changes(points)):
        since = max(changed, min(read_before[at], at - usual))
        near = meeting(active, since - LATE_REFRESH, at)
        explained = sum(max(min(b, at) - max(a, since), 0) for a, b in near)
        if any(since - LATE_REFRESH <= b <= at for _, b in near):
            explained += LATE_REFRESH
        unexplained = register - before - bound.most_wh(explained) - (bound.step_wh if explained else 0)
        is_standby = (register - before) * HOUR <= STANDBY_W * (at - since)
        if not is_standby:
            rises.append((Rise(changed, since, at), unexplained > 0))
    paused = {at for (at, _), watts in zip(points, powers, strict=False) if 0 <= watts <= STANDBY_W}
    return _with_those_before(rises, paused)


def _with_those_before(rises: list[tuple[Rise, bool]], paused: set[int]) -> list[Rise]:
    """What moves on into an unexplained rise without a pause is no remainder of an older charge either."""
    found: list[Rise] = []
    for rise, is_unexplained in reversed(rises):
        if is_unexplained or (found and found[-1].since <= rise.at and rise.at not in paused):
            found.append(rise)
    return found[::-1]


def _read_before(points: list[Point]) -> dict[int, int]:
    """For each time at which the register was read: the time before."""
    return {after[0]: before[0] for before, after in pairwise(points)}


def _overruled(told: list[ActivityPeriod], moving: list[tuple[int, int]], until: int) -> list[ActivityPeriod]:
    """What was reported, with charging wherever the register moved."""
    marks = sorted({each.from_us for each in told} | {bound for pair in moving for bound in pair if bound < until})
    result: list[ActivityPeriod] = []
    for at in marks:
        activity = told[bisect_right(told, at, key=attrgetter("from_us")) - 1].activity
        if any(since <= at < end for since, end in meeting(moving, at, at)):
            activity = "charging"
        if not result or activity != result[-1].activity:
            result.append(ActivityPeriod(at, activity))
    return result
