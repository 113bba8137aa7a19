"""Which readings of a long session go when they are old: all that what is measured can do without.

One a minute stays, which is how often most chargers report: no gap opens or closes by it (SHORTEST_GAP is two). Beside
these stay the readings that bound a quarter of an hour, a change of price or of state, a pause, a fall or a standstill
of the register, and the extremes by which it is judged.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable
from itertools import pairwise

from pipeline.domain.metering.power import STANDBY_W
from pipeline.domain.station import (
    ABSENT,
    BEGIN,
    ENERGY,
    INTERVAL,
    KIND,
    MINUTE,
    POWER,
    QUARTER,
    STRIDE,
    TIME,
    Numbers,
)

EVERY = MINUTE
"""How far apart readings are that stay for nothing else; twice as much must be no gap."""
STILL = MINUTE
"""A register that is refreshed more often than that has no beat."""


def thinned(readings: Numbers, bounds: Iterable[int] = (), priced: Collection[int] | None = None) -> Numbers:
    """The readings that stay, in order; of intervals that go, the energy is added to the next one that stays.

    `bounds`: times us next to which the readings stay; `priced`: times of readings at which a price changed. None: no
    price is known yet, and any minute of the clock may change it.
    """
    times = readings[TIME::STRIDE].tolist()
    energies, powers, kinds = (readings[column::STRIDE].tolist() for column in (ENERGY, POWER, KIND))
    kept = {0, len(times) - 1, *_extremes(energies, powers)}
    for at in bounds:
        place = bisect_left(times, at)
        kept.update((place - 1, place, place + 1))
    if priced:
        kept.update(row for row, at in enumerate(times) if at in priced)
    step = MINUTE if priced is None else QUARTER
    with_energy = [row for row, energy in enumerate(energies) if energy != ABSENT]
    for rows in (with_energy, [row for row, energy in enumerate(energies) if energy == ABSENT]):
        kept.update(_at_bounds(rows, times, powers, kinds, step))
    kept.update(_standing(with_energy, times, energies))
    for rows in (with_energy, [row for row, energy in enumerate(energies) if energy == ABSENT]):
        kept.update(_each_minute(rows, times, kept))
    return _rows(readings, kept)


def _extremes(energies: list[int], powers: list[int]) -> Iterable[int]:
    """The highest power, and the first registers that show how fine its steps are."""
    yield powers.index(max(powers))
    for step in (10, 100, 1000):
        yield from [row for row, energy in enumerate(energies) if energy != ABSENT and energy % step][:1]


def _at_bounds(rows: list[int], times: list[int], powers: list[int], kinds: list[int], step: int) -> Iterable[int]:
    """Both readings next to a bound of the clock, and where power begins or ends to flow, or the kind changes."""
    for before, after in pairwise(rows):
        if (
            times[before] // step != times[after] // step
            or (powers[before] > STANDBY_W) != (powers[after] > STANDBY_W)
            or kinds[before] != kinds[after]
            or kinds[after] == BEGIN
        ):
            yield from (before, after)


def _standing(rows: list[int], times: list[int], energies: list[int]) -> Iterable[int]:
    """The readings around each standstill of the register, around each fall and where it returns from there."""
    former = since = rows[0] if rows else 0  # the reading before the standstill, and its first one
    fell = False
    for before, after in pairwise(rows):
        if energies[after] == energies[before]:
            continue
        returns, fell = fell, energies[after] < energies[before]
        if times[after] - times[since] > STILL or fell or returns:
            yield from (former, since, before, after)
        former, since = before, after
    yield from (former, since)


def _each_minute(rows: list[int], times: list[int], kept: Collection[int]) -> list[int]:
    """So many more that no two which stay are further apart than a minute, where they were not before."""
    found: list[int] = []
    last = times[rows[0]] if rows else 0
    for row, after in pairwise(rows):
        if row in kept:
            last = times[row]
        elif times[after] - last > EVERY:
            found.append(row)
            last = times[row]
    return found


def _rows(readings: Numbers, kept: Collection[int]) -> Numbers:
    result, added = array("q"), 0
    for row in range(len(readings) // STRIDE):
        values = readings[row * STRIDE : (row + 1) * STRIDE]
        is_interval = values[KIND] == INTERVAL and values[ENERGY] != ABSENT
        if row in kept:
            if is_interval:
                values[ENERGY] += added
                added = 0
            result.extend(values)
        elif is_interval:
            added += values[ENERGY]
    return result
