"""A charge detail record as somebody states it: periods, totals with the decimals they were written with, tariffs.

A credit CDR (OCPI 2.2.1) is the original with `total_cost` negated; some negate the rest of the amounts as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from pipeline.domain.checking.periods import Claim
from pipeline.domain.pricing.tariff import Tariff


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A stated cost; `incl` None: not stated. The number of decimals written is kept."""

    excl: Decimal
    incl: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cdr:
    """OCPI CDR, the parts that a price depends on or that state one. Absent figures are not stated, never zero."""

    claim: Claim
    currency: str
    tariffs: tuple[Tariff, ...]
    costs: Mapping[str, Amount]
    """By OCPI name: total_cost, total_fixed_cost, total_energy_cost, total_time_cost, ..."""
    volumes: Mapping[str, Decimal]
    """total_energy in kWh, total_time, total_parking_time, total_reservation_time in hours."""
    credit: bool = False
    credit_reference: bool = False
    """It names the CDR that it takes back."""


def as_billed(cdr: Cdr) -> tuple[Cdr, tuple[str, ...]]:
    """The record with the signs of the bill that it takes back, if it is a credit; and notes on what was turned."""
    if not cdr.credit:
        return cdr, ("CREDIT_REFERENCE: names another CDR, but is no credit",) if cdr.credit_reference else ()
    notes = ["CREDIT: compared with the bill that it takes back, signs turned"]
    if not cdr.credit_reference:
        notes.append("CREDIT_WITHOUT_REFERENCE: credit_reference_id does not say which CDR it takes back")
    total = cdr.costs.get("total_cost")
    parts = sum((amount.excl for name, amount in cdr.costs.items() if name != "total_cost"), Decimal(0))
    turned = {"total_cost"}
    if total is not None and total.excl * parts > 0:
        turned |= cdr.costs.keys()
        notes.append("CREDIT_PARTS_NEGATED: not only total_cost is negative, as OCPI has it, but also its parts")
    volumes = cdr.volumes
    if any(value < 0 for value in volumes.values()) and all(value <= 0 for value in volumes.values()):
        volumes = {name: -value for name, value in volumes.items()}
        notes.append("CREDIT_VOLUMES_NEGATED: not only total_cost is negative, as OCPI has it, but also the volumes")
    costs = {name: _negated(amount) if name in turned else amount for name, amount in cdr.costs.items()}
    return replace(cdr, costs=costs, volumes=volumes), tuple(notes)


def _negated(amount: Amount) -> Amount:
    return Amount(excl=-amount.excl, incl=None if amount.incl is None else -amount.incl)
