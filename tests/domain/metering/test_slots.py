"""Slots re-add to their session: energy to the Wh, duration and charging time to the second."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.metering.measured import seconds
from pipeline.domain.metering.slots import spread
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.station import MINUTE, QUARTER, SECOND

START = 1_772_436_600_000_000


@given(
    st.integers(0, QUARTER), st.lists(st.tuples(st.integers(1, 20 * MINUTE), st.integers(0, 5_000)), min_size=1),
    st.lists(st.integers(1, 10 * MINUTE)), st.booleans(),
)  # fmt: skip
def test_slots_re_add_to_their_session(
    late: int, steps: list[tuple[int, int]], changes: list[int], is_idle_first: bool
) -> None:
    times, registers = [START + late], [10_000]
    for span, wh in steps:
        times.append(times[-1] + span)
        registers.append(registers[-1] + wh)
    start, end = times[0], times[-1]
    turns = [start, *(each for each in (start + sum(changes[: n + 1]) for n in range(len(changes))) if each < end)]
    idle = [(number % 2 == 0) == is_idle_first for number in range(len(turns))]
    activity = [ActivityPeriod(at, "idle" if rests else "charging") for at, rests in zip(turns, idle, strict=True)]
    charging = sum(b - a for (a, b), rests in zip(pairwise([*turns, end]), idle, strict=True) if not rests)
    slots = spread(times, registers, activity, end)
    assert sum(each.energy_wh for each in slots) == registers[-1] - registers[0]
    assert sum(each.occupied_s for each in slots) == seconds(end - start)
    assert sum(each.charging_s for each in slots) == seconds(charging)
    assert all(0 <= each.charging_s <= each.occupied_s for each in slots)
    assert all(b.start_us - a.start_us == QUARTER for a, b in pairwise(slots))


def test_a_second_that_rounding_leaves_over_goes_to_a_slot_that_has_room_for_it() -> None:
    """0.6 s of idle time, then 1799.7 s of charging that end 0.3 s into a slot."""
    end = START + 2 * QUARTER + 300_000
    activity = [ActivityPeriod(START, "idle"), ActivityPeriod(START + 600_000, "charging")]
    slots = spread([START, end], [0, 6_000], activity, end)
    assert [(each.occupied_s, each.charging_s) for each in slots] == [(900, 900), (900, 900), (0, 0)]
    assert seconds(2 * QUARTER - 600_000 + 300_000) == 2 * QUARTER // SECOND
