"""Volumes that a CDR does not state: they are unknown, never 0 (ops/spec/pricing.md section 7).

Some follow from the rest: energy where the stated total leaves none for the other periods, or where a period is parking
only; the split into charging and parking where the stated parking time leaves none.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from pipeline.domain.checking.cdr import Cdr
from pipeline.domain.checking.figures import COST_LINES, Finding, half_place
from pipeline.domain.checking.periods import Claim, Period
from pipeline.domain.pricing.restrictions import EnergyUsed, SinceCharging
from pipeline.domain.pricing.tariff import CannotPrice, Dimension, Tariff
from pipeline.domain.pricing.units import MWH_PER_KWH, US_PER_HOUR, US_PER_MINUTE

LAG_US = 3 * US_PER_MINUTE
"""Bounds of periods come from readings and messages; published CDRs state up to so much more than lies between."""
_ALL_COSTS = frozenset({"total_cost", *COST_LINES})


class Unknown(NamedTuple):
    """What cannot be checked: stated figures by OCPI name, and why."""

    figures: frozenset[str]
    missing: tuple[Finding, ...]
    total: Finding | None
    """Why the total cannot be checked, so that no bill can be made."""


def unknown(cdr: Cdr, tariffs: Sequence[Tariff]) -> Unknown:
    """`tariffs`: those that price a period. Figures that the CDR does not state are not missed."""
    figures: set[str] = set()
    missing: list[Finding] = []
    total: Finding | None = None
    times = open_times(cdr)
    by_time = _by_time(tariffs, Dimension.TIME, "total_time_cost") | (times & {"total_time"})
    by_parking = _by_time(tariffs, Dimension.PARKING_TIME, "total_parking_cost") | {"total_parking_time"}
    for name, is_open, touched in (
        ("ENERGY", energy_is_open(cdr), _by_energy(tariffs)),
        ("TIME", "TIME" in times, by_time),
        ("PARKING_TIME", "PARKING_TIME" in times, by_parking | (times & {"total_time"})),
    ):
        stated = touched & (cdr.costs.keys() | cdr.volumes.keys())
        if is_open:
            figures |= touched
        if is_open and (stated or "total_cost" in touched):
            text = f"not known, because a charging period does not state {name}"
            where = ", ".join(sorted(stated))
            missing.append(Finding(kind="MISSING", code=f"{name}_UNKNOWN", where=where, text=text))
            if "total_cost" in touched:
                total = total or missing[-1]
    return Unknown(frozenset(figures), tuple(missing), total)


def require_volumes(cdr: Cdr, tariffs: Sequence[Tariff]) -> None:
    """Raises CannotPrice if a volume that decides the price is negative or not stated."""
    for place, period in enumerate(cdr.claim.periods):
        for name in period.negative:
            raise CannotPrice("NEGATIVE_VOLUME", f"charging_periods[{place}]: {name} is negative; correct the record")
    found = unknown(cdr, tariffs).total
    if found is not None:
        raise CannotPrice(found.code, f"the price is {found.text}")


def energy_is_open(cdr: Cdr) -> bool:
    """Some energy may be in a period that does not state any."""
    charging = _charging(cdr.claim)
    named = [period.energy_mwh for period, _ in charging if period.energy_mwh is not None]
    silent = [period for period, lasted_us in charging if period.energy_mwh is None and lasted_us]
    total = cdr.volumes.get("total_energy")
    if not silent or (named and all(period.parking_us and not period.time_us for period in silent)):
        return False
    slack = Fraction(5, 100_000) * max(1, len(named))
    return total is None or Fraction(total) - Fraction(sum(named), MWH_PER_KWH) > max(slack, half_place(total))


def open_times(cdr: Cdr) -> frozenset[str]:
    """Of TIME and PARKING_TIME: what some period may hold more of than it states; `total_time` if their sum is open.

    A period that states neither lasts as long as its timestamps say, so only its split is open.
    """
    charging = _charging(cdr.claim)
    parking = [period.parking_us for period, _ in charging if period.parking_us is not None]
    times = [period.time_us for period, _ in charging if period.time_us is not None]
    is_parking_complete = _is_sum(cdr.volumes.get("total_parking_time"), parking)
    is_complete = _is_sum(cdr.volumes.get("total_time"), [*parking, *times])
    found: set[str] = set()
    for period, lasted_us in charging:
        stated_us = (period.time_us or 0) + (period.parking_us or 0)
        if period.negative or stated_us + period.written_to_us + (LAG_US if stated_us else 0) >= lasted_us:
            continue
        if stated_us and (is_complete or None not in (period.time_us, period.parking_us)):
            continue
        is_time_open = period.time_us is None and (period.parking_us is not None or not is_parking_complete)
        is_parking_open = period.parking_us is None and not is_parking_complete
        found |= {name for name, is_open in (("TIME", is_time_open), ("PARKING_TIME", is_parking_open)) if is_open}
        if stated_us and (is_time_open or is_parking_open):
            found.add("total_time")
    return frozenset(found)


def _is_sum(total: Decimal | None, named: Sequence[int]) -> bool:
    """The stated hours are those that the periods name, so no period hides any."""
    if total is None:
        return False
    slack = max(Fraction(1, 10_000) * max(1, len(named)), half_place(total))
    return abs(Fraction(total) - Fraction(sum(named), US_PER_HOUR)) <= slack


def _charging(claim: Claim) -> list[tuple[Period, int]]:
    """Periods that are no reservation, and how long they last inside the session."""
    return [
        (period, max(0, min(end_us, claim.end_us) - max(period.start_us, claim.start_us)))
        for period, end_us in zip(claim.periods, claim.ends(), strict=True)
        if period.reservation_us is None
    ]


def _by_energy(tariffs: Sequence[Tariff]) -> frozenset[str]:
    """Figures that depend on energy under these tariffs."""
    touched = frozenset({"total_energy"})
    if _has_condition(tariffs, EnergyUsed):
        return touched | _ALL_COSTS
    return touched | {"total_cost", "total_energy_cost"} if _prices(tariffs, Dimension.ENERGY) else touched


def _by_time(tariffs: Sequence[Tariff], dimension: Dimension, *figures: str) -> frozenset[str]:
    """Figures that depend on how much of the time was charging, or parking, under these tariffs."""
    if _has_condition(tariffs, SinceCharging):
        return _ALL_COSTS
    return frozenset({"total_cost", *figures}) if _prices(tariffs, dimension) else frozenset()


def _prices(tariffs: Sequence[Tariff], dimension: Dimension) -> bool:
    return any(
        part.dimension == dimension and (part.price or part.dynamic is not None)
        for tariff in tariffs
        for element in tariff.elements
        if element.reservation is None
        for part in element.components
    )


def _has_condition(tariffs: Sequence[Tariff], kind: type) -> bool:
    return any(
        isinstance(condition, kind)
        for tariff in tariffs
        for element in tariff.elements
        if element.reservation is None
        for condition in element.conditions
    )
