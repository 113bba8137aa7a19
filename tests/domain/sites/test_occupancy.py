"""What a station tells its site: changes only, silence too, nothing without a site."""

from __future__ import annotations

import pytest

from pipeline.domain.events import StatusReported
from pipeline.domain.session.advance import advance
from pipeline.domain.sites.occupancy import changes, fall_silent, silent_at
from pipeline.domain.station import NEVER, Station
from pipeline.domain.station_codec import decode_station, encode_station
from tests.builders import Bench, us

SILENT_US = us(900) - us(0)


def told(station: Station, site_id: str | None = "S") -> list[tuple[int, str, int]]:
    """Connector, state, seconds."""
    found = list(changes(station, site_id))
    assert all(each.station_id == "CP-1" and each.clock == "live" for each in found)
    return [(each.connector_id, each.state, (each.since_us - us(0)) // 1_000_000) for each in found]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_only_a_change_of_state_is_told(bench: Bench) -> None:
    bench.status(0, "Available")
    assert told(bench.station) == [(1, "free", 0)]
    bench.status(10, "Preparing")
    assert told(bench.station) == [(1, "occupied", 10)]
    for at, status in ((20, "Charging"), (30, "SuspendedEV"), (40, "Finishing"), (45, "Reserved"), (47, "Occupied")):
        bench.status(at, status)
        assert told(bench.station) == []
    bench.status(50, "Available")
    assert told(bench.station) == [(1, "free", 50)]


def test_out_of_service_is_told_by_status_or_error_code(bench: Bench) -> None:
    bench.status(0, "Faulted")
    bench.status(0, "Unavailable", connector=2)
    assert told(bench.station) == [(1, "faulted", 0), (2, "unavailable", 0)]
    bench.status(10, "Available")
    bench.status(10, "Available", connector=2, error="GroundFailure")
    bench.status(10, "Other", connector=3)
    assert told(bench.station) == [(1, "free", 10), (2, "faulted", 10), (3, "unknown", 10)]


def test_a_status_that_comes_late_changes_nothing(bench: Bench) -> None:
    bench.status(60, "Charging")
    assert told(bench.station) == [(1, "occupied", 60)]
    bench.status(30, "Available")
    assert told(bench.station) == []


def test_what_was_told_survives_the_changelog(bench: Bench) -> None:
    bench.status(0, "Available")
    told(bench.station)
    assert told(decode_station(encode_station(bench.station))) == []


def test_a_station_without_a_site_tells_nothing_and_everything_once_it_has_one(bench: Bench) -> None:
    bench.status(0, "Available")
    bench.status(5, "Charging", connector=2)
    assert told(bench.station, None) == []
    assert silent_at(bench.station, SILENT_US) == NEVER
    assert told(bench.station) == [(1, "free", 0), (2, "occupied", 5)]


def test_a_station_that_moves_leaves_its_former_site(bench: Bench) -> None:
    bench.status(0, "Available")
    told(bench.station)
    moved = [(each.site_id, each.state) for each in changes(bench.station, "T")]
    assert moved == [("S", "gone"), ("T", "free")]


def test_silence_is_told_with_the_last_sign_of_life_and_ends_with_the_next(bench: Bench) -> None:
    bench.status(0, "Available")
    told(bench.station)
    bench.boot(60)
    assert silent_at(bench.station, SILENT_US) == us(960)
    fall_silent(bench.station, us(959), SILENT_US)
    assert told(bench.station) == []
    fall_silent(bench.station, us(960), SILENT_US)
    assert told(bench.station) == [(0, "silent", 60)]
    assert silent_at(bench.station, SILENT_US) == NEVER
    fall_silent(bench.station, us(2000), SILENT_US)
    assert told(bench.station) == []
    bench.boot(2400)
    assert told(bench.station) == [(0, "free", 2400)]
    assert silent_at(bench.station, SILENT_US) == us(3300)
    fall_silent(bench.station, us(3300), SILENT_US)
    assert told(bench.station) == [(0, "silent", 2400)]


def test_a_faulted_station_that_was_silent_is_faulted_again(bench: Bench) -> None:
    bench.status(0, "Faulted", connector=0)
    assert told(bench.station) == [(0, "faulted", 0)]
    fall_silent(bench.station, us(900), SILENT_US)
    assert told(bench.station) == [(0, "silent", 0)]
    bench.boot(1000)
    assert told(bench.station) == [(0, "faulted", 0)]


def test_the_silence_of_a_station_whose_clock_is_ahead_is_the_newest_that_its_site_hears(bench: Bench) -> None:
    ahead = StatusReported(
        station_id="CP-1", event_time_us=us(200), received_time_us=us(80), connector_id=0, status="Available"
    )
    advance(bench.station, ahead)
    assert told(bench.station) == [(0, "free", 200)]
    fall_silent(bench.station, us(1000), SILENT_US)
    assert told(bench.station) == [(0, "silent", 200)]


def test_a_station_that_never_reported_a_status_is_not_silent_for_its_site(bench: Bench) -> None:
    bench.start(0, 1000)
    assert told(bench.station) == []
    fall_silent(bench.station, us(5000), SILENT_US)
    assert told(bench.station) == []
