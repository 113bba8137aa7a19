"""The simulated fleet: sites, stations, connectors, cars, and the documents that describe them to the pipeline.

A pure function of the seed: places, power, time zones and prices. edge/simulator.py decides when cars come and what is
measured. All amounts are in EUR, so that a report over the fleet has one sum.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

PowerType = Literal["AC", "DC"]

ZONES: Sequence[tuple[str, str, str, float]] = (  # time zone, OCPI country (alpha-3), country code (alpha-2), VAT %
    ("Europe/Berlin", "DEU", "DE", 19.0),
    ("Europe/Lisbon", "PRT", "PT", 23.0),
    ("Indian/Reunion", "REU", "RE", 8.5),  # no change of time
    ("Europe/Helsinki", "FIN", "FI", 25.5),
)
AC_POWER_W = (11_000, 22_000, 22_000)
DC_POWER_W = (50_000, 150_000, 150_000, 300_000)
EXPECTED_DURATION_S: Mapping[int, int] = {11_000: 36_000, 22_000: 28_800, 50_000: 5_400, 150_000: 3_600, 300_000: 2_700}


@dataclass(frozen=True, slots=True)
class SimulatedConnector:
    connector_id: int
    power_type: PowerType
    max_power_w: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStation:
    """`interval_s`: seconds between readings. `numbered`: sends a seqNo with each event, as OCPP 2.0.1 does."""

    station_id: str
    interval_s: int
    latency_us: int
    numbered: bool
    connectors: tuple[SimulatedConnector, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSite:
    site_id: str
    name: str
    time_zone: str
    country: str
    tariff_id: str
    stations: tuple[SimulatedStation, ...]


@dataclass(frozen=True, slots=True)
class Car:
    """Usable battery in Wh and the limits of its charger (AC) and battery (DC) in W."""

    battery_wh: int
    ac_w: int
    dc_w: int


CARS: Sequence[tuple[int, Car]] = (  # how many of 100 cars
    (12, Car(13_000, 3_700, 50_000)),
    (14, Car(36_000, 7_400, 50_000)),
    (38, Car(58_000, 11_000, 150_000)),
    (20, Car(77_000, 11_000, 150_000)),
    (10, Car(84_000, 22_000, 300_000)),
    (6, Car(100_000, 22_000, 300_000)),
)


def draw_car(random: Random) -> Car:
    share = random.randrange(100)
    for part, car in CARS:
        share -= part
        if share < 0:
            return car
    raise AssertionError("the shares in CARS do not add up to 100")


def driver_token(seed: int, driver: int) -> str:
    """A made-up RFID tag: 8 hex characters, the same for the same driver."""
    return f"{zlib.crc32(f'{seed}/driver/{driver}'.encode()):08X}"


def fleet(seed: int, stations: int, sites: int) -> list[SimulatedSite]:
    """`stations` spread over `sites`; even sites are fast-charging hubs, odd ones destinations with mostly AC."""
    made = []
    for number in range(sites):
        zone, country, code, _ = ZONES[number % len(ZONES)]
        hub = number % 2 == 0
        members = range(number, stations, sites)
        made.append(
            SimulatedSite(
                site_id=f"SITE-{number + 1:03d}",
                name=f"{'Hub' if hub else 'Destination'} {zone.rpartition('/')[2]} {number + 1}",
                time_zone=zone,
                country=country,
                tariff_id=f"{code}-{'HUB' if hub else 'DESTINATION'}",
                stations=tuple(_station(seed, index, place, hub) for place, index in enumerate(members)),
            )
        )
    return made


def _station(seed: int, index: int, place: int, hub: bool) -> SimulatedStation:
    random = Random(f"{seed}/station/{index}")  # noqa: S311 - a simulation, not a secret
    fast = place % 3 != 2 if hub else place % 4 == 1  # each site of two stations or more has both kinds
    power_w = random.choice(DC_POWER_W if fast else AC_POWER_W)
    return SimulatedStation(
        station_id=f"SIM-{index + 1:05d}",
        interval_s=random.choice((10, 15, 30) if fast else (30, 60, 60)),
        latency_us=random.randrange(80_000, 900_000),
        numbered=index % 2 == 1,
        connectors=tuple(SimulatedConnector(number, "DC" if fast else "AC", power_w) for number in (1, 2)),
    )


def fleet_documents(seed: int, stations: int, sites: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The contents of sites.json and tariffs.json (OCPI 2.2.1 Tariff objects) for `fleet` with the same arguments."""
    made = fleet(seed, stations, sites)
    used = {site.tariff_id for site in made}
    tariffs = [
        tariff
        for _, _, code, vat in ZONES
        for tariff in (hub_tariff(code, vat), destination_tariff(code, vat))
        if tariff["id"] in used
    ]
    return [_site_document(site) for site in made], tariffs


def _site_document(site: SimulatedSite) -> dict[str, Any]:
    return {
        "site_id": site.site_id,
        "name": site.name,
        "time_zone": site.time_zone,
        "country": site.country,
        "tariff_ids": [site.tariff_id],
        "stations": [
            {
                "station_id": station.station_id,
                "connectors": [
                    {
                        "connector_id": connector.connector_id,
                        "power_type": connector.power_type,
                        "max_power_w": connector.max_power_w,
                        "expected_duration_s": EXPECTED_DURATION_S[connector.max_power_w],
                    }
                    for connector in station.connectors
                ],
            }
            for station in site.stations
        ],
    }


WORKDAYS = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]


def hub_tariff(code: str, vat: float) -> dict[str, Any]:
    """Fast charging: a start fee, cheaper nights, dearer weekday evenings, an idle fee at every hour."""
    return _tariff(
        f"{code}-HUB",
        code,
        [
            _element(_component("FLAT", 0.5, vat)),
            _element(_component("ENERGY", 0.39, vat), start_time="22:00", end_time="06:00"),
            _element(_component("ENERGY", 0.65, vat), start_time="17:00", end_time="20:00", day_of_week=WORKDAYS),
            _element(_component("ENERGY", 0.55, vat)),
            _element(_component("PARKING_TIME", 6.0, vat, step_size=60)),
        ],
    )


def destination_tariff(code: str, vat: float) -> dict[str, Any]:
    """AC charging: night and weekend prices, an idle fee by day only."""
    return _tariff(
        f"{code}-DESTINATION",
        code,
        [
            _element(_component("ENERGY", 0.29, vat), start_time="22:00", end_time="06:00"),
            _element(_component("ENERGY", 0.37, vat), day_of_week=["SATURDAY", "SUNDAY"]),
            _element(_component("ENERGY", 0.45, vat)),
            _element(_component("PARKING_TIME", 1.2, vat, step_size=300), start_time="08:00", end_time="20:00"),
        ],
    )


def _tariff(tariff_id: str, code: str, elements: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "country_code": code,
        "party_id": "CHL",
        "id": tariff_id,
        "currency": "EUR",
        "elements": elements,
        "last_updated": "2026-01-01T00:00:00Z",
    }


def _element(component: dict[str, Any], **restrictions: object) -> dict[str, Any]:
    element: dict[str, Any] = {"price_components": [component]}
    return element | {"restrictions": restrictions} if restrictions else element


def _component(dimension: str, price: float, vat: float, step_size: int = 1) -> dict[str, Any]:
    return {"type": dimension, "price": price, "vat": vat, "step_size": step_size}
