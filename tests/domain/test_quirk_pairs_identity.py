"""Pairs of quirks that once gave a charge to the wrong session, at a wrong time, or otherwise in another order."""

from __future__ import annotations

import pytest

from pipeline.domain.station import Session, Station
from pipeline.domain.station_codec import decode_station, encode_station
from pipeline.edge.chargers.tape import Protocol
from tests.builders import Bench, charging
from tests.scored.quirk_run import Task, score
from tests.scored.quirks import LAWS


@pytest.mark.parametrize(
    ("pair", "protocol", "seed"),
    [
        # evidence of a connector under an id that another connector's session has, and no start of its own
        ("loses_start+shares_ids", "ocpp1.6", 402),
        ("loses_start+shares_ids", "ocpp1.6", 684),
        ("answers_not_logged+shares_ids", "ocpp1.6", 1),
        ("meter_swapped+shares_ids", "ocpp1.6", 543),
        ("shares_ids+doubles_start", "ocpp1.6", 2),
        # two unanswered starts of one charge, and what is measured under both ids
        ("answers_not_logged+doubles_start", "ocpp1.6", 135),
        # the next start, as sent by a clock that is wrong
        ("answers_not_logged+clock_ahead", "ocpp1.6", 103),
        # a start and its repetition: the first one tells the time, whichever comes first
        ("retries_same_id+clock_set", "ocpp1.6", 102),
        ("retries_new_id+wall_clock_kolkata", "ocpp2.0.1", 155),
        ("start_without_time+retries_new_id", "ocpp1.6", 287),
        # the clock of hours ago, and one late start of a clock that is wrong
        ("loses_start_answer+clock_set", "ocpp1.6", 101),
        ("wall_clock_kolkata+link_down_readings_lost", "ocpp1.6", 1327),
        # two starts that nobody answered, and readings without id
        ("loses_start_answer+doubles_start", "ocpp1.6", 1285),
        # a stop with the tag of a start that comes after it, on another connector under the same id
        ("step_10_wh+shares_ids", "ocpp1.6", 811),
        ("answers_not_logged+shares_ids", "ocpp1.6", 14),
        # readings without id after a stop that never came belong to the next session alone
        ("reading_ids_minus_16+loses_stop", "ocpp1.6", 103),
        ("loses_stop+reading_ids_missing", "ocpp2.0.1", 778),
        # readings of 1970 whose start comes after them; one reading in two messages
        ("loses_start_answer+clock_unset", "ocpp1.6", 272),
        ("overlapping_batches+clock_unset", "ocpp1.6", 1527),
        # a last status that comes after the stop; a boot between a stop and its settling
        ("overlapping_batches+retries_same_id", "ocpp1.6", 1601),
        ("boots_in_session+loses_start_answer", "ocpp1.6", 239),
        # readings without id before the start that they belong to
        ("loses_start_answer+one_late", "ocpp1.6", 1645),
        # the next start, moved by what its own readings tell of the clock, after the end before it was judged
        ("start_without_time+clock_set", "ocpp1.6", 42200),
        # readings of one message after the other that are all stamped before 1970
        ("wall_clock_new_york+clock_unset", "ocpp1.6", 55),
        ("wall_clock_new_york+clock_unset", "ocpp2.0.1", 78),
        # readings without id of the next session, whose stamps go back into this one
        ("reading_ids_minus_1+wall_clock_berlin", "ocpp1.6", 2091),
        # a stop that is frozen, under the first of two ids of one charge
        ("stop_register_frozen+doubles_start", "ocpp2.0.1", 915003),
        # a stop without a start that comes after a rule has closed its session
        ("loses_start+one_late", "ocpp1.6", 915001),
        # a delay that is as long as the clock is ahead
        ("clock_ahead+link_down_readings_kept", "ocpp2.0.1", 915002),
        # a stop whose register says nothing, with the tag of one of two sessions that share its id
        ("stop_register_zero+shares_ids", "ocpp1.6", 988715),
        # a stop with the tag of its session, whose register was reset
        ("resets_in_session+shares_ids", "ocpp1.6", 2176134),
        # a boot before the start, told after it
        ("over_voltage+reading_ids_missing", "ocpp2.0.1", 550),
    ],
)
def test_a_pair_of_quirks_is_billed_right_in_any_order(pair: str, protocol: Protocol, seed: int) -> None:
    _, tally = score(Task(tuple(pair.split("+")), protocol, seed, LAWS))
    assert tally.sessions == 6
    assert tally.problems == []


def test_late_evidence_under_the_second_id_of_a_charge_finds_it_in_the_archive() -> None:
    bench = Bench()
    bench.start(0, 1000)
    bench.start(8, 1000, "t2")
    for transaction in ("t1", "t2"):
        bench.reads(charging(60, 600, 1183), transaction)
        bench.stop(660, 3_016, transaction)
    bench.tick(9_000)
    assert not bench.station.sessions
    bench.read(120, 1_366, "t2", received=9_100)
    bench.stop(660, 3_016, "t2", received=9_100)
    bench.tick(20_000)
    assert {record.session_id for record in bench.records if record.started_at_us is None} == set()
    assert bench.result().energy_wh == 2_016


def test_what_is_left_of_a_quirk_that_removes_what_another_one_changes_is_said() -> None:
    _, tally = score(Task(("loses_charging", "suspended_before_start"), "ocpp1.6", 1, ()))
    assert tally.sessions == 6


def test_a_session_with_names_before_and_after_its_own_is_one_after_a_restore() -> None:
    station, session = Station("CP-1"), Session(1, "own", aliases=["call:1", "second", "third"])
    station.sessions = {"call:1": session, "own": session, "second": session, "third": session}
    restored = decode_station(encode_station(station))
    assert [key for key, _ in restored.each_session()] == ["own"]
    assert len({id(each) for each in restored.sessions.values()}) == 1
