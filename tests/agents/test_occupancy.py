"""From what stations say to the availability of their site and to a bill, through both logics, without a broker."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from pipeline.agents.assembly import CONNECTOR_STATUS, Assembly
from pipeline.agents.occupancy import ANOMALIES, PRICE_SIGNALS, Occupancy
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.facts import Facts, Reading
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pseudonyms import KEY_BYTES, PURPOSES, Keyring
from pipeline.domain.rating import Rating
from pipeline.edge.faults import parse_faults
from pipeline.edge.fleet import fleet_documents
from pipeline.edge.simulator import FleetConfig, simulate
from pipeline.errors import InvalidMessage
from pipeline.runtime.logic import Output
from pipeline.runtime.offline import Offline
from pipeline.wire.meter_events import Decoder
from pipeline.wire.price_signals import decode_signals
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

KEYS = Keyring({purpose: {"*": secrets.token_bytes(KEY_BYTES)} for purpose in PURPOSES})
MINUTE = 60_000_000
SEVEN = 1_772_434_800_000_000  # 2026-03-02T07:00:00Z
SITE = {
    "site_id": "S", "name": "Depot", "time_zone": "Europe/Berlin", "country": "DE", "tariff_ids": ["T"],
    "stations": [
        {
            "station_id": station,
            "connectors": [
                {"connector_id": number, "power_type": "DC", "max_power_w": 50_000} for number in (1, 2)
            ],
        }
        for station in ("CP-1", "CP-2")
    ],
}  # fmt: skip
FACTORS = [{"from_share": 0.5, "factor": 1}, {"from_share": 0.25, "factor": 1.1}, {"from_share": 0, "factor": 1.25}]


class Line:
    """Both stages one after the other: what the first tells is what the second reads."""

    def __init__(self) -> None:
        rating = Rating(KEYS, decode_sites(json.dumps(SITE).encode(), "sites"))
        self.assembly = Offline(Assembly(rating, Decoder(KEYS)))
        self.occupancy = Offline(Occupancy(KEYS))
        self.told: list[dict[str, Any]] = []
        self.published: list[Output] = []
        self.alerts: list[Output] = []

    def status(self, minute: float, station: str, connector: int, status: str) -> None:
        self._say(
            station, type="status_reported", station_id=station, connector_id=connector, status=status,
            event_time_us=SEVEN + int(minute * MINUTE),
        )  # fmt: skip

    def seen(self, minute: float, *stations: str) -> None:
        for station in stations:
            self._say(station, type="station_seen", station_id=station, event_time_us=SEVEN + int(minute * MINUTE))

    def tick(self, minute: float) -> None:
        value = json.dumps({"type": "clock_ticked", "time_us": SEVEN + int(minute * MINUTE)}).encode()
        self._pass_on(self.assembly.feed(None, value))
        self._take(self.occupancy.feed(None, value))

    def _say(self, station: str, **event: object) -> None:
        self._pass_on(self.assembly.feed(station.encode(), json.dumps(event).encode()))

    def _pass_on(self, outputs: Iterator[Output]) -> None:
        for output in outputs:
            if output.topic == CONNECTOR_STATUS:
                assert output.value is not None
                self.told.append(json.loads(output.value))
                self._take(self.occupancy.feed(output.key, output.value))
            elif output.topic == ANOMALIES:
                self.alerts.append(output)

    def _take(self, outputs: Iterator[Output]) -> None:
        for output in outputs:
            (self.alerts if output.topic == ANOMALIES else self.published).append(output)

    def values(self) -> list[tuple[str, int, int]]:
        found = [json.loads(output.value or b"") for output in self.published]
        return [(each["start"][11:16], each["free"], each["total"]) for each in found]


@pytest.fixture
def line() -> Line:
    """Four connectors, all free at first, then ever fewer, at last none in service."""
    line = Line()
    for minute in range(20, 80):
        for station in ("CP-1", "CP-2"):
            for connector in (1, 2):
                if minute == 20:
                    line.status(minute, station, connector, "Available")
                if minute == 30 and (station, connector) != ("CP-2", 2):
                    line.status(minute, station, connector, "Charging")
                if minute == 50 and (station, connector) == ("CP-2", 2):
                    line.status(minute, station, connector, "Preparing")
                if minute == 65:
                    line.status(minute, station, connector, "Faulted")
        line.seen(minute, "CP-1", "CP-2")
        line.tick(minute + 0.5)
    return line


def test_each_slot_has_the_value_of_the_minute_before_it(line: Line) -> None:
    assert line.values() == [("07:30", 4, 4), ("07:45", 1, 4), ("08:00", 0, 4), ("08:15", 0, 0)]
    assert line.published[0].key == b"availability:S|2026-03-02T07:30:00Z|1"
    assert {output.topic for output in line.published} == {PRICE_SIGNALS}
    assert json.loads(line.published[0].value or b"")["published_at"] == "2026-03-02T07:29:30Z"


def test_a_site_that_nobody_hears_has_no_value(line: Line) -> None:
    for minute in range(80, 140):
        line.tick(minute)
    assert [start for start, *_ in line.values()] == ["07:30", "07:45", "08:00", "08:15", "08:30"]
    assert [(each["station_id"], each["state"]) for each in line.told[-2:]] == [("CP-1", "silent"), ("CP-2", "silent")]
    line.seen(140, "CP-1", "CP-2")
    for connector in (1, 2):
        line.status(141, "CP-1", connector, "Available")
    line.tick(149)
    assert line.values()[-1] == ("09:30", 2, 2)


def tariff(**more: object) -> bytes:
    dynamic = {"availability": {"signal": "availability", "factors": FACTORS}} | more
    component = {"type": "ENERGY", "price": 0.40, "vat": 19, "step_size": 1, "x_dynamic": dynamic}
    return json.dumps(
        {"id": "T", "currency": "EUR", "x_price_mode": "FOLLOWS", "elements": [{"price_components": [component]}]}
    ).encode()


def bill(line: Line, until_minute: int, document: bytes, site_id: str = "S") -> Bill:
    """10 kWh an hour from 07:30 on, priced by the records of the topic."""
    (found,) = decode_tariffs(document, "tariff")
    slots = decode_signals(b"\n".join(output.value or b"" for output in line.published), "price-signals")
    start, end = SEVEN + 30 * MINUTE, SEVEN + until_minute * MINUTE
    wh = (until_minute - 30) * 10_000 // 60
    facts = Facts(start, end, [Reading(start, 0), Reading(end, wh * 1000)], [])
    return price(facts, found, "Europe/Berlin", Signals(slots).of_site(site_id))


def test_a_bill_follows_the_availability_that_the_stage_published(line: Line) -> None:
    found = bill(line, 90, tariff())
    usage = [each for each in found.lines if each.kind == "USAGE"]
    assert [each.unit_price for each in usage] == ["0.4000", "0.4400", "0.5000", "0.4000"]
    assert found.total_excl == "4.3500"  # 2.5 kWh x (0.40 + 0.44 + 0.50 + 0.40)
    assert usage[1].evidence[-1] == (
        "signal availability:S 2026-03-02T07:45:00Z 15 min r1 1/4 free at 2026-03-02T07:44:30Z"
    )
    assert [any("NONE_IN_SERVICE" in text for text in each.assumptions) for each in usage] == [False] * 3 + [True]


def test_records_in_any_order_give_the_same_bill_and_so_does_the_series_named_in_full(line: Line) -> None:
    first = bill(line, 90, tariff())
    line.published.reverse()
    again = bill(line, 90, tariff())
    assert msgspec.json.encode(again.lines) == msgspec.json.encode(first.lines)
    assert (again.total_excl, again.payable_incl) == (first.total_excl, first.payable_incl)
    in_full = {"availability": {"signal": "availability:S", "factors": FACTORS}}
    assert bill(line, 90, tariff(**in_full), site_id="elsewhere").total_excl == first.total_excl


def test_a_slot_that_was_never_published_holds_the_bill_or_falls_back_as_the_tariff_says(line: Line) -> None:
    held = bill(line, 120, tariff())
    assert (held.state, held.held_reason) == ("HELD", "SIGNAL_MISSING")
    fallen_back = bill(line, 120, tariff(on_missing="FALLBACK"))
    assert fallen_back.state == "FINAL"
    reasons = [each.reason for each in fallen_back.lines if each.kind == "USAGE"]
    assert reasons == ["FIRST_MATCH"] * 4 + ["FALLBACK_PRICE"]


def test_another_site_has_its_own_availability(line: Line) -> None:
    (found,) = decode_tariffs(tariff(), "tariff")
    slots = decode_signals(b"\n".join(output.value or b"" for output in line.published), "price-signals")
    start, end = SEVEN + 30 * MINUTE, SEVEN + 45 * MINUTE
    facts = Facts(start, end, [Reading(start, 0), Reading(end, 2_500_000)], [])
    assert price(facts, found, "Europe/Berlin", Signals(slots).of_site("T")).held_reason == "SIGNAL_MISSING"


def test_a_fleet_with_every_fault_tells_changes_only_and_nothing_of_its_drivers() -> None:
    config = FleetConfig(seed=3, stations=20, sites=3, sessions=4, faults=parse_faults("all"))
    sites, _ = fleet_documents(config.seed, config.stations, config.sites)
    rating = Rating(KEYS, decode_sites(json.dumps(sites).encode(), "sites"))
    stage = Offline(Assembly(rating, Decoder(KEYS)))
    last: dict[tuple[str, int], dict[str, Any]] = {}
    for _, key, value in simulate(config):
        for output in stage.feed(key, value):
            if output.topic != CONNECTOR_STATUS:
                continue
            record = json.loads(output.value or b"")
            assert output.key.decode() == record["site_id"] == rating.terms.site_id(record["station_id"])
            place = record["station_id"], record["connector_id"]
            before = last.get(place)
            assert before is None or before["state"] != record["state"]
            assert before is None or before["since_us"] <= record["since_us"]
            assert record["clock"] == config.clock
            last[place] = record
    assert len(last) >= 20
    told = {place: record["state"] for place, record in last.items() if place[1]}
    assert told == {
        (station.station_id, each.connector_id): each.told
        for station in stage.states.values()
        for each in station.connectors.values()
        if each.told and each.connector_id
    }


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        (b"S", {"site_id": "T"}, "WRONG_KEY"),
        (b"S", {"type": "clock_ticked", "time_us": 1}, "TICK_WITH_KEY"),
        (None, {}, "KEY_MISSING"),
        (None, {"type": "clock_ticked", "time_us": SEVEN}, "TICK_AHEAD"),
        (b"S", {"state": "resting"}, "SCHEMA_VIOLATION"),
    ],
)
def test_a_record_that_is_none_becomes_a_dead_letter(key: bytes | None, change: dict[str, object], reason: str) -> None:
    record = {
        "type": "connector_changed", "site_id": "S", "station_id": "CP-1", "connector_id": 1, "state": "free",
        "since_us": 1, "clock": "live",
    } | change  # fmt: skip
    with pytest.raises(InvalidMessage) as refused:
        list(Offline(Occupancy(KEYS)).feed(key, json.dumps(record).encode(), SEVEN // 1000 - 6000))
    assert refused.value.reason == reason


def test_an_outage_of_the_site_is_one_alert_through_both_stages() -> None:
    """Both stations charge, both fall silent: no alert of a station from either stage, and one of the site."""
    line = Line()
    for station in ("CP-1", "CP-2"):
        line.status(20, station, 1, "Charging")
        line._say(
            station, type="session_started", station_id=station, connector_id=1, transaction_id=f"{station}-t",
            event_time_us=SEVEN + 20 * MINUTE, register_wh=1000, token="04A1B2C3",  # noqa: S106 - made up
        )  # fmt: skip
    for minute in range(21, 80):
        line.tick(minute)
    line.seen(80, "CP-1", "CP-2")
    for minute in range(81, 95):
        line.tick(minute)
    alerts = [json.loads(output.value or b"") for output in line.alerts]
    alerts = [each for each in alerts if each["rule"].endswith("_SILENT")]  # the cars overstay, too
    assert [(each["rule"], each["state"], each["severity"]) for each in alerts] == [
        ("SITE_SILENT", "raised", "critical"),
        ("SITE_SILENT", "cleared", "critical"),
    ]
    assert alerts[0]["alert_id"] == alerts[1]["alert_id"]
    assert (alerts[0]["site_id"], alerts[0]["value"], alerts[0]["evidence"]) == (
        "S", "2 of 2 stations", ["CP-1", "CP-2"],
    )  # fmt: skip
    assert {output.key for output in line.alerts if b"SITE_SILENT" in (output.value or b"")} == {b"CP-1"}


def test_a_station_of_no_known_site_tells_its_silence_itself() -> None:
    line = Line()
    line.status(20, "CP-9", 1, "Charging")
    line._say(
        "CP-9", type="session_started", station_id="CP-9", connector_id=1, transaction_id="t",
        event_time_us=SEVEN + 20 * MINUTE, register_wh=1000, token="04A1B2C3",  # noqa: S106 - made up
    )  # fmt: skip
    for minute in range(21, 40):
        line.tick(minute)
    assert [json.loads(output.value or b"")["rule"] for output in line.alerts] == ["STATION_SILENT"]
