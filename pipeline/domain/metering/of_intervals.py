"""Energy that is told interval by interval: summed up where there is no register, else it says the same again."""

from __future__ import annotations

from itertools import pairwise

from pipeline.domain.metering.evidence import AT_THE_END, Evidence
from pipeline.domain.metering.judgement import Judgement, unknown
from pipeline.domain.metering.phases import power_agrees
from pipeline.domain.metering.registers import Bound


def leave_out_intervals(found: Evidence) -> None:
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


def of_intervals(found: Evidence, bound: Bound) -> Judgement:
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
        return unknown(found, [*codes, "IMPOSSIBLE_ENERGY"])
    account.leave_out("FROZEN_BEGIN", found.begins)
    account.used += len(found.intervals) + len(found.powers) + (found.start_wh is not None)
    points = list(zip(times, registers, strict=True))
    if len(found.powers) > 1 and not power_agrees(found, points, bound):
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
