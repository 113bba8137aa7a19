"""Other readings of OCPI's open points, accepted when another party's CDR is checked (ops/spec/pricing.md D24).

Our own bills always follow STANDARD. A gap in the specification is not an error of the other party.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.domain.pricing.restrictions import Calendar
from pipeline.domain.pricing.tariff import Element, Tariff


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpretation:
    """Each flag turns one decision of ops/spec/pricing.md section 4 into its alternative."""

    day_of_the_instant: bool = False
    """D3: after midnight a wrapped window belongs to the new day."""
    one_pass: bool = False
    """D4: a window matches in the first pass of the repeated hour only."""
    no_snap: bool = False
    """D7: durations are not snapped to seconds before step_size rounds them."""
    zero_is_unpriced: bool = False
    """D10: a component with price 0 counts as no component."""
    step_size_of_last_time: bool = False
    """D11: the step_size of the last time-based component acts on its own dimension."""
    flat_per_element: bool = False
    """D12: the FLAT of every element is due once."""
    both_flats: bool = False
    """D13: an expired reservation owes both FLATs."""
    from_cdr_start: bool = False
    """D14: durations count from the start of the CDR, reservation included."""
    tax_scaled: bool = False
    """D20: a limit scales the total with tax, its own limit after tax is not used."""
    whole_periods: bool = False
    """A charging period is priced whole by its start."""
    spread: Literal["time", "cheapest", "dearest"] = "time"
    """How the energy of a period that spans a change of price is divided: bounds of what it can have cost."""


STANDARD = Interpretation()
ADMITTED: Mapping[str, Interpretation] = {
    "D3": Interpretation(day_of_the_instant=True),
    "D4": Interpretation(one_pass=True),
    "D7": Interpretation(no_snap=True),
    "D10": Interpretation(zero_is_unpriced=True),
    "D11": Interpretation(step_size_of_last_time=True),
    "D12": Interpretation(flat_per_element=True),
    "D13": Interpretation(both_flats=True),
    "D14": Interpretation(from_cdr_start=True),
    "D20": Interpretation(tax_scaled=True),
    "WHOLE_PERIODS": Interpretation(whole_periods=True),
}


def as_read(tariff: Tariff, how: Interpretation) -> Tariff:
    """The tariff with its calendars and limits as `how` reads them."""
    if how.day_of_the_instant or how.one_pass:
        tariff = replace(tariff, elements=tuple(_element(element, how) for element in tariff.elements))
    if how.tax_scaled:
        lower, upper = tariff.min_price, tariff.max_price
        tariff = replace(
            tariff,
            min_price=None if lower is None else replace(lower, incl=None),
            max_price=None if upper is None else replace(upper, incl=None),
        )
    return tariff


def _element(element: Element, how: Interpretation) -> Element:
    if element.calendar is None:
        return element
    calendar: Calendar = replace(element.calendar, by_instant=how.day_of_the_instant, one_pass=how.one_pass)
    return replace(element, calendar=calendar)
