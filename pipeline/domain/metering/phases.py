"""Registers of some phases alone: whether they stand for the total, and what there is to decide otherwise."""

from __future__ import annotations

from itertools import pairwise

from pipeline.domain.metering.evidence import Evidence
from pipeline.domain.metering.power import STANDBY_W
from pipeline.domain.metering.registers import LAG, Bound, Point
from pipeline.domain.station import HOUR


def use_phases(found: Evidence, bound: Bound) -> list[tuple[int, int]]:
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


def explain_phases(found: Evidence, phases: list[tuple[int, int]]) -> None:
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
        return start > flowed + bound.step_wh or power_agrees(found, points, bound)
    if stop is not None:
        return bound.allows(stop - last, max(found.until_us - ended, LAG))
    return power_agrees(found, points, bound)


def power_agrees(found: Evidence, points: list[Point], bound: Bound) -> bool:
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
