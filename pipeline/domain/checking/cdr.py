"""A charge detail record as somebody states it: periods, totals with the decimals they were written with, tariffs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
