"""What a session did when nobody told: the one inference of activity, from what was measured.

The rule of this file: the stream and documents of a session without `activity` ask here and nowhere else, so that one
set of readings has one bill.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.metering.power import STANDBY_W
from pipeline.domain.metering.registers import beat, resolution
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.station import HOUR

SHORTEST_IDLE_US = 120_000_000
"""A register that stood still for two minutes at the end may only be waiting for its next step."""
LEAST_W = 1380
"""The least at which a vehicle charges (IEC 61851: 6 A, one phase): so long one step of a coarse register may take."""


def infer_activity(
    times: Sequence[int], registers: Sequence[int], powers: Sequence[int], started: int, until: int
) -> list[ActivityPeriod]:
    """Charging ends where the register reached its last value, if it then stood still for more than two minutes and for
    more than twice the time between two changes of it: a register is refreshed on a beat of its own. Where too few
    changes tell that, for longer than one step of the register can take.

    While power is stated it charges on, whatever a coarse register shows. Parallel: `times` (us, rising), `registers`
    (Wh) and `powers` (W stated then, -1: none). Fewer than three tell nothing. `started`, `until`: us; what lies
    between the last of `times` and `until` was observed by nobody, and is never idle.
    """
    charging = ActivityPeriod(started, "charging")
    if len(times) < 3:
        return [charging]
    index = len(registers) - 1
    while index and registers[index - 1] == registers[index] and powers[index] <= STANDBY_W:
        index -= 1
    ended, observed = times[index], times[-1]
    if observed - ended <= SHORTEST_IDLE_US or ended <= started:
        return [charging]  # nearly always
    usual = beat(list(zip(times, registers, strict=True)))
    shortest = max(SHORTEST_IDLE_US, 2 * usual if usual else resolution(set(registers)) * HOUR // LEAST_W)
    if observed - ended <= shortest:
        return [charging]
    stretches = [charging, ActivityPeriod(ended, "idle")]
    if observed < until:
        stretches.append(ActivityPeriod(observed, "charging"))
    return stretches
