"""Is somebody else's CDR right? Contradictions in the record, disagreements with our figures, hints at the cause.

MISMATCH needs a contradiction, or a disagreement under every admitted reading and every value of a missing fact;
what rests on an assumption is NOT_VERIFIABLE (ops/spec/pricing.md section 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

import msgspec

from pipeline.domain.checking.cdr import Cdr, as_billed
from pipeline.domain.checking.contradictions import contradictions, costs_do_not_add_up
from pipeline.domain.checking.figures import Finding, Tolerance, disagreements
from pipeline.domain.checking.hints import hints
from pipeline.domain.checking.periods import Priced, price_periods
from pipeline.domain.checking.unstated import unknown
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.interpretation import ADMITTED, STANDARD, Interpretation
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, Tariff, choose

SAMPLE_ZONES = (
    *(f"Etc/GMT{offset:+d}" for offset in range(-14, 13)),
    *("Asia/Kolkata", "Asia/Kathmandu", "Asia/Tehran", "Asia/Kabul", "Asia/Yangon", "Australia/Adelaide"),
    *("Australia/Eucla", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Chatham", "Pacific/Marquesas"),
)
"""One zone per UTC offset in use: every value that a missing zone can have within one session."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer, why, and our own bill (null if none can be made)."""

    verdict: Literal["OK", "MISMATCH", "NOT_VERIFIABLE"]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    tolerance: str
    bill: Bill | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What the check is made with, besides the CDR. Tariffs of the CDR itself count where none is given."""

    tariffs: Sequence[Tariff] = ()
    zone: str | None = None
    signals: Signals | None = None
    tax_rate: Decimal | None = None
    tolerance: Decimal | None = None
    """Replaces half a unit of the last stated place."""


def verify(cdr: Cdr, basis: Basis) -> Verdict:
    """Checks a CDR; never raises for what the CDR says. A credit is checked as the bill that it takes back."""
    cdr, notes = as_billed(cdr)
    verdict = _verify(cdr, basis)
    return msgspec.structs.replace(verdict, notes=(*notes, *verdict.notes))


def _verify(cdr: Cdr, basis: Basis) -> Verdict:
    tolerance = Tolerance(cdr.currency, basis.tolerance)
    tariffs = tuple(basis.tariffs) or cdr.tariffs
    findings = contradictions(cdr, tariffs)
    try:
        tariff = tariff_of(cdr, tariffs)
        priced = price_cdr(cdr, tariff, tariffs, basis)
    except CannotPrice as missing:
        return _without_price(cdr, tariffs, basis, tolerance, findings, missing)
    open_ = unknown(cdr, used(cdr, tariff, tariffs))
    bill = priced.bill if open_.total is None else None
    findings += costs_do_not_add_up(cdr, priced.bill, tariff, tolerance, open_)
    if priced.bill.state == "HELD":
        findings.append(_missing(priced.bill.held_reason or "", "decides the price and is not stated"))
        return _verdict("NOT_VERIFIABLE", findings, (), tolerance, priced.bill)
    findings += open_.missing
    right: Literal["OK", "NOT_VERIFIABLE"] = "NOT_VERIFIABLE" if open_.missing else "OK"
    differing, notes = disagreements(cdr, priced.bill, tolerance, open_.figures)
    if not differing:
        return _verdict(right, findings, notes, tolerance, bill)
    for name, how in ADMITTED.items():
        other = price_cdr(cdr, tariff, tariffs, basis, how)
        others, more = disagreements(cdr, other.bill, tolerance, open_.figures)
        if not others:
            notes = (*more, f"OTHER_READING {name}: the figures follow another admitted reading of the spec")
            return _verdict(right, findings, notes, tolerance, bill)
    if bill is None:
        answer_ = right if priced.assumed else "MISMATCH"
        return _verdict(answer_, [*findings, *differing], notes, tolerance, None)
    answer: Literal["MISMATCH", "NOT_VERIFIABLE"] = "MISMATCH"
    if priced.assumed and _can_be_right(cdr, tariff, tariffs, basis, tolerance, priced):
        answer = "NOT_VERIFIABLE"
        findings += [_missing(code, "the figures rest on this assumption") for code in sorted(priced.assumed)]
    found_hints = hints(
        cdr,
        priced.bill,
        tariff,
        tolerance,
        lambda other, zone, how: price_cdr(cdr, other, tariffs, basis, how, zone=zone).bill,
        basis.zone,
    )
    return _verdict(answer, [*findings, *differing, *found_hints], notes, tolerance, priced.bill)


def used(cdr: Cdr, tariff: Tariff, tariffs: Sequence[Tariff]) -> list[Tariff]:
    """The tariffs that price a period; `tariff` is the one in force at the start."""
    named = {period.tariff_id for period in cdr.claim.periods}
    return [tariff, *(each for each in tariffs if each.id in named and each is not tariff)]


def tariff_of(cdr: Cdr, tariffs: Sequence[Tariff]) -> Tariff:
    """The tariff in force at the start: that of the first period that names one, else the only or fitting one (D26)."""
    if not tariffs:
        raise CannotPrice("TARIFF_MISSING", "the CDR holds no tariff; give it with --tariff")
    named = next((period.tariff_id for period in cdr.claim.periods if period.tariff_id is not None), None)
    if named is not None:
        of_name = [tariff for tariff in tariffs if tariff.id == named]
        if not of_name:
            raise CannotPrice("TARIFF_MISSING", "a charging period names a tariff that was not given")
        return of_name[0] if len(of_name) == 1 else choose(of_name, [named], cdr.claim.start_us)
    if len(tariffs) == 1:
        return tariffs[0]
    return choose(tariffs, [tariff.id for tariff in tariffs], cdr.claim.start_us)


def price_cdr(
    cdr: Cdr,
    tariff: Tariff,
    tariffs: Sequence[Tariff],
    basis: Basis,
    how: Interpretation = STANDARD,
    *,
    zone: str | None = None,
) -> Priced:
    """Our bill of the CDR's periods; raises CannotPrice."""
    by_id: Mapping[str, Tariff] = {each.id: each for each in tariffs} | {tariff.id: tariff}
    return price_periods(cdr.claim, tariff, by_id, zone or basis.zone, basis.signals, tax_rate=basis.tax_rate, how=how)


def _without_price(
    cdr: Cdr,
    tariffs: Sequence[Tariff],
    basis: Basis,
    tolerance: Tolerance,
    findings: list[Finding],
    missing: CannotPrice,
) -> Verdict:
    findings.append(_missing(missing.code, missing.detail))
    if missing.code == "TIME_ZONE_MISSING" and basis.zone is None:
        tariff = tariff_of(cdr, tariffs)
        bills = [price_cdr(cdr, tariff, tariffs, basis, zone=zone).bill for zone in SAMPLE_ZONES]
        open_ = unknown(cdr, used(cdr, tariff, tariffs))
        findings += open_.missing
        found = [
            disagreements(cdr, bill, tolerance, open_.figures)[0] if bill.state != "HELD" else [] for bill in bills
        ]
        if all(found):
            text = "the total disagrees in every time zone"
            findings.append(Finding(kind="DISAGREEMENT", code="TOTAL_EXCL", where="total_cost", text=text))
            return _verdict("MISMATCH", findings, (), tolerance, None)
    return _verdict("NOT_VERIFIABLE", findings, (), tolerance, None)


def _can_be_right(
    cdr: Cdr, tariff: Tariff, tariffs: Sequence[Tariff], basis: Basis, tolerance: Tolerance, priced: Priced
) -> bool:
    """False if the claimed total lies outside of all that the assumptions allow."""
    claimed = cdr.costs.get("total_cost")
    if claimed is None or "POWER_FROM_ENERGY" in priced.assumed:
        return True
    bounds = [
        price_cdr(cdr, tariff, tariffs, basis, how).bill.total_excl
        for how in (Interpretation(spread="cheapest"), Interpretation(spread="dearest"))
    ]
    least, most = (Fraction(bound or 0) for bound in bounds)
    slack = tolerance.of_amount(claimed.excl)
    return least - slack <= Fraction(claimed.excl) <= most + slack


def _missing(code: str, text: str) -> Finding:
    return Finding(kind="MISSING", code=code, where="", text=text)


def _verdict(
    answer: Literal["OK", "MISMATCH", "NOT_VERIFIABLE"],
    findings: Sequence[Finding],
    notes: Sequence[str],
    tolerance: Tolerance,
    bill: Bill | None,
) -> Verdict:
    if any(finding.kind == "CONTRADICTION" for finding in findings):
        answer = "MISMATCH"
    return Verdict(verdict=answer, findings=tuple(findings), notes=tuple(notes), tolerance=tolerance.words(), bill=bill)
