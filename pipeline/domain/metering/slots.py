"""Energy and time of a session spread over quarters of an hour UTC.

Interpolation: between two readings energy flows evenly; the register at a bound is cut down to whole Wh, so that the
slots re-add to the session to the Wh. Seconds likewise are differences of times since the start, rounded as those of
the session are, so that they re-add to its duration and its charging time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from pipeline.domain.metering.measured import seconds
from pipeline.domain.outputs import SessionSlot
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.station import QUARTER


def spread(
    times: Sequence[int], registers: Sequence[int], activity: Sequence[ActivityPeriod], until_us: int
) -> tuple[SessionSlot, ...]:
    """Slots from the first to the last reading. Times in us (rising), registers in Wh. No readings: no slots."""
    if not times:
        return ()
    start, end = times[0], max(until_us, times[-1])
    charging = [
        (stretch.from_us, following.from_us if following else end)
        for stretch, following in zip(activity, [*activity[1:], None], strict=True)
        if stretch.activity != "idle"
    ]
    charges_all_along = charging == [(start, end)]  # nearly always; no sum over the stretches for each slot
    lasted, in_all = seconds(end - start), seconds(sum(until - since for since, until in charging))
    slots: list[SessionSlot] = []
    register, clock = registers[0], 0
    charged_before = 0
    bound = start - start % QUARTER
    while True:
        slot_start = bound
        bound += QUARTER
        cut = min(bound, end)
        at_cut = registers[-1] if cut >= times[-1] else _register_at(times, registers, cut)
        occupied = seconds(cut - start)
        charged = occupied
        if not charges_all_along:
            charged = seconds(sum(min(b, cut) - a for a, b in charging if a < cut))
            # Both are rounded: the last slot, which is no whole quarter, may not charge for longer than it is occupied.
            charged = max(charged, in_all - (lasted - occupied))
        slots.append(SessionSlot(slot_start, at_cut - register, occupied - clock, charged - charged_before))
        register, clock, charged_before = at_cut, occupied, charged
        if bound >= end:
            return tuple(slots)


def _register_at(times: Sequence[int], registers: Sequence[int], at: int) -> int:
    index = bisect_right(times, at)
    if index == 0:
        return registers[0]
    before, after = times[index - 1], times[index]
    return registers[index - 1] + (registers[index] - registers[index - 1]) * (at - before) // (after - before)
