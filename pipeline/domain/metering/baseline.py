"""Where the register stood at the start: one hypothesis that fits is used and named, two that differ hold the bill.

lifetime: readings go on from the register of the start. session-relative: they count from 0 while start and stop are
lifetime values (problem 1). baseline missing: the start says 0 or nothing (problem 2), or a value from before the
session that ended last on the connector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeGuard

from pipeline.domain.metering.evidence import AT_THE_END, Evidence
from pipeline.domain.metering.registers import LAG, Bound, Point, changes, resolution, small, wrapped
from pipeline.domain.station import HOUR, MINUTE

AS_SENT, PREVIOUS, FIRST, BEGIN = "START_REGISTER", "PREVIOUS_STOP", "FIRST_READING", "TRANSACTION_BEGIN"
RELATIVE = "SESSION_RELATIVE"


@dataclass(slots=True)
class Baseline:
    """`start_wh` None: not known. `samples` are on the scale of the start."""

    start_wh: int | None
    samples: list[Point]
    fact: str
    codes: list[str] = field(default_factory=list)
    raised_wh: int = 0
    """What was added to the samples (session-relative ones)."""
    before_wh: int = 0
    """At most so much flowed before `start_wh` was read, in this session ..."""
    before_us: int = 0
    spare_wh: int = 0
    """... and at most so much of what was counted from there on flowed before it."""
    hypotheses: dict[str, int] = field(default_factory=dict)
    """Several fit: the register at the start by each."""


def baseline(found: Evidence, bound: Bound, previous_wh: int | None) -> Baseline:
    """`previous_wh`: where the last session on the connector left the register; None: not known."""
    start, samples = found.start_wh, found.registers
    base = Baseline(start, samples, AS_SENT)
    if found.started_us is None:
        base.codes.append("MISSING_START")
    is_told = start is not None and start > 0 and (previous_wh is None or start >= previous_wh - bound.step_wh)
    first = samples[0] if samples and found.started_us is not None else (0, 0)
    early = first[1] if first[0] <= found.since_us + AT_THE_END else None
    begun = start if start is not None else found.begins[0][1] if found.begins else early
    is_unclear = bool(begun) and _may_count_from_0(found, begun or 0, bound)
    if begun and (low := _relative(found, begun, bound)):
        base.start_wh = begun
        _rebase(base, found, begun, low, bound)
        if is_unclear:
            base.spare_wh = min(begun, low[0][1])
            base.before_us += bound.time_us(begun)
        return base
    if begun and is_unclear:
        base.before_wh, base.before_us = begun, bound.time_us(begun)
    if begun is None and (hypotheses := _low_or_relative(found, bound)):
        base.start_wh, base.hypotheses = hypotheses[FIRST], hypotheses
        return base
    if is_told or not _final(found):
        return base if start is not None else _of_first(base, found, bound, previous_wh)
    fitting = {name: wh for name, wh in _candidates(found, previous_wh).items() if fits(found, wh, bound)}
    is_read = any(found.since_us < at < found.until_us - AT_THE_END for at, _ in samples)
    is_open = start == 0 and PREVIOUS not in fitting and not is_read  # a wrap or a start of 0
    lasted = found.until_us - found.since_us
    if is_open and previous_wh and found.stop_wh and (modulus := wrapped(previous_wh, found.stop_wh, lasted, bound)):
        base.hypotheses = {AS_SENT: 0, PREVIOUS: previous_wh - modulus}
        return base
    if start == 0 and AS_SENT in fitting and PREVIOUS not in fitting and not _goes_on_from(found, bound, 0, 125):
        base.hypotheses = {AS_SENT: 0, FIRST: samples[0][1]}
        return base
    if start is None:
        return _of_first(base, found, bound, fitting.get(BEGIN, fitting.get(PREVIOUS)), exact=BEGIN in fitting)
    if max(fitting.values(), default=0) - min(fitting.values(), default=0) > bound.step_wh:
        base.hypotheses = fitting
        return base
    if AS_SENT in fitting:
        if start == 0 and previous_wh is None and found.stop_wh and not is_read:  # it may have run over its last digit
            base.before_us = found.until_us - found.since_us
            base.before_wh = max(bound.unseen_wh(base.before_us) - found.stop_wh, 0)
        return base
    if fitting:
        _replace(base, found, fitting, bound)
        return base
    return _of_first(base, found, bound, None) if start == 0 else base


def _replace(base: Baseline, found: Evidence, fitting: Mapping[str, int], bound: Bound) -> None:
    """By the Begin value, else by the stop before."""
    name = BEGIN if BEGIN in fitting else PREVIOUS
    base.start_wh, base.fact = fitting[name], name
    base.codes.append("BASELINE_REPLACED")
    samples = [each for each in found.registers if each[1]]
    if name == PREVIOUS and samples and not _leads_to_first(found, samples, fitting[name]):
        base.spare_wh = samples[0][1] - fitting[name]  # that stop may not have told all of its session
        base.before_us = max(samples[0][0] - found.since_us, LAG)


def _candidates(found: Evidence, previous_wh: int | None) -> dict[str, int]:
    """Registers at the start by who tells them."""
    candidates = {}
    if found.start_wh is not None:
        candidates[AS_SENT] = found.start_wh
    if found.begins:
        candidates[BEGIN] = found.begins[0][1]
    if previous_wh is not None:
        candidates[PREVIOUS] = previous_wh
    return candidates


def _final(found: Evidence) -> Point | None:
    """The last register that is known, and its time."""
    last = found.registers[-1] if found.registers else None
    if found.stop_wh is None or (last is not None and found.stop_wh < last[1]):
        return last
    return found.until_us, found.stop_wh


def fits(found: Evidence, start_wh: int, bound: Bound) -> bool:
    """Can the registers go on from there?"""
    final = _final(found)
    if final is None:
        return True
    first = next((each for each in found.registers if each[1]), final)  # 0 may mean that it was not known
    return bound.allows(first[1] - start_wh, max(first[0] - found.since_us, LAG)) and bound.allows(
        final[1] - start_wh, final[0] - found.since_us
    )


def _goes_on_from(found: Evidence, bound: Bound, start_wh: int, percent: int) -> bool:
    """Did the register rise from there to the first sample as fast as it rose afterwards, and not faster?"""
    points = changes(found.registers)
    if not points or points[0][1] - start_wh <= bound.step_wh:
        return True
    at, register = points[0]
    watts = [power for _, power in found.powers]
    watts += [
        (after[1] - before[1]) * HOUR // (after[0] - before[0])
        for before, after in pairwise(points)
        if after[0] - before[0] >= MINUTE
    ]
    fastest = max(watts, default=0)
    most = fastest * percent // 100 * (at - found.since_us) // HOUR
    return not watts or register - start_wh <= most + 2 * bound.step_wh


def _leads_to_first(found: Evidence, samples: list[Point], start_wh: int) -> bool:
    """Was the first sample just as much higher as what flows there amounts to, or no higher at all?"""
    (at, register), *later = samples
    watts = [power for told_us, power in found.powers if told_us >= at]
    watts += [_rate_w((at, register), after) for after in later[:1]]
    off = register - start_wh - (watts[0] if watts else 0) * (at - found.since_us) // HOUR
    step = resolution({wh for _, wh in samples})
    return abs(off) <= step or register - start_wh < step  # that stop itself may be a step short


def _deepest_dip(registers: list[Point], bound: Bound) -> int:
    """By how much readings of this session are a little lower than the ones before them, Wh; 0: none is."""
    falls = [before[1] - after[1] for before, after in pairwise(registers)]
    deepest = max((fall for fall in falls if fall <= small(bound)), default=0)
    return max(deepest, bound.step_wh) if deepest > 0 else 0


def _relative(found: Evidence, start: int, bound: Bound) -> list[Point]:
    """Samples that count from about 0 and end below what the stop says; those at both ends may be lifetime values."""
    after = [each for each in found.registers if each[0] > found.since_us]
    inside = [each for each in after if each[0] < found.until_us]
    for samples in (found.registers, after, inside):
        if samples and _counts_from_0(found, samples, start, bound):
            return samples
    return []


def _counts_from_0(found: Evidence, samples: list[Point], start: int, bound: Bound) -> bool:
    counted = _without_dropouts(samples)
    (at, first), (ended, last) = counted[0], counted[-1]
    if first > bound.most_wh(max(at - found.since_us, LAG)) + bound.step_wh or any(
        after[1] < before[1] - small(bound) for before, after in pairwise(counted)
    ):
        return False
    stop = _told_stop(found)
    if first >= start - small(bound):
        return _fits_better(found, counted, start, stop if _is_useful(stop, start) else None, bound)
    tail = max(found.until_us - ended, LAG)
    if stop is not None and bound.allows(stop - start - last, tail):
        return True
    if at - found.since_us > max((found.until_us - found.since_us) // 2, LAG) or at >= found.until_us - AT_THE_END:
        return False  # a meter that was reset or replaced before it would look the same
    if _is_useful(stop, start):
        return stop < start and bound.allows(stop - last, tail)
    return last < start or (last > start and _fits_better(found, counted, start, None, bound))


def _without_dropouts(samples: list[Point]) -> list[Point]:
    began = next((place for place, (_, register) in enumerate(samples) if register), len(samples))
    return [*samples[:began], *(each for each in samples[began:] if each[1])]


def _told_stop(found: Evidence) -> int | None:
    """The register of the stop; a sample of that time stands for it."""
    if found.stop_wh is not None or not found.registers or found.registers[-1][0] < found.until_us - AT_THE_END:
        return found.stop_wh
    return found.registers[-1][1]


def _is_useful(stop: int | None, start: int) -> TypeGuard[int]:
    """A stop of 0, or one that repeats the start, tells nothing of a session in which the register rose."""
    return stop not in (None, 0, start)


def _may_count_from_0(found: Evidence, start: int, bound: Bound) -> bool:
    """Without a useful stop, low samples at a new station may be lifetime values, or count from the start."""
    samples = _without_dropouts(found.registers)
    if not samples or _is_useful(found.stop_wh, start):
        return False
    (at, first), (_, last) = samples[0], samples[-1]
    most = bound.most_wh(max(at - found.since_us, LAG)) + bound.step_wh
    return first <= most and last > start


def _fits_better(found: Evidence, samples: list[Point], start: int, stop: int | None, bound: Bound) -> bool:
    """At a new station lifetime values are as low as counted ones: do these go on at both ends as fast as beside them,
    and lifetime values not? Without a stop the beginning alone tells."""
    if len(samples) < 2:
        return False
    (at, first), (ended, last) = samples[0], samples[-1]
    head = _rate_w(*samples[:2]) * (at - found.since_us) // HOUR
    off, off_counted = abs(first - start - head), abs(first - head)
    if stop is not None:
        tail = _rate_w(*samples[-2:]) * (found.until_us - ended) // HOUR
        off += abs(stop - last - tail)
        off_counted += abs(stop - start - last - tail)
    return off_counted + 2 * bound.step_wh < off


def _rate_w(before: Point, after: Point) -> int:
    return (after[1] - before[1]) * HOUR // max(after[0] - before[0], 1)


def _low_or_relative(found: Evidence, bound: Bound) -> dict[str, int]:
    """Without a start, low samples may count from 0 or from a low register: two hypotheses, unless the stop goes on
    from the last sample as fast as it rose before."""
    inside = _without_dropouts([each for each in found.registers if each[0] < found.until_us - AT_THE_END])
    stop = _told_stop(found)
    if len(inside) < 2 or stop is None:
        return {}
    (at, first), (ended, last) = inside[0], inside[-1]
    tail = _rate_w(*inside[-2:]) * (found.until_us - ended) // HOUR
    if first > bound.most_wh(max(at - found.since_us, LAG)) + bound.step_wh:
        return {}
    return {FIRST: first, RELATIVE: stop - last} if stop - last > tail * 5 // 4 + small(bound) else {}


def _rebase(base: Baseline, found: Evidence, start: int, low: list[Point], bound: Bound) -> None:
    counted = set(low)
    base.samples = [
        (at, register + start if (at, register) in counted else register) for at, register in found.registers
    ]
    base.raised_wh = start
    base.codes.append("REBASED_SAMPLES")
    # Without a useful stop, a register that was reset just then would look the same.
    if found.stop_wh is None or found.stop_wh < start + min(low[-1][1], 1):
        base.before_us = found.registers[0][0] - found.since_us
        base.before_wh = bound.unseen_wh(base.before_us) if base.before_us else 0


def _of_first(base: Baseline, found: Evidence, bound: Bound, known_wh: int | None, *, exact: bool = False) -> Baseline:
    """No register at the start: the one that is known from elsewhere bounds what flowed before the first reading."""
    if exact and known_wh is not None:
        base.start_wh, base.fact = known_wh, BEGIN
        return base
    if not found.registers:
        if known_wh is not None and found.stop_wh is not None and fits(found, known_wh, bound):
            base.start_wh, base.fact = found.stop_wh, FIRST
            base.before_wh, base.before_us = found.stop_wh - known_wh, found.until_us - found.since_us
            base.codes.append("BASELINE_REPLACED")
        return base
    at, first = next((each for each in found.registers if each[1] > 0), found.registers[0])
    base.start_wh, base.fact = first, FIRST
    base.before_us = at - found.since_us
    if base.before_us > AT_THE_END:
        base.before_us += AT_THE_END  # a start without time is stamped when it comes
    base.before_wh = bound.unseen_wh(base.before_us) if base.before_us else 0
    if found.started_us is not None and at - found.since_us <= AT_THE_END:
        return base  # it was read at the start
    spare = first - known_wh if known_wh is not None else -1
    if 0 <= spare <= bound.most_wh(max(at - found.since_us, LAG)) + bound.step_wh:
        base.start_wh, base.fact, base.before_wh, base.spare_wh = known_wh, PREVIOUS, 0, spare
        base.before_us = max(base.before_us, bound.time_us(spare))
    if found.started_us is not None and (dip := _deepest_dip(found.registers, bound)):  # the first may be as low
        base.spare_wh += dip
        base.before_us += bound.time_us(dip)
    if at > found.since_us:
        base.codes.append("BASELINE_REPLACED")
    return base
