"""The field problems by their number: what a billing party needs, whatever the charger sends.

Numbers and codes are those of ops/field-problems.md; each test names the numbers it covers.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.domain.station import STRIDE
from tests.builders import Bench, charging, us

DAY = 86_400


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_01_samples_that_count_from_zero_are_rebased_on_the_start_register(bench: Bench) -> None:
    bench.start(0, 4_076_000)
    bench.reads(charging(60, 1740, 183))
    bench.stop(1800, 4_081_500)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (5_500, ("REBASED_SAMPLES",), "complete")


def test_02_a_baseline_of_zero_is_replaced_by_the_end_of_the_session_before(bench: Bench) -> None:
    bench.start(0, 900_000, "t0")
    bench.stop(1800, 910_000, "t0")
    bench.start(3600, 0)
    bench.reads(charging(3660, 5340, 910_183))
    bench.stop(5400, 915_500)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (5_500, ("BASELINE_REPLACED",), "complete")


def test_02_without_a_session_before_the_first_register_is_the_baseline_and_the_energy_estimated(bench: Bench) -> None:
    bench.start(0, 0)
    bench.reads(charging(60, 1740, 910_183))
    bench.stop(1800, 915_500)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (5_317, ("BASELINE_REPLACED",), "estimated")


def test_03_a_register_that_is_reset_in_session_counts_on(bench: Bench) -> None:
    bench.start(0, 500_000)
    bench.reads(charging(60, 900, 500_183))
    bench.reads(charging(960, 1740, 10))
    bench.stop(1800, 2_500)
    result = bench.result()
    assert result.quality == ("REGISTER_RESET",)
    assert result.evidence == "estimated"
    assert result.energy_wh == (502_750 - 500_000) + (2_500 - 10)


def test_04_a_small_rollback_is_left_out(bench: Bench) -> None:
    bench.start(0, 500_000)
    bench.reads([(60, 500_183), (120, 500_366), (180, 500_340), (240, 500_732)])
    bench.stop(300, 500_916)
    result = bench.result()
    assert (result.energy_wh, result.quality) == (916, ("ROLLBACK_IGNORED",))


def test_05_and_07_a_repeated_reading_is_used_once_and_counted(bench: Bench) -> None:
    bench.start(0, 0)
    for _ in range(3):
        bench.read(60, 183)
    bench.read(120, 366)
    bench.read(60, 183)
    assert bench.station.duplicates == 3
    assert len(bench.session().readings) == 2 * STRIDE


def test_06_another_value_for_the_same_key_is_refused_and_raises_an_alert(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.read(60, 1183)
    bench.read(60, 1999)
    assert bench.refused == ["ID_CONFLICT"]
    assert bench.alerts == [("ID_CONFLICT", True)]
    assert bench.session().last_register_wh == 1183


def test_08_readings_out_of_order_take_their_place_and_an_update_after_the_end_does_not_reopen(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads([(180, 1549), (60, 1183)])
    bench.stop(240, 1732)
    bench.read(120, 1366)
    assert list(bench.session().readings[0::STRIDE]) == sorted(bench.session().readings[0::STRIDE])
    assert bench.session().ended()
    assert bench.result().energy_wh == 732


def test_09_an_offline_gap_keeps_its_energy_and_says_so(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads(charging(30, 300, 1092, every=30))
    bench.reads(charging(2000, 2300, 7000, every=30))
    bench.stop(2330, 8010)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (7_010, ("GAP",), "complete")


def test_10_a_stop_that_comes_days_late_makes_a_revision_that_says_so(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads(charging(60, 1140, 1183))
    bench.tick(DAY + 3600)
    assert [record.quality for record in bench.records] == [("MISSING_STOP",)]
    bench.start(DAY * 2, 9000, "t2", received=DAY * 2)
    bench.stop(1200, 4_700, received=DAY * 2 + 60)
    assert bench.records[-1].energy_wh == 3_700
    assert bench.records[-1].quality == ("LATE_REPLAY",)
    assert bench.session().revision == 2


def test_10_what_follows_a_late_stop_still_counts(bench: Bench) -> None:
    """The queue of an outage of hours, its readings overtaken by the stop."""
    bench.start(0, 10_000)
    bench.reads(charging(60, 300, 10_183))
    bench.stop(1800, 15_500, received=20_000)
    bench.tick(20_100)
    assert bench.result().quality == ("GAP",)
    bench.reads(charging(360, 1740, 11_100), received=20_200)
    bench.tick(20_300)
    assert bench.records[-1].quality == ()
    bench.tick(20_000 + 3_700)
    assert "t1" not in bench.station.sessions


def test_10_what_is_older_than_the_horizon_is_held(bench: Bench) -> None:
    bench.start(DAY * 10, 1000, "t9")
    bench.stop(60, 900, "old", received=DAY * 10)
    assert bench.refused == ["TOO_LATE"]


def test_11_a_jump_that_no_connector_can_deliver_is_not_priced(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads([(60, 1183), (120, 1366), (180, 38_300)])
    bench.stop(240, 38_500)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (None, ("IMPOSSIBLE_ENERGY",), "incomplete")
    assert (result.bill_state, result.held_reason) == ("HELD", "IMPOSSIBLE_ENERGY")
    assert bench.station.connectors[1].quarantined_wh == 37_500


def test_12_a_stop_before_its_start_waits_for_it(bench: Bench) -> None:
    bench.stop(600, 2000)
    assert bench.records == []
    bench.start(0, 1000)
    assert bench.records[-1].energy_wh == 1_000
    assert bench.records[-1].quality == ()


def test_13_the_first_of_two_stops_stays(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.stop(600, 2000)
    bench.stop(600, 2000)
    assert bench.station.duplicates == 1
    bench.stop(660, 2500)
    assert bench.refused == ["DOUBLE_STOP"]
    assert ("DOUBLE_STOP", True) in bench.alerts
    assert bench.result().energy_wh == 1_000


def test_14_a_stop_stamped_shortly_before_its_start_is_clock_skew(bench: Bench) -> None:
    bench.start(100, 1000, received=100)
    bench.stop(40, 1100, received=400)
    result = bench.result()
    assert (result.quality, result.duration_s, result.energy_wh) == (("CLOCK_SKEW",), 300, 100)


def test_14_a_stop_stamped_long_before_its_start_is_not_priced(bench: Bench) -> None:
    bench.start(4000, 1000)
    bench.stop(0, 1100, received=5000)
    result = bench.result()
    assert "NEGATIVE_DURATION" in result.quality
    assert result.bill_state == "HELD"


def test_15_a_start_on_an_occupied_connector_aborts_a_session_without_energy(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.start(600, 1000, "t2")
    bench.tick(1300)
    result = bench.result()
    assert (result.status, result.energy_wh, result.quality) == ("aborted", 0, ("ABORTED_BY_NEW_START",))


def test_16_one_with_energy_ends_at_its_last_register_and_the_rest_is_unattributed(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads(charging(60, 600, 1183))
    bench.start(900, 4_000, "t2")
    bench.tick(1600)
    bench.stop(1700, 4_500, "t2")
    result = bench.result()
    assert (result.status, result.energy_wh, result.quality) == ("completed", 1_833, ("CLOSED_BY_NEW_START",))
    assert result.evidence == "incomplete"
    assert bench.result("t2").unattributed_wh == 4_000 - 2_833


def test_17_a_missing_stop_closes_at_the_last_register_when_the_connector_is_available(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads(charging(60, 600, 1183))
    bench.status(700, "Available")
    bench.tick(1200)
    assert bench.records == []
    bench.tick(1400)
    assert (bench.records[-1].energy_wh, bench.records[-1].quality) == (1_833, ("MISSING_STOP",))
    bench.stop(660, 2_900)
    assert (bench.records[-1].energy_wh, bench.records[-1].quality) == (1_900, ())


def test_17_without_a_sample_for_a_day_it_is_closed_too(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.read(60, 1183)
    bench.tick(DAY)
    assert bench.records == []
    bench.tick(DAY + 120)
    assert bench.records[-1].quality == ("MISSING_STOP",)


def test_18_a_missing_start_gives_a_session_whose_bill_is_held(bench: Bench) -> None:
    bench.start(0, 500, "t0")
    bench.stop(60, 1000, "t0")
    bench.reads(charging(600, 1200, 1183))
    bench.stop(1260, 3_200)
    bench.tick(1260 + 3700)
    result = bench.records[-1]
    assert (result.energy_wh, result.quality, result.evidence) == (2_200, ("MISSING_START",), "incomplete")
    assert (result.bill_state, result.held_reason) == ("HELD", "MISSING_START")


def test_19_a_reading_of_an_unacknowledged_transaction_joins_the_one_that_the_connector_had_then(bench: Bench) -> None:
    bench.start(0, 1000, None, call="c1")
    bench.read(60, 1183, None, tx_hint="unacknowledged")
    (key,) = bench.station.sessions
    record, measured = bench.rated(key)
    assert (measured.registers, record.quality) == ([1000, 1183], ("TX_ID_RECONCILED",))


def test_19_and_15_after_another_start_it_is_the_later_one_s(bench: Bench) -> None:
    bench.start(0, 1000, "t1")
    bench.start(30, 1000, "t2")
    bench.read(60, 1183, None, tx_hint="unacknowledged")
    bench.stop(90, 1283, "t2")
    assert bench.rated("t2")[1].registers == [1000, 1183, 1283]
    assert bench.rated("t1")[1].registers == [1000]


def test_21_a_reading_without_id_that_comes_before_its_start_waits_for_it(bench: Bench) -> None:
    bench.read(60, 1183, None)
    bench.start(0, 1000)
    bench.stop(120, 1366)
    assert bench.rated()[1].registers == [1000, 1183, 1366]


def test_20_transaction_zero_joins_the_only_open_transaction_of_the_connector(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.read(60, 1183, None, tx_hint="zero")
    assert bench.result().quality == ("TX_ID_RECONCILED",)
    assert bench.session().last_register_wh == 1183
    assert bench.rated()[1].registers == [1000, 1183]


def test_21_readings_without_transaction_never_open_a_session(bench: Bench) -> None:
    bench.read(0, 5000, None)
    bench.read(0, 5000, None, connector=0)
    assert bench.station.sessions == {}
    assert bench.station.outside == 2


def test_22_and_23_the_tag_of_the_start_applies_and_another_one_at_the_stop_is_noted(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.stop(600, 2000)
    assert bench.result().quality == ()
    bench.start(1200, 2000, "t2")
    bench.stop(1800, 3000, "t2", token="b")  # noqa: S106 - a driver's token, made up
    bench.tick(1800 + 601)  # until then a start on another connector under this id could have come
    assert bench.result("t2").quality == ("OTHER_STOP_TAG",)
    assert bench.session("t2").token == "a"  # noqa: S105 - made up


def test_24_a_stop_below_the_start_is_replaced_by_the_last_register(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.reads(charging(60, 600, 10_183))
    bench.stop(660, 9_000)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (1_833, ("STOP_REPLACED",), "estimated")


def test_24_without_any_register_it_is_neither_negative_nor_zero(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.stop(660, 9_000)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.bill_state) == (None, ("NEGATIVE_ENERGY",), "HELD")


def test_25_a_stuck_meter_is_bridged_by_the_integral_of_power(bench: Bench) -> None:
    bench.start(0, 10_000)
    for minute in range(1, 31):
        bench.read(60 * minute, 10_000, power_w=11_000, state="charging")
    bench.stop(1830, 10_000)
    result = bench.result()
    assert result.quality == ("METER_STUCK",)
    assert result.evidence == "estimated"
    assert result.energy_wh == pytest.approx(11_000 * 30.5 / 60, abs=20)
    assert result.energy_low_wh == 0
    assert (result.energy_high_wh or 0) <= 22_000 * 1.15 * 1830 / 3600 + 10
    assert result.estimated_wh == result.energy_wh


def test_26_a_reading_after_the_stop_changes_nothing_but_a_higher_one_is_reported(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.stop(1800, 15_000)
    bench.read(1801, 15_001)
    assert (bench.result().energy_wh, bench.result().quality) == (5_000, ())
    bench.read(1860, 15_200)
    assert (bench.result().energy_wh, bench.result().quality) == (5_000, ("POST_STOP_READING",))


def test_27_a_last_sample_below_the_stop_is_normal(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.reads(charging(60, 1740, 10_183))
    bench.stop(1780, 15_440)
    assert (bench.result().energy_wh, bench.result().quality) == (5_440, ())


def test_28_an_entry_without_energy_never_means_zero(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.read(60, 10_183)
    bench.read(90, None, soc_percent=50)
    bench.read(120, 10_366)
    bench.stop(180, 10_549)
    assert (bench.result().energy_wh, bench.result().quality) == (549, ())


def test_29_a_clock_in_the_future_is_shifted_to_the_receive_time(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.read(60, 10_183)
    bench.read(120 + DAY, 10_366, received=120)
    bench.stop(180, 10_549)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.duration_s) == (549, ("CLOCK_SHIFTED",), 180)


def told_late(bench: Bench, *, start: float, stop: float, first: float = 0, last: float = 1800) -> None:
    """Half an hour of charging; `start` and `stop` say how many seconds after it happened each was received."""
    bench.start(first, 10_000, received=first + start)
    bench.reads(charging(first + 60, last - 60, 10_183), received=last + stop)
    bench.stop(last, 15_500, received=last + stop)


def test_29_a_clock_that_is_behind_is_told_by_its_steady_delay(bench: Bench) -> None:
    """Backward skew: everything is received three hours after its time, at the pace at which it happened."""
    bench.start(-10_800, 10_000, received=0)
    for minute in range(1, 30):
        bench.read(60 * minute - 10_800, 10_000 + 183 * minute, received=60 * minute + 1)
    bench.stop(1800 - 10_800, 15_500, received=1803)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (5_500, ("CLOCK_SHIFTED",), "complete")
    assert (result.started_at_us, result.ended_at_us) == (us(0), us(1800))
    assert bench.rated()[1].times == [us(60 * minute) for minute in range(31)]


def test_29_a_repeated_or_late_message_of_a_clock_that_is_behind_finds_its_place(bench: Bench) -> None:
    told_late(bench, start=10_800, stop=10_800)
    identity = bench.result().session_id
    bench.start(0, 10_000, received=12_600)
    bench.read(60, 10_183, received=12_660)
    bench.stop(1800, 15_500, received=12_700)
    bench.read(90, 10_275, received=12_720)
    assert bench.station.duplicates == 3
    assert bench.refused == []
    assert list(bench.session().readings[0::STRIDE]) == sorted(bench.session().readings[0::STRIDE])
    assert len(bench.session().readings) == 30 * STRIDE
    assert bench.result().session_id == identity


def test_29_a_stop_that_overtakes_its_start_gives_the_same_times(bench: Bench) -> None:
    bench.stop(1800, 15_500, received=12_600)
    bench.start(0, 10_000, received=10_800)
    assert (bench.result().started_at_us, bench.result().ended_at_us) == (us(10_800), us(12_600))
    assert bench.result().quality == ("CLOCK_SHIFTED",)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        pytest.param(10_800, 9_001, id="the whole session waited for the link and came at once"),
        pytest.param(10_800, 9_300, id="the queue is sent slowly, in order, over five minutes"),
        pytest.param(10_800, 0, id="the link came back while it charged"),
        pytest.param(0, 10_800, id="the link broke while it charged"),
        pytest.param(3_600, 5_400, id="start and stop waited for the ends of two outages"),
        pytest.param(240, 240, id="a slow network, inside the tolerance"),
    ],
)
def test_10_and_29_an_honest_replay_keeps_its_times_and_carries_no_code(
    bench: Bench, start: float, stop: float
) -> None:
    told_late(bench, start=start, stop=stop)
    result = bench.result()
    assert (result.energy_wh, result.quality) == (5_500, ())
    assert (result.started_at_us, result.ended_at_us) == (us(0), us(1800))


def test_10_and_29_a_short_session_that_waited_is_no_proof_of_a_wrong_clock(bench: Bench) -> None:
    bench.start(0, 10_000, received=10_800)
    bench.stop(4, 10_000, received=10_800.1)
    assert bench.result().quality == ("ABORTED",)


def test_29_a_start_and_stop_in_the_future_are_shifted_too(bench: Bench) -> None:
    bench.start(7_200, 10_000, received=0)
    for minute in range(1, 30):
        bench.read(60 * minute + 7_200, 10_000 + 183 * minute, received=60 * minute)
    bench.read(60 + 7_200, 10_183, received=1790)
    bench.stop(1800 + 7_200, 15_500, received=1800)
    result = bench.result()
    assert (result.energy_wh, result.quality) == (5_500, ("CLOCK_SHIFTED",))
    assert (result.started_at_us, result.ended_at_us, bench.station.duplicates) == (us(0), us(1800), 1)
    assert bench.station.newest_us == us(1800)


def test_29_a_delayed_reading_of_a_fast_clock_is_no_plain_reading(bench: Bench) -> None:
    bench.start(900, 10_000, received=0)
    bench.read(960, 10_183, received=760)
    assert bench.rated()[1].times == [us(0), us(60)]


def test_29_a_clock_that_is_set_right_in_the_session_is_believed_from_then_on(bench: Bench) -> None:
    bench.start(7_200, 10_000, received=0)
    bench.read(7_260, 10_183, received=60)
    bench.read(120, 10_366, received=121)
    bench.stop(180, 10_549, received=181)
    result = bench.result()
    assert (result.energy_wh, result.duration_s, result.quality) == (549, 180, ("CLOCK_SHIFTED",))


def test_29_a_status_of_a_fast_clock_frees_no_connector_in_advance(bench: Bench) -> None:
    bench.status(-60, "Available")
    bench.status(3_600, "Available", received=0)
    bench.start(60, 10_000)
    bench.read(120, 10_183)
    bench.tick(5_000)
    assert not bench.session().ended()


def test_30_a_few_seconds_between_two_clocks_are_tolerated(bench: Bench) -> None:
    bench.start(0, 10_000)
    bench.stop(608, 11_000, received=600)
    assert bench.result().quality == ()


def test_33_a_status_never_opens_or_closes_a_session(bench: Bench) -> None:
    bench.status(0, "Charging")
    assert bench.station.sessions == {}
    bench.start(10, 1000)
    bench.status(5, "Available")
    bench.tick(2000)
    assert not bench.session().ended()


def test_34_a_session_without_energy_is_an_abort_and_three_in_an_hour_are_a_fault(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.stop(9, 1000)
    result = bench.result()
    assert (result.status, result.energy_wh, result.billable, result.quality) == ("aborted", 0, False, ("ABORTED",))


def test_35_a_reboot_keeps_the_session_open(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.read(60, 1183)
    bench.boot(90)
    bench.read(120, 1366)
    bench.stop(180, 1549)
    assert (bench.result().energy_wh, bench.result().quality) == (549, ("REBOOT_IN_SESSION",))


def test_37_a_suspended_vehicle_is_idle_and_its_flat_register_no_fault(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads(charging(60, 600, 1183), power_w=11_000, state="charging")
    for minute in range(11, 41):
        bench.read(60 * minute, 2_833, power_w=0, state="suspended_ev")
    bench.stop(2460, 2_833)
    result = bench.result()
    assert (result.quality, result.energy_wh) == ((), 1_833)
    assert result.idle_s == 2460 - 660


@pytest.mark.parametrize("lasts", [30, 90])
def test_38_and_39_a_fault_counts_in_either_field_and_only_after_a_minute(bench: Bench, lasts: int) -> None:
    bench.status(0, "Charging", error="OtherError")
    bench.tick(lasts - 1)
    bench.status(lasts, "Charging")
    bench.tick(lasts + 1)
    bench.status(lasts + 2, "Available")
    assert bench.alerts == ([("STATION_FAULT", True), ("STATION_FAULT", False)] if lasts > 60 else [])
    if lasts > 60:
        (raised, at), (cleared, until) = bench.courses
        assert (raised, at, until) == (cleared, us(0), us(lasts)), "one alert, from its raising to its clearing"


def test_41_a_gap_in_the_sequence_numbers_is_incomplete_evidence_but_billed(bench: Bench) -> None:
    bench.start(0, 1000, seq_no=0)
    bench.read(60, 1183, seq_no=1)
    bench.read(180, 1549, seq_no=3)
    bench.stop(240, 1732, seq_no=4)
    result = bench.result()
    assert (result.energy_wh, result.quality, result.evidence) == (732, ("SEQ_GAP",), "incomplete")
    bench.read(120, 1366, seq_no=2)
    assert bench.result().quality == ()


def test_overstay_and_long_sessions_are_told_while_the_session_is_open_and_cleared_at_its_end(bench: Bench) -> None:
    bench.start(0, 1000)
    bench.reads(charging(60, 600, 1183))
    for hour in range(1, 14):
        bench.read(3600 * hour, 2_833)
        bench.tick(3600 * hour + 1)
    assert {rule for rule, raised in bench.alerts if raised} >= {"OVERSTAY", "LONG_SESSION"}
    assert len([rule for rule, raised in bench.alerts if rule == "OVERSTAY" and raised]) == 1


def test_every_number_of_the_table_has_a_test() -> None:
    table = (Path(__file__).parents[2] / "ops" / "field-problems.md").read_text("utf-8")
    numbers = {int(n) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for n in row.split(",")}
    here = {int(n) for name in globals() if name.startswith("test_") for n in re.findall(r"_(\d\d)(?=_)", name)}
    elsewhere = {31, 32, 40, 36}
    assert numbers == set(range(1, 42))
    assert numbers - here - elsewhere == set()
