"""Energy by the registers of start and stop, and by the samples between them.

A fall of the register is told apart by what follows it (registers.py), the baseline by what fits (baseline.py). What is
billed without proof says between which bounds the truth lies.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from pipeline.domain.metering.baseline import FIRST, Baseline, baseline, fits
from pipeline.domain.metering.evidence import AT_THE_END, Evidence
from pipeline.domain.metering.judgement import Judgement, leave_out_one, unknown
from pipeline.domain.metering.power import STANDBY_W, leaps, stuck
from pipeline.domain.metering.registers import (
    CLOSE,
    Bound,
    Point,
    Way,
    risen,
    small,
    stale_since,
    wrapped,
    wrapped_at_end,
)

POST_STOP_WH = 100


def of_registers(found: Evidence, bound: Bound, previous_wh: int | None) -> Judgement:
    base = baseline(found, bound, previous_wh)
    account = found.account
    start = base.start_wh
    strange = _other_baselines(found, start, bound) if found.begins else []
    if start is None:
        return unknown(found, base.codes)
    account.facts["baseline"] = base.fact
    if base.hypotheses:
        return _held_for_baseline(found, base, bound)
    closing = None if found.stop_wh is None else (found.until_us, found.stop_wh)
    way = risen([(found.since_us, start), *base.samples], bound, closing)
    codes = [*base.codes, *way.codes]
    before = account.left_out.get("BEFORE_START")
    if before is not None and any(each.unit == "Wh" and each.value > start + bound.step_wh for each in before.first):
        codes.append("TIME_UNCERTAIN")  # energy flowed in this transaction before it began, by what it says itself
    samples, is_told = _believed(found, base, way), found.start_wh == start
    if not is_told:
        leave_out_one(account, "BASELINE_REPLACED", found.since_us, found.start_wh)
    stop = _closing(found, way, base, bound, codes)
    if stop is None or way.is_ambiguous or _may_have_wrapped(found, way, stop - start, bound):
        codes.append("NEGATIVE_ENERGY")
        _explain_fall(found, bound)
        return unknown(found, codes, samples, has_start=is_told)
    points = _points(found, way, stop)
    energy = stop - start
    sent = stop - way.dropped_wh
    if not bound.allows(energy, found.until_us - found.since_us) or leaps(found, points, bound):
        codes.append("IMPOSSIBLE_ENERGY")
        _explain_jump(found, points, bound)
        if "STOP_REPLACED" in codes and found.stop_wh is not None:  # what replaced it may be another session's
            sent = found.stop_wh
        return unknown(
            found, codes, samples, has_start=is_told, start_register_wh=start, stop_register_wh=sent,
            quarantined_wh=max(sent + way.dropped_wh - start, 0), dropped_wh=way.dropped_wh,
        )  # fmt: skip
    low, high = energy - base.spare_wh, energy + base.before_wh
    for _, register in strange:
        low, high = min(low, stop - register), max(high, stop - register)
    unseen = sum(until - since for since, until in way.unseen) + base.before_us
    high += sum(bound.unseen_wh(until - since) for since, until in way.unseen)
    if way.unseen and way.dropped_wh:  # each part may be short of a step, or have one too many
        low, high = low - min(bound.step_wh, energy), high + bound.step_wh
        unseen += bound.time_us(2 * bound.step_wh)
    judged = Judgement(
        energy_wh=energy, low_wh=low, high_wh=high, estimated_wh=base.spare_wh, dropped_wh=way.dropped_wh,
        start_register_wh=start, stop_register_wh=sent, codes=codes, unseen_us=unseen, account=account,
    )  # fmt: skip
    points = stuck(found, points, bound, judged)
    judged.times = [at for at, _ in points]
    judged.registers = [register for _, register in points]
    limit = stop + bound.step_wh
    above = [each for each, (_, register) in zip(samples, way.points[1:], strict=True) if register > limit]
    account.leave_out("ABOVE_STOP", above)
    has_stop = found.stop_wh is not None and "STOP_REPLACED" not in codes
    account.used += len(samples) - len(above) + is_told + has_stop + len(found.begins) + len(found.powers)
    if base.spare_wh and found.started_us is None:
        account.hypotheses[FIRST] = energy - base.spare_wh
    _note_after(found, sent, start, judged)
    return judged


def _other_baselines(found: Evidence, start: int | None, bound: Bound) -> list[Point]:
    """Begin values that are not the baseline are left out; those that could be one are returned."""
    found.account.leave_out("FROZEN_BEGIN", [each for each in found.begins if each[1] != start])
    others = [each for each in found.begins if _is_other_baseline(found, each[1], start, bound)]
    found.begins = [each for each in found.begins if each[1] == start]
    return others


def _is_other_baseline(found: Evidence, begin_wh: int, start_wh: int | None, bound: Bound) -> bool:
    """Could the session have begun from this register instead, with more than a step of other energy?"""
    return start_wh is not None and abs(begin_wh - start_wh) > bound.step_wh and fits(found, begin_wh, bound)


def _believed(found: Evidence, base: Baseline, way: Way) -> list[Point]:
    """The samples as they were sent that made a point of the way each; the others are left out."""
    left: Counter[Point] = Counter()
    for reason, points in way.left_out.items():
        found.account.leave_out(reason, [(at, register - base.raised_wh) for at, register in points])
        left.update(points)
    believed = []
    for at, register in base.samples:
        if left[at, register]:
            left[at, register] -= 1
        else:
            believed.append((at, register - base.raised_wh))
    return believed


def _held_for_baseline(found: Evidence, base: Baseline, bound: Bound) -> Judgement:
    final = found.stop_wh if found.stop_wh is not None else (base.samples[-1][1] if base.samples else None)
    if final is not None:
        found.account.hypotheses = {name: final - start for name, start in base.hypotheses.items()}
    lowest = max(base.hypotheses.values())
    moved = (final or lowest) - lowest
    return unknown(
        found, [*base.codes, "BASELINE_UNCLEAR"], start_register_wh=lowest, quarantined_wh=max(moved, 0),
        stop_register_wh=max(final or lowest, lowest), dropped_wh=0,
    )  # fmt: skip


def _closing(found: Evidence, way: Way, base: Baseline, bound: Bound, codes: list[str]) -> int | None:
    """The register at the end on the scale of the way; None: it fell, and nothing explains that."""
    at, last = way.points[-1]
    if found.stop_wh is None:
        stale = _stale_since(found, way)
        after = found.until_us - at
        if found.by_stop and (after > AT_THE_END or bound.unseen_wh(after) > bound.step_wh):
            codes.append("STOP_REGISTER_MISSING")
            way.unseen.append((stale, found.until_us))
        elif found.ended_us is not None and stale < at:
            way.unseen.append((stale, at))
        found.account.facts["energy"] = "last register - baseline"
        return last
    found.account.facts["energy"] = "meterStop - baseline"
    stop = found.stop_wh + way.dropped_wh
    if base.raised_wh and found.stop_wh < base.raised_wh:
        stop = found.stop_wh + base.raised_wh  # session-relative, too
    is_frozen = way.dropped_wh > 0 and found.stop_wh == found.start_wh  # what fell since does not end just there
    if stop >= last - bound.step_wh and not is_frozen:
        return max(stop, way.points[0][1])
    if stop >= last - small(bound) and not is_frozen and stop >= way.points[0][1]:
        if any(register > stop + bound.step_wh for _, register in way.points):
            codes.append("ROLLBACK_IGNORED")
            way.unseen.append((found.until_us, found.until_us))
        return stop
    modulus = wrapped_at_end(way, (found.until_us, found.stop_wh), bound)
    if modulus:
        way.dropped_wh += modulus
        codes.append("REGISTER_WRAPPED")
        return found.stop_wh + way.dropped_wh
    if len(way.points) == 1:
        return None  # no reading between a start and a stop below it
    if last == way.points[0][1] and found.stop_wh < last:
        return None
    codes.append("STOP_REPLACED")  # problem 24
    found.account.leave_out("STOP_REPLACED", [(found.until_us, found.stop_wh)])
    found.account.facts["energy"] = "last register - baseline"
    way.unseen.append((_stale_since(found, way), found.until_us))
    return last


def _stale_since(found: Evidence, way: Way) -> int:
    """Since when energy may be missing in the last register: not where no power was stated meanwhile."""
    at, _ = way.points[-1]
    since = min(stale_since(way.points), way.firm_us or at)
    watts = [each for told_us, each in found.powers if since <= told_us <= at]
    return at if watts and max(watts) <= STANDBY_W else since


def _may_have_wrapped(found: Evidence, way: Way, energy_wh: int, bound: Bound) -> bool:
    """Would a register that ran over its last digit between start and stop mean another energy?"""
    start, stop = found.start_wh, found.stop_wh
    if start is None or stop is None or stop >= start - small(bound) or "REGISTER_WRAPPED" in way.codes:
        return False
    times = [found.since_us, *(at for at, _ in found.registers), found.until_us]
    goes_on = bool(found.registers) and found.registers[0][1] >= start - small(bound)
    if goes_on and max(after - before for before, after in pairwise(times)) <= CLOSE:
        return False  # it was read all the time: `wrapped` has looked at each fall
    modulus = wrapped(start, stop, found.until_us - found.since_us, bound)
    return bool(modulus) and abs(modulus - start + stop - energy_wh) > bound.step_wh


def _points(found: Evidence, way: Way, stop: int) -> list[Point]:
    """From start to end, times strictly rising; what is higher than the stop gives way to it (problem 27)."""
    points = way.points[:1]
    for at, register in way.points[1:]:
        if at > points[-1][0]:
            points.append((at, min(register, stop)))
        elif len(points) > 1:
            points[-1] = (at, min(register, stop))
    if found.until_us > points[-1][0]:
        points.append((found.until_us, stop))
    else:
        points[-1] = (points[-1][0], stop)
    return points


def _explain_fall(found: Evidence, bound: Bound) -> None:
    """Start and stop alone, the stop lower: by how much energy each explanation would bill."""
    start, stop = found.start_wh, found.stop_wh
    if start is None or stop is None:
        return
    modulus = wrapped(start, stop, found.until_us - found.since_us, bound)
    if modulus:
        found.account.hypotheses["REGISTER_WRAPPED"] = modulus - start + stop
    if bound.allows(stop, found.until_us - found.since_us):
        found.account.hypotheses["REGISTER_RESET"] = stop


def _explain_jump(found: Evidence, points: list[Point], bound: Bound) -> None:
    """A jump may be another meter: the energy without it is what both sides of it prove."""
    energy = points[-1][1] - points[0][1]
    without = energy - sum(after[1] - before[1] for before, after in leaps(found, points, bound))
    if bound.allows(without, found.until_us - found.since_us):
        found.account.hypotheses["WITHOUT_THE_JUMP"] = without


def _note_after(found: Evidence, stop_wh: int, start_wh: int, judged: Judgement) -> None:
    """Readings after the stop: the stop wins; if they are much higher, the truth may lie there (problem 26)."""
    after = max((register for _, register in found.after), default=stop_wh)
    more = after - stop_wh
    if more > max(POST_STOP_WH, (stop_wh - start_wh) // 100):
        judged.codes.append("POST_STOP_READING")
