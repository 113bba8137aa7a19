"""Likely causes of a wrong CDR. A hint never changes the verdict (ops/spec/pricing.md section 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from pipeline.domain.checking.cdr import Cdr
from pipeline.domain.checking.figures import Finding, Tolerance, sum_of
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.interpretation import STANDARD, Interpretation
from pipeline.domain.pricing.tariff import Tariff

Reprice = Callable[[Tariff, str | None, Interpretation], Bill]


def hints(
    cdr: Cdr, bill: Bill, tariff: Tariff, tolerance: Tolerance, reprice: Reprice, zone: str | None
) -> list[Finding]:
    """What would explain the stated total. `reprice` prices the same CDR by another tariff, zone or reading."""
    stated = cdr.costs.get("total_cost")
    if stated is None or bill.total_excl is None:
        return []
    claimed, ours = Fraction(stated.excl), Fraction(bill.total_excl)
    slack = tolerance.of_amount(stated.excl)

    def fits(other: Bill) -> bool:
        return other.total_excl is not None and abs(Fraction(other.total_excl) - claimed) <= slack

    is_off = abs(claimed - ours) > slack
    found = []
    if is_off and abs(claimed + ours) <= slack:
        found.append(_sign(cdr))
    if is_off and _cut(ours, tolerance.places(stated.excl)) == claimed:
        found.append(("TRUNCATED", f"{bill.total_excl} was cut to {stated.excl}, not rounded"))
    if _is_taxed_after_rounding(bill, stated.excl, stated.incl, tolerance):
        found.append(("TAX_ON_ROUNDED", f"tax was added to the rounded {stated.excl}"))
    limited = sum_of([line for line in bill.lines if line.reason == "LIMIT"], "excl")
    if is_off and limited and abs(ours - limited - claimed) <= slack:
        found.append(("LIMIT_IGNORED", "the total before the price limit was stated"))
    if is_off and any(line.quantity != line.billed_quantity for line in bill.lines if line.kind != "UNPRICED"):
        stepless = replace(
            tariff,
            elements=tuple(
                replace(element, components=tuple(replace(part, step_size=0) for part in element.components))
                for element in tariff.elements
            ),
        )
        if fits(reprice(stepless, zone, STANDARD)):
            found.append(("STEP_IGNORED", "step_size was not applied"))
    flat = sum_of([line for line in bill.lines if line.kind == "FLAT"], "excl")
    if is_off and flat and claimed > ours and (claimed - ours) % flat == 0:
        found.append(("FLAT_REPEATED", "the flat fee was charged more than once"))
    if is_off and tariff.is_local and zone != "UTC" and fits(reprice(tariff, "UTC", STANDARD)):
        found.append(("PRICED_IN_UTC", "the tariff's clock times were read as UTC"))
    if is_off and tariff.is_local and fits(reprice(tariff, zone, Interpretation(day_of_the_instant=True))):
        found.append(("WRAPPED_DAY_READING", "after midnight a wrapped window was counted to the new day"))
    return [Finding(kind="HINT", code=code, where="total_cost", text=text) for code, text in found]


def _sign(cdr: Cdr) -> tuple[str, str]:
    if cdr.credit:
        return "CREDIT_NOT_NEGATED", "total_cost of a credit is that of the CDR that it takes back, negated"
    return "CREDIT_NOT_MARKED", "the total is negated, but `credit` is not true"


def _cut(value: Fraction, places: int) -> Fraction:
    """Towards zero, to so many decimals."""
    return Fraction(int(value * 10**places), 10**places)


def _is_taxed_after_rounding(bill: Bill, excl: Decimal, incl: Decimal | None, tolerance: Tolerance) -> bool:
    """With one rate: incl. is the stated excl. with tax, rounded, but not our total with tax."""
    if incl is None or len(bill.tax) != 1 or bill.tax[0].rate is None or bill.total_incl is None:
        return False
    if abs(Fraction(bill.total_excl or 0) - Fraction(excl)) >= Fraction(1, 10 ** tolerance.places(excl)):
        return False
    taxed = Fraction(excl) * (1 + Fraction(bill.tax[0].rate) / 100)
    half = Fraction(1, 2 * 10 ** tolerance.places(incl))
    return abs(Fraction(bill.total_incl) - Fraction(incl)) > half >= abs(taxed - Fraction(incl))
