"""One outage of a site is one alert; one silent station is one, too."""

from __future__ import annotations

import pytest

from pipeline.domain.outputs import ConnectorChanged, ConnectorState
from pipeline.domain.sites.availability import SiteState, note
from pipeline.domain.sites.occupancy import WHOLE_STATION
from pipeline.domain.sites.outages import due, watch
from pipeline.domain.station import MINUTE, NEVER

NOON = 1_772_452_800_000_000  # 2026-03-02T12:00:00Z
STATIONS = ("A", "B", "C", "D")
Told = tuple[str, str, bool]


class Yard:
    """A site of four stations with a car at each; times in minutes after noon."""

    def __init__(self, cars: ConnectorState = "occupied") -> None:
        self.site = SiteState("S")
        for station in STATIONS:
            self._say(station, 1, cars, -60)
            self._say(station, WHOLE_STATION, "free", -60)

    def silent(self, station: str, since: float) -> None:
        self._say(station, WHOLE_STATION, "silent", since)

    def heard(self, station: str, at: float) -> None:
        self._say(station, WHOLE_STATION, "free", at)

    def tick(self, at: float) -> list[Told]:
        now = NOON + int(at * MINUTE)
        return [(each.rule, each.station_id, each.raised) for each in watch(self.site, now)]

    def due(self, at: float) -> float | None:
        found = due(self.site, NOON + int(at * MINUTE))
        return None if found == NEVER else (found - NOON) / MINUTE

    def _say(self, station: str, connector: int, state: ConnectorState, at: float) -> None:
        since = NOON + int(at * MINUTE)
        record = ConnectorChanged(
            site_id="S", station_id=station, connector_id=connector, state=state, since_us=since, clock="live"
        )
        assert note(self.site, record)


@pytest.fixture
def yard() -> Yard:
    return Yard()


def test_an_outage_of_the_site_is_one_alert_raised_and_cleared(yard: Yard) -> None:
    told = []
    for minute, station in enumerate(STATIONS):
        yard.silent(station, minute)
        told += yard.tick(15 + minute)
    assert told == [("SITE_SILENT", "A", True)]
    assert yard.tick(500) == []
    for station in STATIONS:
        yard.heard(station, 600)
    assert yard.tick(600.5) == [("SITE_SILENT", "A", False)]
    assert yard.tick(700) == []


def test_the_alert_names_what_is_silent_and_keeps_its_identity(yard: Yard) -> None:
    for station in ("B", "C", "D"):
        yard.silent(station, 0)
    (raised,) = watch(yard.site, NOON + 16 * MINUTE)
    assert (raised.silent, raised.stations, raised.since_us, raised.at_us) == (("B", "C", "D"), 4, NOON, NOON)
    for station in ("B", "C", "D"):
        yard.heard(station, 30)
    (cleared,) = watch(yard.site, NOON + 31 * MINUTE)
    assert (cleared.rule, cleared.station_id, cleared.since_us) == (raised.rule, raised.station_id, raised.since_us)
    assert cleared.at_us == NOON + 31 * MINUTE


def test_a_single_station_waits_for_the_others_and_then_has_an_alert_of_its_own(yard: Yard) -> None:
    yard.silent("B", 0)
    assert yard.tick(16) == []
    assert yard.due(16) == 25
    assert yard.tick(25) == [("STATION_SILENT", "B", True)]
    assert yard.due(25) is None
    yard.heard("B", 40)
    assert yard.tick(41) == [("STATION_SILENT", "B", False)]


def test_a_silent_station_without_a_car_alerts_nobody_but_counts_for_its_site() -> None:
    yard = Yard(cars="free")
    yard.silent("B", 0)
    assert yard.tick(100) == []
    assert yard.due(100) is None
    for station in ("A", "C"):
        yard.silent(station, 10)
    assert yard.tick(101) == [("SITE_SILENT", "B", True)]


def test_alerts_of_stations_become_part_of_the_outage_and_what_outlasts_it_gets_a_new_one(yard: Yard) -> None:
    yard.silent("A", 0)
    (alone,) = watch(yard.site, NOON + 25 * MINUTE)
    for station in ("B", "C"):
        yard.silent(station, 20)
    assert yard.tick(36) == [("STATION_SILENT", "A", False), ("SITE_SILENT", "A", True)]
    yard.heard("B", 60)
    yard.heard("C", 60)
    assert yard.tick(61) == []
    assert yard.due(61) == 71
    site, left = watch(yard.site, NOON + 71 * MINUTE)
    assert (site.rule, site.raised) == ("SITE_SILENT", False)
    assert (left.rule, left.station_id, left.raised) == ("STATION_SILENT", "A", True)
    assert left.since_us != alone.since_us


def test_an_outage_that_flickers_stays_one(yard: Yard) -> None:
    for station in ("A", "B", "C"):
        yard.silent(station, 0)
    assert len(yard.tick(16)) == 1
    for minute in range(20, 60, 8):
        yard.heard("C", minute)
        assert yard.tick(minute + 1) == []
        yard.silent("C", minute + 2)
        assert yard.tick(minute + 3) == []


def test_stations_that_fall_silent_at_different_times_are_no_outage(yard: Yard) -> None:
    told = []
    for number, station in enumerate(STATIONS[:3]):
        yard.silent(station, 40 * number)
        told += yard.tick(40 * number + 25)
    assert told == [("STATION_SILENT", station, True) for station in STATIONS[:3]]


def test_half_of_the_stations_is_not_most_and_those_that_left_do_not_count(yard: Yard) -> None:
    for station in ("A", "B"):
        yard.silent(station, 0)
    assert yard.tick(16) == []
    for number in (WHOLE_STATION, 1):
        yard._say("D", number, "gone", 17)
    assert yard.tick(18) == [("SITE_SILENT", "A", True)]
