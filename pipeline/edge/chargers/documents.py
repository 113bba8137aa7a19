"""The site and the tariff of virtual chargers, by which their sessions are priced.

The tariff is simple, and mistakes show in its amounts: a price per kWh by the hour in Berlin (energy at a wrong time),
and a fee for each second in which the car asks for no power (wrong idle time). No tax, no step size, no grace period.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.edge.chargers.tape import Tape

SITE_ID, TARIFF_ID = "quirk-site", "quirk-day"
TIME_ZONE = "Europe/Berlin"
WINDOWS = ((0, 6, 2000), (6, 10, 4500), (10, 16, 3000), (16, 21, 6000), (21, 24, 3500))
"""(from hour, to hour, ten-thousandths of a EUR per kWh), local time."""
IDLE_FEE = 60_000
"""Ten-thousandths of a EUR for an hour of idle time."""


def site(tapes: Iterable[Tape]) -> dict[str, Any]:
    """One site with all these stations, and the ratings that their papers name."""
    return {
        "site_id": SITE_ID,
        "name": "Virtual chargers",
        "time_zone": TIME_ZONE,
        "country": "DE",
        "tariff_ids": [TARIFF_ID],
        "stations": [_station(tape) for tape in tapes],
    }


def _station(tape: Tape) -> dict[str, Any]:
    return {
        "station_id": tape.station.station_id,
        "connectors": [
            {"connector_id": number, "power_type": tape.station.power_type, "max_power_w": tape.stated_w}
            for number in tape.meters
        ],
    }


def tariff() -> dict[str, Any]:
    """OCPI 2.2.1 Tariff object."""
    elements = [
        _element("ENERGY", price, start_time=f"{begin:02}:00", end_time=f"{end % 24:02}:00")
        for begin, end, price in WINDOWS
    ]
    return {
        "country_code": "DE",
        "party_id": "CHL",
        "id": TARIFF_ID,
        "currency": "EUR",
        "elements": [*elements, _element("PARKING_TIME", IDLE_FEE)],
        "last_updated": "2020-01-01T00:00:00Z",
    }


def _element(dimension: str, price: int, **restrictions: str) -> dict[str, Any]:
    component = {"type": dimension, "price": price / 10_000, "step_size": 1}
    return {"price_components": [component]} | ({"restrictions": restrictions} if restrictions else {})
