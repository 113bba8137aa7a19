"""A corrected session told to the assembly, for tests of receipts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from pipeline.agents.assembly import Assembly
from pipeline.agents.records import RECEIPTS
from pipeline.domain.events import ClockTicked, MeterRead, PriceQuote, SessionEnded, SessionStarted
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.domain.station import MINUTE, Station
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.price_signals import decode_signals
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

STARTED_US = 1_750_102_800_000_000
"""2025-06-16T19:40:00Z, 21:40 in Berlin: twenty minutes before the night price."""
SITES = [
    {
        "site_id": "SITE-1", "name": "One charger", "time_zone": "Europe/Berlin", "country": "DEU",
        "tariff_ids": ["NIGHT"],
        "stations": [
            {"station_id": "CP-1", "connectors": [{"connector_id": 1, "power_type": "AC", "max_power_w": 22_000}]}
        ],
    }
]  # fmt: skip
TARIFF = {
    "country_code": "DE", "party_id": "CHL", "id": "NIGHT", "currency": "EUR",
    "elements": [
        {"price_components": [{"type": "FLAT", "price": 0.5, "vat": 19, "step_size": 1}]},
        {
            "price_components": [{"type": "ENERGY", "price": 0.29, "vat": 19, "step_size": 1}],
            "restrictions": {"start_time": "22:00", "end_time": "06:00"},
        },
        {"price_components": [{"type": "ENERGY", "price": 0.49, "vat": 19, "step_size": 1}]},
    ],
    "last_updated": "2025-01-01T00:00:00Z",
}  # fmt: skip
KEYRING = Keyring({purpose: {"*": bytes(KEY_BYTES)} for purpose in PURPOSES})
TOKEN, TRANSACTION = "04A1B2C3D4", "TX-77001"
READINGS = {5: 100_900, 10: 101_800, 15: 102_700, 25: 104_500, 30: 105_400, 35: 106_300}
"""Minute and register Wh of the readings that come in time."""
MOVES_ENERGY = {19: 104_000}
"""Comes late: energy crosses the bound of a price."""


def rating(tariff: Mapping[str, Any] = TARIFF, signals: Sequence[Mapping[str, Any]] = ()) -> Rating:
    sites, tariffs = json.dumps(SITES).encode(), json.dumps(tariff).encode()
    slots = decode_signals(json.dumps(signals).encode(), "signals")
    return Rating(KEYRING, decode_sites(sites, "sites"), decode_tariffs(tariffs, "tariffs"), slots)


def story(
    *,
    stop_after_min: int = 40,
    late: Mapping[int, int] = MOVES_ENERGY,
    rated: Rating | None = None,
    quote: PriceQuote | None = None,
    powers: Mapping[int, int] = {},
) -> Iterator[Output]:
    """Outputs of a session whose `late` readings come after its stop, one every twenty minutes."""
    stage = Offline(Assembly(rated or rating(), Decoder(KEYRING)))
    yield from tell(stage, in_time(stop_after_min, quote=quote, powers=powers))
    yield from tell(stage, corrections(late))


def at(minutes: float) -> int:
    return STARTED_US + int(minutes * MINUTE)


def in_time(
    stop_after_min: int = 40,
    readings: Mapping[int, int] = READINGS,
    quote: PriceQuote | None = None,
    powers: Mapping[int, int] = {},
) -> list[SessionStarted | MeterRead | SessionEnded | ClockTicked]:
    """A session until the tick after which it is rated; `powers`: what the charger states, W by minute."""
    told: list[SessionStarted | MeterRead | SessionEnded | ClockTicked] = [
        SessionStarted(
            station_id="CP-1", event_time_us=at(0), received_time_us=at(0), connector_id=1,
            transaction_id=TRANSACTION, register_wh=100_000, token=TOKEN, quote=quote,
        )
    ]  # fmt: skip
    told += [read(at(minute), wh, powers.get(minute)) for minute, wh in readings.items() if minute < stop_after_min]
    told.append(
        SessionEnded(
            station_id="CP-1", event_time_us=at(stop_after_min), received_time_us=at(stop_after_min),
            transaction_id=TRANSACTION, register_wh=100_000 + 180 * stop_after_min,
        )
    )  # fmt: skip
    told.append(ClockTicked(time_us=at(60)))
    return told


def corrections(late: Mapping[int, int], from_min: int = 80) -> list[MeterRead | ClockTicked]:
    """Each late reading with the tick after which the session is rated again."""
    found: list[MeterRead | ClockTicked] = []
    for number, (minute, wh) in enumerate(late.items()):
        found += [read(at(minute), wh), ClockTicked(time_us=at(from_min + 20 * number))]
    return found


def tell(
    stage: Offline[Station], events: Iterable[SessionStarted | MeterRead | SessionEnded | ClockTicked]
) -> Iterator[Output]:
    for event in events:
        key = None if isinstance(event, ClockTicked) else b"CP-1"
        yield from stage.feed(key, msgspec.json.encode(event))


def read(at_us: int, register_wh: int, power_w: int | None = None) -> MeterRead:
    return MeterRead(
        station_id="CP-1", event_time_us=at_us, received_time_us=at_us, connector_id=1, transaction_id=TRANSACTION,
        register_wh=register_wh, power_w=power_w, state="charging",
    )  # fmt: skip


def receipts(outputs: Iterator[Output]) -> dict[str, bytes]:
    """Key without the session id -> record."""
    found = [(each.key, each.value) for each in outputs if each.topic == RECEIPTS]
    return {key.decode().partition(":")[2]: value for key, value in found if value is not None}
