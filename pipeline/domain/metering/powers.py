"""What power the charger stated in a session, and when: with the readings that are used, and between them."""

from __future__ import annotations

from pipeline.domain.metering.columns import Columns
from pipeline.domain.station import ABSENT


def stated_powers(columns: Columns, times: list[int], until: int) -> tuple[list[int], list[tuple[int, int]]]:
    """W at each of `times` (us, rising; ABSENT: none stated), and (us, W) of what was stated between them.

    Between them are samples of power alone, and those of readings whose register is not used; before the first of
    `times` and from `until` (us) on nothing is priced.
    """
    read, _, powers = columns
    before, after = int(times[:1] != read[:1]), int(times[-1:] != read[-1:])
    if times[before : len(times) - after] == read and len(times) > 1:  # nearly always: a start, all readings, a stop
        return [ABSENT] * before + powers + [ABSENT] * after, []
    if not times or max(powers, default=ABSENT) < 0:
        return [ABSENT] * len(times), []
    stated = {at: power for at, power in zip(read, powers, strict=True) if power >= 0}  # a Begin of its time has none
    found = [stated.pop(at, ABSENT) for at in times]
    return found, [(at, power) for at, power in stated.items() if times[0] < at < until]
