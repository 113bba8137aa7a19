"""What a CDR leaves open: a volume that it does not state is unknown, never 0 (pricing.md section 7).

What follows from the rest is known: energy where the stated total leaves none for the silent periods, or where a period
is parking only; the split into charging and parking where the stated parking time leaves none.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    figures: frozenset[str] = frozenset()
    missing: tuple[Finding, ...] = ()

    @property
    def is_total(self) -> bool:
        """The total is among them: no bill can be made."""
        return "total_cost" in self.figures


def unknown(cdr: Cdr, tariffs: Sequence[Tariff]) -> Unknown:
    """`tariffs`: those that price a period. Figures that the CDR does not state are not missed."""
    figures: set[str] = set()
    missing: list[Finding] = []
    for code, is_open, touched, text in (
        ("ENERGY_UNKNOWN", energy_is_open(cdr), _by_energy(tariffs), "a charging period does not state ENERGY"),
        (
            "TIME_UNKNOWN",
            split_is_open(cdr),
            _by_split(tariffs),
            "a charging period does not state TIME or PARKING_TIME",
        ),
    ):
        stated = touched & (cdr.costs.keys() | cdr.volumes.keys())
        if is_open:
            figures |= touched
        if is_open and (stated or "total_cost" in touched):
            missing.append(Finding(kind="MISSING", code=code, where=", ".join(sorted(stated)), text=text))
    return Unknown(frozenset(figures), tuple(missing))


def require_volumes(cdr: Cdr, tariffs: Sequence[Tariff]) -> None:
    """Raises CannotPrice if a volume that decides the price is negative or not stated."""
    for place, period in enumerate(cdr.claim.periods):
        for name, _ in negative(period):
            raise CannotPrice("NEGATIVE_VOLUME", f"charging_periods[{place}]: {name} is negative; correct the record")
    found = unknown(cdr, tariffs)
    if found.is_total:
        raise CannotPrice(found.missing[0].code, found.missing[0].text)


def negative(period: Period) -> list[tuple[str, int]]:
    """Names and values of its volumes below 0."""
    volumes = {
        "ENERGY": period.energy_mwh,
        "TIME": period.time_us,
        "PARKING_TIME": period.parking_us,
        "RESERVATION_TIME": period.reservation_us,
    }
    return [(name, value) for name, value in volumes.items() if value is not None and value < 0]


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


def split_is_open(cdr: Cdr) -> bool:
    """Some time of a period is neither stated to be charging nor to be parking."""
    charging = _charging(cdr.claim)
    if not any(_is_silent_on_time(period, lasted_us) for period, lasted_us in charging):
        return False
    total = cdr.volumes.get("total_parking_time")
    named = [period.parking_us for period, _ in charging if period.parking_us is not None]
    slack = Fraction(1, 10_000) * max(1, len(named))
    return total is None or abs(Fraction(total) - Fraction(sum(named), US_PER_HOUR)) > max(slack, half_place(total))


def _charging(claim: Claim) -> list[tuple[Period, int]]:
    """Periods that are no reservation, and how long they last inside the session."""
    return [
        (period, max(0, min(end_us, claim.end_us) - max(period.start_us, claim.start_us)))
        for period, end_us in zip(claim.periods, claim.ends(), strict=True)
        if period.reservation_us is None
    ]


def _is_silent_on_time(period: Period, lasted_us: int) -> bool:
    if (period.time_us is not None and period.parking_us is not None) or negative(period):
        return False
    stated_us = (period.time_us or 0) + (period.parking_us or 0)
    return stated_us + period.written_to_us + (LAG_US if stated_us else 0) < lasted_us


def _by_energy(tariffs: Sequence[Tariff]) -> frozenset[str]:
    """Figures that depend on energy under these tariffs."""
    touched = frozenset({"total_energy"})
    if _has_condition(tariffs, EnergyUsed):
        return touched | _ALL_COSTS
    return touched | {"total_cost", "total_energy_cost"} if _prices(tariffs, Dimension.ENERGY) else touched


def _by_split(tariffs: Sequence[Tariff]) -> frozenset[str]:
    """Figures that depend on what of the time was charging."""
    touched = frozenset({"total_parking_time"})
    if _has_condition(tariffs, SinceCharging):
        return touched | _ALL_COSTS
    if _prices(tariffs, Dimension.TIME) or _prices(tariffs, Dimension.PARKING_TIME):
        return touched | {"total_cost", "total_time_cost", "total_parking_cost"}
    return touched


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
