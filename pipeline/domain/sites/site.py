"""Charging sites: where a station stands, its clock, and what its connectors are expected to do."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    connector_id: int
    power_type: Literal["AC", "DC"]
    max_power_w: int
    expected_duration_s: int | None = None
    """Sessions longer than this are flagged; None: the default of the power type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    station_id: str
    connectors: tuple[Connector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    site_id: str
    name: str
    time_zone: str
    """IANA name; there is no default."""
    country: str
    tariff_ids: tuple[str, ...]
    stations: tuple[Station, ...]
    max_idle_s: int | None = None
    lock_required: bool = False
    """The law wants the price of the start for the whole session (ops/spec/pricing.md 5.3)."""
    tax_rate: Decimal | None = None
    """Percent, for tariffs that add tax without naming a rate (D21)."""
    version: int = 1
    valid_from_us: int | None = None
    """This version holds for sessions that start from then on; None: always."""
