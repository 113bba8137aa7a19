"""The running cost of the stream's short way is the running cost of the general one, at every reading."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.domain.pricing.fold import Fold
from pipeline.domain.pricing.formula import Formula
from pipeline.domain.rating import Rating
from pipeline.domain.rating.running import follow
from pipeline.domain.sites.site import Connector, Site
from pipeline.domain.sites.site import Station as SiteStation
from pipeline.domain.station import PHASES, Session, Station
from pipeline.wire.tariffs import decode_tariffs
from tests.builders import KEYS

START_US = 1_772_460_000_000_000  # 2026-03-02T14:00:00Z
TARIFFS = {
    "two windows": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"FLAT","price":0.5,"vat":19,"step_size":1}]},
        {"price_components":[{"type":"ENERGY","price":0.61,"vat":19,"step_size":1}],
         "restrictions":{"start_time":"16:00","end_time":"18:00"}},
        {"price_components":[{"type":"ENERGY","price":0.333,"vat":7,"step_size":500}]}]}""",
    "with a limit": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z",
        "max_price":{"excl_vat":5.0,"incl_vat":6.0},"elements":[
        {"price_components":[{"type":"ENERGY","price":0.4,"vat":19,"step_size":1}]}]}""",
    "time too": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"ENERGY","price":0.4,"vat":19,"step_size":1},
                             {"type":"PARKING_TIME","price":6,"vat":19,"step_size":60}]}]}""",
    "free after ten": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"ENERGY","price":0.4,"vat":19,"step_size":1}],"restrictions":{"max_kwh":10}}]}""",
    "below zero": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"ENERGY","price":-0.0333,"vat":19,"step_size":1}]}]}""",
    "a gift first": b"""{"id":"T","currency":"EUR","last_updated":"2026-01-01T00:00:00Z","elements":[
        {"price_components":[{"type":"FLAT","price":-3,"vat":19,"step_size":1},
                             {"type":"ENERGY","price":0.333,"vat":7,"step_size":1}]}]}""",
}
GENERAL = ("with a limit", "below zero")
"""For these there is no short way."""


@pytest.mark.parametrize("name", TARIFFS)
def test_the_short_way_equals_the_bill_at_every_reading(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tariff,) = decode_tariffs(TARIFFS[name], name)
    short = Fold.open(tariff, "Europe/Berlin", None, START_US, 1_000_000)
    taken = _count_formulas(monkeypatch)
    for minute in range(1, 400):
        at_us = START_US + minute * 60_000_000
        if minute == 200:
            short.activity(at_us - 1, "idle")
        short.reading(at_us, 1_000_000 + min(minute, 200) * 183_000)
        bill = short.bill(at_us, final=False)
        assert short.running() == (bill.total_excl, bill.total_incl), minute
    assert (taken() > 50) == (name not in GENERAL), "the short way was not taken, or was where it is none"


def test_two_readings_of_one_instant_stop_no_running_cost() -> None:
    """The clock of a station that was set back is not known well at once."""
    rating, station, session = _open_session(10_000)
    for at_us, register in ((60, 11_000), (60, 14_000), (120, 13_000)):
        session.readings.extend((START_US + at_us * 1_000_000, register, -1, -1, 0, 0))
    session.suspect = True
    running = follow(rating.terms, station, session)
    assert running is not None
    assert running.highest_wh == 13_000


@pytest.mark.parametrize(
    ("batches", "highest_wh"),
    [
        ([[11_000, 12_000, 13_000]], 13_000),
        ([[11_000, 13_000, 12_000]], 13_000),
        ([[11_000, 13_000], [12_000]], 13_000),
        ([[11_000, 13_000], [12_000], [12_500, 12_800]], 13_000),
        ([[11_000, 13_000], [12_000], [12_500, 14_000]], 14_000),
    ],
)
def test_a_register_that_falls_between_two_updates_lowers_no_cost(batches: list[list[int]], highest_wh: int) -> None:
    rating, station, session = _open_session(10_000)
    (tariff,) = decode_tariffs(TARIFFS["two windows"], "two windows")
    at_us = START_US
    for batch in batches:
        for register in batch:
            at_us += 60_000_000
            session.readings.extend((at_us, register, -1, -1, 0, at_us))
        session.last_at_us = at_us
        running = follow(rating.terms, station, session)
    other = Fold.open(tariff, "Europe/Berlin", None, START_US, 10_000_000)
    other.reading(at_us, highest_wh * 1000)
    assert running is not None
    assert running.fold.running() == other.running()


def test_one_phase_without_transaction_id_is_no_register_at_the_first_update() -> None:
    """What one of three phases counted is not the register, also where it came without an id and nothing else did."""
    rating, station, session = _open_session(10_000)
    at_us = START_US + 60_000_000
    station.connector(1).loose.extend((at_us, 14_000, -1, -1, PHASES + 1, at_us))
    session.last_at_us = at_us
    running = follow(rating.terms, station, session)
    assert running is not None
    assert running.highest_wh == 10_000


def _open_session(register_wh: int) -> tuple[Rating, Station, Session]:
    place = SiteStation(station_id="CP-1", connectors=(Connector(connector_id=1, power_type="AC", max_power_w=22_000),))
    site = Site(site_id="S", name="S", time_zone="Europe/Berlin", country="DE", tariff_ids=("T",), stations=(place,))
    session = Session(1, "t1", started_at_us=START_US, start_register_wh=register_wh, last_at_us=START_US)
    return Rating(KEYS, [site], decode_tariffs(TARIFFS["two windows"], "t")), Station("CP-1"), session


def _count_formulas(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    count = 0
    real = Formula.at

    def counted(self: Formula, mwh: int) -> tuple[str, str]:
        nonlocal count
        count += 1
        return real(self, mwh)

    monkeypatch.setattr(Formula, "at", counted)
    return lambda: count
