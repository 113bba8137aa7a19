"""Energy of a session whose evidence is not plain: one source for each stretch of time, a code for each repair.

The precedence (ops/field-problems.md): registers of start and stop with the samples between them, samples alone,
phases that provably stand for the total, intervals, power. The rule of this file: never negative, never clamped to 0,
never more than physically possible, never a guess between two explanations. What is billed without proof says between
which bounds the truth lies; where nothing or more than one thing explains the evidence, the energy is None.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import msgspec

from pipeline.domain.metering.account import Account
from pipeline.domain.metering.baseline import FIRST, Baseline, baseline, fits
from pipeline.domain.metering.evidence import AT_THE_END, Evidence
from pipeline.domain.metering.power import STANDBY_W, integrated, leaps, stuck
from pipeline.domain.metering.registers import (
    CLOSE,
    LAG,
    Bound,
    Point,
    Way,
    risen,
    small,
    stale_since,
    wrapped,
    wrapped_at_end,
)
from pipeline.domain.station import HOUR

ENERGY_UNKNOWN = "ENERGY_UNKNOWN"
"""Why values were left out of which nothing follows, and why a bill is held for that."""
POST_STOP_WH = 100


class Judgement(msgspec.Struct, kw_only=True, gc=False):
    """`times` and `registers` run from start to end (us, Wh, rising); empty when the energy is not known."""

    times: list[int] = []
    registers: list[int] = []
    energy_wh: int | None = None
    low_wh: int | None = None
    high_wh: int | None = None
    """The truth lies between them; equal to `energy_wh` where the evidence proves it."""
    estimated_wh: int = 0
    """Of it, what no register proves."""
    is_proven: bool = False
    """Something else proves it."""
    quarantined_wh: int = 0
    dropped_wh: int = 0
    start_register_wh: int | None = None
    stop_register_wh: int | None = None
    codes: list[str] = []
    unseen_us: int = 0
    """Time in which nothing tells what flowed, beyond the gaps between readings."""
    is_rising: bool = False
    """It is known that no two of the registers are equal, unless perhaps the last two."""
    account: Account


def judge(found: Evidence, bound: Bound, previous_wh: int | None) -> Judgement:
    """The energy from everything that the session left; `previous_wh`: where the register stood before it."""
    phases = _use_phases(found, bound) if found.phases else []
    if found.registers or found.stop_wh is not None:
        _leave_out_intervals(found)
        return _of_registers(found, bound, previous_wh)
    if found.intervals:
        return _of_intervals(found, bound)
    if len(found.powers) > 1:
        return _of_power(found, bound)
    if phases:
        _explain_phases(found, phases)
        return _unknown(found, ["PHASES_PARTIAL"])
    codes = ["MISSING_START"] if found.started_us is None else []
    if found.by_stop and found.until_us > found.since_us + AT_THE_END:
        return _unknown(found, [*codes, "STOP_REGISTER_MISSING"])  # nothing was measured, which never means 0
    if found.start_wh is not None or found.begins:
        return _of_registers(found, bound, previous_wh)
    return _unknown(found, codes)


def _of_power(found: Evidence, bound: Bound) -> Judgement:
    judged = integrated(found, bound, _nothing(found, []))
    if judged.energy_wh is None:
        return _unknown(found, judged.codes)
    _leave_out_one(found.account, "NO_SECOND_REGISTER", found.since_us, found.start_wh)
    found.account.leave_out("NO_SECOND_REGISTER", found.begins)
    return judged


def _unknown(
    found: Evidence, codes: list[str], registers: list[Point] | None = None, *, has_start: bool = True, **known: Any
) -> Judgement:
    """Nothing makes the energy: all that is not left out yet is left out for the last of the codes."""
    reason, account = codes[-1] if codes else ENERGY_UNKNOWN, found.account
    for values in (found.registers if registers is None else registers, found.begins, found.intervals):
        account.leave_out(reason, values)
    if has_start:
        _leave_out_one(account, reason, found.since_us, found.start_wh)
    if "STOP_REPLACED" not in codes:
        _leave_out_one(account, reason, found.until_us, found.stop_wh)
    account.leave_out(reason, found.powers, "W")
    account.facts["energy"] = f"not known: {reason}"
    return _nothing(found, codes, **known)


def _leave_out_one(account: Account, reason: str, at_us: int, register_wh: int | None) -> None:
    if register_wh is not None:
        account.leave_out(reason, [(at_us, register_wh)])


def _nothing(found: Evidence, codes: list[str], **known: Any) -> Judgement:
    """No energy is known; a fall that nothing explains moves the ledger along (conservation.py)."""
    start, stop = found.start_wh, found.stop_wh
    known = {
        "start_register_wh": start,
        "stop_register_wh": stop if stop is not None else start,
        "dropped_wh": start - stop if start is not None and stop is not None and stop < start else 0,
    } | known
    return Judgement(codes=codes, account=found.account, **known)


# --- which values are registers --------------------------------------------------------------------------------------


def _use_phases(found: Evidence, bound: Bound) -> list[tuple[int, int]]:
    """Registers of some phases alone stand for the total where they go on from a register of the total.

    Empty: they do, or there are registers of the total; else the sums of those phases that were left out, (bits, Wh).
    """
    phases, found.phases = found.phases, {}
    if found.registers:
        for left in phases.values():
            found.account.leave_out("PHASE_BESIDE_TOTAL", left)
        return []
    bits, points = max(phases.items(), key=lambda each: len(each[1]))
    for other, left in phases.items():
        if other != bits:
            found.account.leave_out("OTHER_PHASES", left)
    if not _stand_for_total(found, points, bound):
        found.account.leave_out("PHASES_PARTIAL", points)
        return [(other, left[-1][1] - left[0][1]) for other, left in phases.items()]
    found.registers = points
    found.account.facts["phases"] = f"phases {bits:03b} stand for the total"
    return []


def _explain_phases(found: Evidence, phases: list[tuple[int, int]]) -> None:
    """What was read of some phases alone is the total, or the others took as much each."""
    bits, energy = max(phases, key=lambda each: each[1])
    found.account.hypotheses["PHASES_ARE_THE_TOTAL"] = energy
    found.account.hypotheses["PHASES_BALANCED"] = energy * 3 // bits.bit_count()


def _stand_for_total(found: Evidence, points: list[Point], bound: Bound) -> bool:
    start, stop = found.start_wh, found.stop_wh
    (at, first), (ended, last) = points[0], points[-1]
    if start is not None:
        flowed = first - start
        if not bound.allows(flowed, max(at - found.since_us, LAG)):
            return False
        if stop is not None:
            return bound.allows(stop - last, max(found.until_us - ended, LAG))
        return start > flowed + bound.step_wh or _power_agrees(found, points, bound)
    if stop is not None:
        return bound.allows(stop - last, max(found.until_us - ended, LAG))
    return _power_agrees(found, points, bound)


def _power_agrees(found: Evidence, points: list[Point], bound: Bound) -> bool:
    """Is the energy of these phases the whole of what the stated power amounts to? One of several has less by far."""
    powers = [each for each in found.powers if points[0][0] <= each[0] <= points[-1][0]]
    if powers and max(watts for _, watts in powers) <= STANDBY_W:
        return points[-1][1] - points[0][1] <= bound.step_wh
    if len(powers) < 2:
        return False
    beside = [register for at, register in points if powers[0][0] <= at <= powers[-1][0]]
    energy = beside[-1] - beside[0] if beside else -1
    spans = [(b[0] - a[0], a[1], b[1]) for a, b in pairwise(powers)]
    flowed = sum((p + q) * span for span, p, q in spans) // (2 * HOUR)
    if energy < 0:
        return False
    if abs(flowed - energy) * 10 <= energy + 10 * bound.step_wh:
        return True
    least, most = (sum(pick(p, q) * span for span, p, q in spans) // HOUR for pick in (min, max))
    return least <= energy <= most and abs(flowed - energy) * 4 <= flowed


def _leave_out_intervals(found: Evidence) -> None:
    """Intervals beside registers say the same again; without samples they tell how the energy spread over the time."""
    if found.intervals and not found.registers and found.start_wh is not None and found.stop_wh is not None:
        total, points = found.start_wh, []
        for at, energy in found.intervals:
            total += energy
            points.append((at, total))
        if points[-1][1] <= found.stop_wh:
            found.registers, found.intervals = points, []
            return
    found.account.leave_out("INTERVAL_BESIDE_REGISTER", found.intervals)
    found.intervals = []


# --- registers -------------------------------------------------------------------------------------------------------


def _of_registers(found: Evidence, bound: Bound, previous_wh: int | None) -> Judgement:
    base = baseline(found, bound, previous_wh)
    account = found.account
    start = base.start_wh
    strange: list[Point] = []
    if found.begins:
        account.leave_out("FROZEN_BEGIN", [each for each in found.begins if each[1] != start])
        strange = [each for each in found.begins if _is_other_baseline(found, each[1], start, bound)]
        found.begins = [each for each in found.begins if each[1] == start]
    if start is None:
        return _unknown(found, base.codes)
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
        _leave_out_one(account, "BASELINE_REPLACED", found.since_us, found.start_wh)
    stop = _closing(found, way, base, bound, codes)
    if stop is None or way.is_ambiguous or _may_have_wrapped(found, way, stop - start, bound):
        codes.append("NEGATIVE_ENERGY")
        _explain_fall(found, bound)
        return _unknown(found, codes, samples, has_start=is_told)
    points = _points(found, way, stop)
    energy = stop - start
    sent = stop - way.dropped_wh
    if not bound.allows(energy, found.until_us - found.since_us) or leaps(found, points, bound):
        codes.append("IMPOSSIBLE_ENERGY")
        _explain_jump(found, points, bound)
        if "STOP_REPLACED" in codes and found.stop_wh is not None:  # what replaced it may be another session's
            sent = found.stop_wh
        return _unknown(
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
        energy_wh=energy,
        low_wh=low,
        high_wh=high,
        estimated_wh=base.spare_wh,
        dropped_wh=way.dropped_wh,
        start_register_wh=start,
        stop_register_wh=sent,
        codes=codes,
        unseen_us=unseen,
        account=account,
    )
    points = stuck(found, points, bound, judged)
    judged.times = [at for at, _ in points]
    judged.registers = [register for _, register in points]
    above = [
        sample for sample, (_, register) in zip(samples, way.points[1:], strict=True) if register > stop + bound.step_wh
    ]
    account.leave_out("ABOVE_STOP", above)
    has_stop = found.stop_wh is not None and "STOP_REPLACED" not in codes
    account.used += len(samples) - len(above) + is_told + has_stop + len(found.begins) + len(found.powers)
    if base.spare_wh and found.started_us is None:
        account.hypotheses[FIRST] = energy - base.spare_wh
    _note_after(found, sent, start, judged)
    return judged


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
    return _unknown(
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


# --- intervals -------------------------------------------------------------------------------------------------------


def _of_intervals(found: Evidence, bound: Bound) -> Judgement:
    """Energy since the reading before, added up; a missing one is a hole in which up to the rating may have flowed."""
    account = found.account
    account.facts["energy"] = "sum of Energy.Active.Import.Interval"
    times = [found.since_us]
    total, registers = found.start_wh or 0, [found.start_wh or 0]
    spans = sorted(after[0] - before[0] for before, after in pairwise(found.intervals))
    usual = spans[len(spans) // 2] if spans else found.until_us - found.since_us
    unseen = 0
    for at, energy in found.intervals:
        if at - times[-1] > usual * 3 // 2:
            unseen += at - times[-1] - usual
        total += energy
        if at > times[-1]:
            times.append(at)
            registers.append(total)
        else:
            registers[-1] = total
    tail = found.until_us - times[-1]
    if tail > 0:
        unseen += tail if tail > AT_THE_END else 0
        times.append(found.until_us)
        registers.append(total)
    energy = total - registers[0]
    codes = ["INTERVALS_SUMMED"]
    if found.started_us is None:
        codes.append("MISSING_START")
    if not bound.allows(energy, found.until_us - found.since_us):
        return _unknown(found, [*codes, "IMPOSSIBLE_ENERGY"])
    account.leave_out("FROZEN_BEGIN", found.begins)
    account.used += len(found.intervals) + len(found.powers) + (found.start_wh is not None)
    points = list(zip(times, registers, strict=True))
    if len(found.powers) > 1 and not _power_agrees(found, points, bound):
        unseen = found.until_us - found.since_us  # more or less flowed than they tell
    if unseen:
        codes.append("INTERVAL_MISSING")
    return Judgement(
        times=times,
        registers=registers,
        energy_wh=energy,
        low_wh=energy,
        high_wh=energy + (bound.unseen_wh(unseen) if unseen else 0),
        estimated_wh=energy,
        is_proven=not unseen and found.started_us is not None and found.by_stop,
        codes=codes,
        unseen_us=unseen,
        account=account,
    )
