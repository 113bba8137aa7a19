"""Charging sites: where a station stands, its clock, and what its connectors are expected to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """The law wants the price of the start for the whole session (pricing.md 5.3)."""
    tax_rate: Decimal | None = None
    """Percent, for tariffs that add tax without naming a rate (D21)."""


SiteIndex = Mapping[str, tuple[Site, Mapping[int, Connector]]]


def index(sites: Iterable[Site]) -> dict[str, tuple[Site, Mapping[int, Connector]]]:
    """station_id -> its site and its connectors by number."""
    return {
        station.station_id: (site, {each.connector_id: each for each in station.connectors})
        for site in sites
        for station in site.stations
    }
