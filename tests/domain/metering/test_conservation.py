"""The ledger of a connector when registers fall and sessions are booked out of their order."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pipeline.domain.limits import Limits
from pipeline.domain.metering.conservation import book, difference, unattributed, withdraw
from pipeline.domain.metering.measure import measure
from pipeline.domain.station import Session
from tests.builders import Bench, charging


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ledger(bench: Bench) -> tuple[int, int, int]:
    """Difference, attributed and unattributed Wh of connector 1."""
    connector = bench.station.connector(1)
    return difference(connector), connector.attributed_wh, unattributed(connector)


def test_a_session_without_start_is_booked_where_the_register_stood_before_it_fell(bench: Bench) -> None:
    """It waits an hour for its start; meanwhile the next session has seen a reset."""
    bench.start(0, 300_000, "t0")
    bench.stop(600, 301_000, "t0")
    bench.reads(charging(1200, 1500, 301_500), "t1")
    bench.stop(1800, 304_000, "t1")
    bench.start(2400, 304_500, "t2")
    bench.reads(charging(2460, 2760, 304_600), "t2")
    bench.reads(charging(2820, 3120, 0), "t2")
    bench.stop(3180, 1_000, "t2")
    bench.result("t2")
    bench.tick(1800 + 3700)
    assert "MISSING_START" in bench.records[-1].quality
    bench.start(6000, 1_000, "t3")
    bench.stop(6600, 3_000, "t3")
    wrong, attributed, outside = ledger(bench)
    assert wrong == 0
    assert outside == 500 + 500
    assert attributed == 1_000 + 2_500 + (917 + 100 + 1_000) + 2_000


def test_a_meter_that_was_replaced_between_two_sessions_carries_on(bench: Bench) -> None:
    bench.start(0, 300_000, "t0")
    bench.stop(600, 301_000, "t0")
    bench.start(1200, 50, "t1")
    bench.stop(1800, 1_050, "t1")
    bench.start(2400, 1_250, "t2")
    bench.stop(3000, 2_250, "t2")
    assert ledger(bench) == (0, 3_000, 200)


def test_a_reset_that_only_a_revision_shows_moves_what_comes_after(bench: Bench) -> None:
    bench.start(0, 300_000, "t0")
    bench.reads(charging(60, 600, 300_100), "t0")
    bench.status(700, "Available")
    bench.tick(1400)
    bench.reads(charging(660, 900, 0), "t0")
    bench.stop(960, 800, "t0")
    assert bench.result("t0").quality == ("REGISTER_RESET",)
    bench.start(1500, 800, "t1")
    bench.stop(2100, 1_800, "t1")
    wrong, attributed, outside = ledger(bench)
    assert (wrong, outside) == (0, 0)
    assert attributed == 1_000 + (bench.result("t0").energy_wh or 0)


def test_a_fall_that_nothing_explains_takes_no_energy_back_and_leaves_no_gaps(bench: Bench) -> None:
    bench.start(0, 5_000)
    bench.stop(600, 6_000)
    session, connector = bench.station.sessions["t1"], bench.station.connector(1)
    measured = replace(measure(bench.station, session, Limits(), None), stop_register_wh=4_000, dropped_wh=0)
    for _ in range(3):
        book(connector, session, measured)
    assert session.booked is not None
    low, high = session.booked[:2]
    assert low <= high
    assert len(connector.gaps) <= 1
    assert difference(connector) == 0


def test_two_sessions_that_claim_one_stretch_are_a_difference_until_they_give_it_back(bench: Bench) -> None:
    """Ids of one charge were altered: both are booked, and later both become parts of another session."""
    bench.start(0, 1_000)
    bench.stop(600, 1_500)
    session, connector = bench.station.sessions["t1"], bench.station.connector(1)
    measured = measure(bench.station, session, Limits(), None)
    first, second = Session(1, "first"), Session(1, "second")
    for claiming, low, high in ((first, 2_000, 5_000), (second, 3_000, 6_000)):
        early = replace(measured, since_us=1, until_us=2, start_register_wh=low, stop_register_wh=high)
        book(connector, claiming, early)
    assert difference(connector) == 2_000
    withdraw(connector, second)
    withdraw(connector, first)
    assert difference(connector) == 0
    assert unattributed(connector) == 4_500


def test_a_session_that_comes_back_from_the_archive_is_no_longer_there(bench: Bench) -> None:
    """What it had booked and billed must not come back twice, if it becomes a part of another session meanwhile."""
    bench.start(0, 1_000)
    bench.stop(600, 1_500)
    bench.tick(600 + 3_700)
    assert [name for name, _ in bench.station.archive.items()] == [b"t1"]
    bench.read(300, 1_250)
    assert list(bench.station.sessions) == ["t1"]
    assert list(bench.station.archive.items()) == []
    bench.tick(600 + 3_760)
    assert list(bench.station.sessions) == []
    assert [name for name, _ in bench.station.archive.items()] == [b"t1"]
    assert ledger(bench) == (0, 500, 0)
