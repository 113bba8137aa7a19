"""Kinds of fault beyond the numbered problems: what of the evidence is believed, whose it is, when it was."""

from __future__ import annotations

import pytest

from pipeline.domain.events import SessionAuthorized, SessionConfirmed, SessionStarted
from pipeline.domain.metering.conservation import difference, tally
from pipeline.domain.session.advance import advance
from pipeline.domain.station_codec import decode_station, encode_station
from tests.builders import Bench, us

DAY = 86_400
ALICE, BOB = "a", "b"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_1c_zeros_up_to_the_stop_are_drop_outs_where_the_stop_goes_on_from_the_old_register(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.reads((at, 10_000 + at * 25 // 6 if at <= 1800 else 0) for at in range(60, 3600, 60))
    bench.stop(3600, 25_000)
    result = bench.result()
    assert (result.energy_wh, result.evidence) == (15_000, "complete")
    assert "REGISTER_DROPOUT" in result.quality


def test_1c_a_register_that_climbs_from_zero_is_no_drop_out_whatever_the_stop_says(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.reads((at, 10_000 + at * 4) for at in range(60, 1800, 60))
    bench.reads((at, (at - 1800) * 4) for at in range(1800, 3600, 60))
    bench.stop(3600, 7_200)
    result = bench.result()
    assert "REGISTER_RESET" in result.quality
    assert result.evidence == "estimated"


@pytest.mark.parametrize("below", [(), ((40, 12_344),)])
def test_8d_a_stop_within_a_step_below_the_start_is_no_energy_also_when_a_reading_says_the_same(
    bench: Bench, below: tuple[tuple[int, int], ...]
) -> None:
    bench.start(0, 12_345)
    bench.reads(below)
    bench.stop(40, 12_344)
    result = bench.result()
    assert (result.energy_wh, result.status, result.evidence) == (0, "aborted", "complete")


def test_6a_nothing_measured_after_the_start_is_no_zero(bench: Bench) -> None:
    bench.start(0, 1_000)
    bench.stop(3600, None)
    result = bench.result()
    assert (result.energy_wh, result.evidence) == (None, "estimated")
    assert result.quality == ("STOP_REGISTER_MISSING",)


def test_6a_no_value_at_all_says_so(bench: Bench) -> None:
    bench.start(0, None)
    bench.stop(3600, None)
    result = bench.result()
    assert (result.energy_wh, result.evidence) == (None, "estimated")


def test_7a_a_fall_that_only_a_sample_of_the_end_repeats_is_no_session_that_counts_from_zero(bench: Bench) -> None:
    bench.start(0, 5_000_000)
    bench.read(3600, 20, context="end")
    bench.stop(3600, 20)
    result = bench.result()
    assert result.energy_wh is None
    assert "NEGATIVE_ENERGY" in result.quality
    assert difference(bench.station.connector(1)) == 0


def test_8a_two_values_of_a_whole_kwh_register_tell_its_step(bench: Bench) -> None:
    bench = Bench(rating_w=7_400)
    bench.start(0, 123_000)
    bench.reads((at, 124_000 if at >= 60 else 123_000) for at in range(30, 300, 30))
    bench.stop(300, 124_000)
    result = bench.result()
    assert (result.energy_wh, result.evidence) == (1_000, "complete")


def test_2c_a_coarse_register_that_waits_for_its_next_step_is_not_idle(bench: Bench) -> None:
    bench.start(0, 123_000)
    bench.reads((at, 124_000 if at >= 60 else 123_000) for at in range(30, 600, 30))
    bench.stop(600, 124_000)
    assert bench.result().idle_s == 0


def test_5a_a_clock_years_behind_closes_no_session_before_it_is_known(bench: Bench) -> None:
    behind = 400 * DAY
    bench.start(-behind, 1_000, received=0)
    bench.tick(30)
    assert not bench.session().ended()
    for at in range(60, 1800, 60):
        bench.read(at - behind, 1_000 + at, received=at)
        bench.tick(at)
    bench.reads((at, 1_000 + at) for at in range(1800, 3600, 60))
    bench.stop(3600, 4_600)
    result = bench.result()
    assert (result.energy_wh, result.duration_s) == (3_600, 3_600)
    assert len(bench.records) == 1


def test_5a_a_session_of_a_shifted_clock_that_a_rule_closes_ends_with_its_last_reading(bench: Bench) -> None:
    behind = 400 * DAY
    bench.start(-behind, 1_000, received=0)
    for at in range(60, 1800, 60):
        bench.read(at - behind, 1_000 + at, received=at)
    bench.tick(3 * DAY)
    result = bench.result()
    assert (result.energy_wh, result.duration_s) == (1_740, 1_740)
    assert "MISSING_STOP" in result.quality


def test_4d_a_start_that_ended_without_its_answer_waits_for_it_no_more(bench: Bench) -> None:
    bench.start(0, 1_000, None, call="c", received=9_000)
    bench.stop(3_600, 4_000, None, tx_hint="unacknowledged", token=ALICE, received=9_001)
    bench.tick(2 * DAY)
    told = tally(bench.station)
    assert told.received == told.used + told.duplicate + told.quarantined + told.outside + told.pending
    assert told.pending == 0


def test_4a_a_second_stop_of_an_id_by_another_tag_ends_the_session_that_it_fits(bench: Bench) -> None:
    bench.start(0, 10_000, "x", token=ALICE)
    bench.start(0, 700_000, None, connector=2, token=BOB, call="c")
    bench.stop(3_600, 16_000, "x", token=ALICE)
    bench.stop(3_660, 709_000, "x", token=BOB)
    bench.stop(3_660, 709_000, "x", token=BOB)
    bench.tick(2 * DAY)
    second = next(record for record in bench.records if record.connector_id == 2)
    assert (second.energy_wh, second.evidence) == (9_000, "complete")
    assert "DOUBLE_STOP" not in bench.refused


def test_7a_a_second_name_of_a_charge_that_ended_first_is_not_billed_beside_it(bench: Bench) -> None:
    bench.start(0, 1_000, "x")
    bench.start(8, 1_000, "y")
    for name in ("x", "y"):
        bench.reads(((at, 1_000 + 3 * at) for at in range(60, 1800, 60)), name)
    bench.stop(1800, 6_400, "y", received=1_803)
    bench.stop(1800, 6_400, "x")
    bench.tick(2 * DAY)
    assert [(record.started_at_us, record.energy_wh) for record in bench.records] == [(us(0), 5_400)]
    assert difference(bench.station.connector(1)) == 0


def test_18_a_start_that_comes_after_its_session_was_published_moves_what_is_booked(bench: Bench) -> None:
    bench.reads((at, 1_000 + at) for at in range(600, 3600, 60))
    bench.stop(3600, 4_600)
    bench.tick(3 * 3600)
    bench.start(4 * 3600, 4_600, "t2")
    bench.stop(5 * 3600, 5_600, "t2")
    bench.start(0, 1_000, received=5 * 3600)
    bench.tick(6 * 3600)
    connector = bench.station.connector(1)
    assert (connector.opening_wh, connector.closing_wh, connector.attributed_wh) == (1_000, 5_600, 4_600)
    assert difference(connector) == 0


def test_2_a_late_reading_does_not_forget_where_the_register_stood_before(bench: Bench) -> None:
    bench.start(0, 245_000, "t0")
    bench.stop(3600, 250_000, "t0")
    bench.start(3 * 3600, 0)
    bench.tick(3 * 3600)
    bench.reads((3 * 3600 + at, 250_000 + 2 * at) for at in range(60, 3600, 60) if at != 600)
    bench.stop(4 * 3600, 257_200)
    before = bench.result()
    bench.read(3 * 3600 + 600, 251_200, received=4 * 3600 + 60)
    bench.tick(4 * 3600 + 120)
    after = bench.result()
    assert (before.energy_wh, before.evidence) == (after.energy_wh, after.evidence) == (7_200, "complete")


def test_6b_a_token_that_comes_before_the_start_is_the_drivers(bench: Bench) -> None:
    token = SessionAuthorized(
        station_id="CP-1", event_time_us=us(60), received_time_us=us(60), transaction_id="t1", token=ALICE,
        billing_token=BOB,
    )  # fmt: skip
    advance(bench.station, token)
    advance(
        bench.station,
        SessionStarted(
            station_id="CP-1", event_time_us=us(0), received_time_us=us(0), connector_id=1, transaction_id="t1"
        ),
    )
    assert (bench.session().token, bench.session().billing_token) == (ALICE, BOB)


def test_4e_a_start_whose_answer_may_still_come_is_not_given_to_another_id(bench: Bench) -> None:
    bench.start(90, 1_000, None, call="c", token=ALICE)
    bench.read(120, 1_200, "x")
    bench.station.wake_us = 0
    bench.tick(180)
    assert bench.session("x").started_at_us is None
    advance(
        bench.station,
        SessionConfirmed(
            station_id="CP-1", event_time_us=us(91), received_time_us=us(91), call="c", transaction_id="y"
        ),
    )
    bench.start(0, 1_000, "x", received=200)
    bench.tick(3_000)
    assert bench.session("x").start_sent_us == us(0)


def test_4a_evidence_of_another_connector_is_not_joined_to_a_start_of_the_same_id(bench: Bench) -> None:
    bench.read(60, 700_100, "x", connector=2)
    bench.start(0, 10_000, None, call="c")
    advance(
        bench.station,
        SessionConfirmed(station_id="CP-1", event_time_us=us(1), received_time_us=us(1), call="c", transaction_id="x"),
    )
    bench.start(1, 700_000, "x", connector=2)
    bench.reads(((at, 10_000 + at) for at in range(60, 1800, 60)), "x")
    found = {session.connector_id: session for _, session in bench.station.each_session()}
    assert found[1].readings[1] == 10_060
    assert found[2].readings[1] == 700_100


def test_4c_a_number_of_the_stations_own_belongs_to_the_start_that_nothing_was_measured_under(bench: Bench) -> None:
    bench.start(0, 10_000, "central")
    bench.reads(((at, 10_000 + at) for at in range(60, 1200, 60)), "own")
    bench.tick(1200)
    bench.reads(((at, 10_000 + at) for at in range(1200, 3600, 60)), "own")
    bench.stop(3600, 13_600, "central")
    result = bench.result("central")
    assert (result.energy_wh, result.quality) == (3_600, ("TX_ID_RECONCILED",))
    assert bench.session("own") is bench.session("central")


def test_4c_evidence_of_an_unknown_id_hours_after_a_silent_start_is_not_its(bench: Bench) -> None:
    bench.start(0, 10_000, "central")
    bench.reads(((at, 10_000 + at) for at in range(7_200, 9_000, 60)), "later")
    bench.tick(9_000)
    assert bench.session("later").started_at_us is None


def test_a_session_with_two_names_is_one_after_its_state_was_read_again(bench: Bench) -> None:
    bench.start(0, 10_000, "x")
    bench.start(0, 10_000, "y")
    station = decode_station(encode_station(bench.station))
    assert station.sessions["y"] is station.sessions["x"]


def test_4d_stops_without_id_in_any_order_end_the_sessions_of_their_time(bench: Bench) -> None:
    late = {"tx_hint": "unacknowledged", "token": ALICE}
    bench.start(0, 1_000, None, received=9_000)
    bench.stop(7_000, 9_000, None, received=9_003, **late)
    bench.stop(3_600, 4_000, None, received=9_001, **late)
    bench.start(3_660, 4_000, None, received=9_002)
    bench.tick(2 * DAY)
    assert sorted(record.energy_wh or 0 for record in bench.records) == [3_000, 5_000]
    assert bench.refused == []


def test_35_a_boot_from_before_the_start_is_none_in_the_session(bench: Bench) -> None:
    bench.start(0, 1_000, received=0)
    bench.boot(-60)
    assert "REBOOT_IN_SESSION" not in bench.session().codes
    bench.boot(60)
    assert "REBOOT_IN_SESSION" in bench.session().codes


def test_35_a_boot_that_was_heard_of_before_the_start_of_its_session_is_noted(bench: Bench) -> None:
    bench.boot(60)
    bench.start(0, 1_000)
    assert "REBOOT_IN_SESSION" in bench.session().codes
