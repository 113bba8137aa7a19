"""Pairs of quirks that were once billed wrong, or gave other sessions in another form of the same frames."""

from __future__ import annotations

import pytest

from pipeline.edge.chargers.tape import Protocol
from tests.scored.quirk_run import Task, score
from tests.scored.quirks import LAWS


@pytest.mark.parametrize(
    ("pair", "protocol", "seed"),
    [
        # what flowed since a register was refreshed last is within the bounds
        ("beat_10_min+stop_register_unreadable", "ocpp2.0.1", 102),
        ("beat_10_min+meter_sticks", "ocpp2.0.1", 102),
        ("meter_sticks+frozen_begin_last", "ocpp1.6", 102),
        ("meter_sticks+loses_charging", "ocpp2.0.1", 302),
        ("meter_sticks+link_down_readings_kept", "ocpp1.6", 304),
        ("start_register_zero+answers_not_logged", "ocpp1.6", 303),
        # the register of a stop before it that told too little
        ("start_register_zero+loses_stop", "ocpp2.0.1", 103),
        ("start_register_zero+stop_register_frozen", "ocpp1.6", 301),
        # parts of unseen time add up to no more than the rating delivers in all of it
        ("beat_60_min+wraps_at_2e32", "ocpp2.0.1", 103),
        ("phase_l1_only+loses_stop", "ocpp2.0.1", 104),
        # a power that is stated tells where a status or a coarse register does not
        ("step_10_wh+loses_charging", "ocpp1.6", 103),
        ("step_1_kwh+loses_charging", "ocpp1.6", 104),
        ("beat_15_min+loses_charging", "ocpp1.6", 101),
        ("power_only+loses_suspended", "ocpp1.6", 103),
        ("step_1_kwh+loses_suspended", "ocpp2.0.1", 3),
        ("loses_charging+loses_suspended", "ocpp2.0.1", 102),
        ("beat_10_min+link_down_readings_lost", "ocpp1.6", 102),
        ("step_1_kwh+reading_ids_missing", "ocpp2.0.1", 102),
        ("meter_sticks+intervals_only", "ocpp2.0.1", 101),
        # two explanations of the register
        ("wraps_at_10e8+session_relative", "ocpp1.6", 101),
        ("session_relative_new+start_register_missing", "ocpp2.0.1", 104),
        # whose it is
        ("wraps_at_10e8+doubles_start", "ocpp1.6", 104),
        ("stop_register_frozen+doubles_start", "ocpp1.6", 104),
        ("session_relative+answers_not_logged", "ocpp1.6", 104),
        ("inlet_beside_outlet+shares_ids", "ocpp1.6", 103),
        ("frozen_begin_last+doubles_start", "ocpp1.6", 103),
        ("loses_stop+doubles_start", "ocpp2.0.1", 104),
        ("loses_stop+doubles_start", "ocpp1.6", 403),
        ("rolls_back+loses_start", "ocpp2.0.1", 103),
        # late messages of a clock that is wrong
        ("clock_unset+link_down_readings_lost", "ocpp1.6", 101),
        ("wall_clock_berlin+one_late", "ocpp1.6", 101),
        # a status that was lost while the link was down
        ("step_10_wh+link_down_readings_lost", "ocpp1.6", 402),
        ("start_register_missing+link_down_readings_kept", "ocpp1.6", 784),
        # where power was stated it tells when a wrong status was wrong, and a pause that comes back is unclear
        ("step_100_wh+loses_charging", "ocpp1.6", 779),
        ("step_1_kwh+loses_charging", "ocpp2.0.1", 304),
        ("rolls_back+loses_charging", "ocpp1.6", 101),
        ("loses_charging+loses_suspended", "ocpp1.6", 300),
        ("loses_available+wall_clock_berlin", "ocpp2.0.1", 779),
        # a stop that came late, before anything else showed the level of the clock again
        ("wall_clock_kolkata+link_down_updates_lost", "ocpp2.0.1", 34885),
        # statuses around the change of daylight saving
        ("no_samples+wall_clock_berlin", "ocpp1.6", 55),
        ("no_samples+wall_clock_berlin", "ocpp1.6", 707),
        # a register that moved by far less than what the power amounts to
        ("meter_sticks+in_kwh", "ocpp1.6", 504),
        ("resets_in_session+power_only", "ocpp1.6", 501),
        ("beat_10_min+meter_swapped", "ocpp1.6", 303),
        ("beat_15_min+meter_sticks", "ocpp2.0.1", 507),
        ("resets_in_session+session_relative", "ocpp2.0.1", 401),
        # samples that count from the start, at a station whose registers are as low
        ("session_relative_new+start_register_missing", "ocpp1.6", 784),
        ("session_relative_new+message_ids_restart", "ocpp1.6", 303),
        ("session_relative_new+drops_to_zero", "ocpp2.0.1", 503),
        ("session_relative_new+phase_l1_only", "ocpp2.0.1", 503),
        ("stop_register_zero+session_relative", "ocpp1.6", 506),
        # falls of the register
        ("wraps_unseen+start_register_zero", "ocpp2.0.1", 506),
        ("wraps_unseen+resets_in_session", "ocpp2.0.1", 903),
        ("step_100_wh+meter_swapped", "ocpp1.6", 702),
        ("step_1_kwh+resets_in_session", "ocpp1.6", 308),
        ("meter_swapped+rolls_back", "ocpp2.0.1", 700),
        ("resets_in_session+session_relative_new", "ocpp1.6", 905),
        ("resets_in_session+clock_behind", "ocpp1.6", 1339),
        ("wraps_unseen+start_register_zero", "ocpp2.0.1", 1817),
        # power before the first reading, after the last one and between two is not known
        ("power_only_201+loses_suspended", "ocpp2.0.1", 165),
        ("stop_register_frozen+power_only", "ocpp1.6", 18453),
        ("meter_sticks+stop_register_unreadable", "ocpp1.6", 31748),
        ("stop_register_frozen+session_relative", "ocpp2.0.1", 63008),
        # nothing flowed, and nothing says who paused; a pause that begins in one reading and ends in the next
        ("no_power+link_down_readings_kept", "ocpp1.6", 429),
        ("step_1_kwh+link_down_readings_kept", "ocpp1.6", 5915001),
        ("over_voltage+link_down_readings_kept", "ocpp1.6", 5915001),
        ("no_power+loses_charging", "ocpp1.6", 319),
        # a price that changed while the register was not refreshed
        ("beat_60_min+rolls_back", "ocpp1.6", 700),
        # a register that is refreshed too slowly to confirm what a lost status said
        ("beat_60_min+link_down_readings_lost", "ocpp1.6", 984981),
        # no reading tells of a status that was lost while the link was down
        ("no_samples+link_down_readings_lost", "ocpp1.6", 506),
        # a Begin of the time of a reading with power; a Begin that is known beside a start of 0
        ("start_register_zero+frozen_begin_last", "ocpp2.0.1", 949850),
        # what replaced a stop was another session's, and that one has booked it
        ("rounded_repeats+shares_ids", "ocpp1.6", 503),
        # readings that are repeated tell no state of their own
        ("wall_clock_kolkata+overlapping_batches", "ocpp2.0.1", 101),
        # what may have flowed at the ends
        ("stop_register_missing+frozen_begin_last", "ocpp1.6", 504),
        ("start_register_zero+stop_register_frozen", "ocpp2.0.1", 700),
        # a stop before it that was a little short, where nothing flowed at first; a last reading that was a little low
        ("start_register_zero+stop_register_frozen", "ocpp1.6", 28125),
        ("stop_register_zero+rolls_back", "ocpp1.6", 46547),
        # no useful stop at a station whose registers are as low as what is counted
        ("session_relative_new", "ocpp2.0.1", 915006),
        ("session_relative_new+stop_register_unreadable", "ocpp2.0.1", 915001),
        ("session_relative_new+stop_register_zero", "ocpp1.6", 915002),
        ("session_relative_new+stop_register_frozen", "ocpp1.6", 915003),
        # another meter whose register is a little higher, in a pause
        ("resets_in_session+meter_swapped", "ocpp1.6", 915001),
        # counted samples that climb past the register of the start; one value after a reset that climbed from 0
        ("session_relative_new+stop_register_frozen", "ocpp1.6", 2383187),
        ("resets_in_session+clock_behind", "ocpp1.6", 2102605),
        # one reading after the other a little low at the end; a stop that is frozen after a fall
        ("stop_register_zero+rolls_back", "ocpp2.0.1", 1019862),
        ("resets_in_session+stop_register_frozen", "ocpp1.6", 1114082),
        # a start that is stamped when it comes
        ("start_register_missing+start_without_time", "ocpp1.6", 1309917),
        # little energy that a slow register shows after a bound of the price
        ("beat_10_min", "ocpp2.0.1", 915011),
        # a register that stuck shortly before the vehicle was full, or in a pause before a short charge
        ("meter_sticks", "ocpp2.0.1", 3915007),
        ("meter_sticks", "ocpp2.0.1", 5129),
        # a stop before it that was two Wh short; a first reading that was a little low
        ("start_register_zero+stop_register_frozen", "ocpp2.0.1", 2314288),
        ("start_register_zero+rolls_back", "ocpp1.6", 2191125),
        # a register that was reset just where it might have run over its last digit
        ("resets_in_session+frozen_begin_last", "ocpp1.6", 2336804),
        ("resets_in_session", "ocpp2.0.1", 7032),
        # this ate all memory
        ("wraps_at_10e8+shares_ids", "ocpp1.6", 3),
        ("retries_new_id+message_ids_restart", "ocpp1.6", 1),
    ],
)
def test_a_pair_of_quirks_is_billed_right_or_not_as_final(pair: str, protocol: Protocol, seed: int) -> None:
    _, tally = score(Task(tuple(pair.split("+")), protocol, seed, LAWS))
    assert tally.sessions == 6
    assert tally.problems == []


@pytest.mark.parametrize(
    ("pair", "protocol", "seed"),
    [
        # what came after the stop told of the clock; a start that states no time tells nothing of it
        ("wall_clock_berlin", "ocpp2.0.1", 783),
        ("start_without_time+clock_set", "ocpp1.6", 42200),
        # readings that come with a stop under an id that two connectors share
        ("end_sample_late+shares_ids", "ocpp1.6", 915002),
        # two readings after each other that are a little low, and the one that catches up
        ("rolls_back", "ocpp1.6", 7042),
        # a coarse register that stands still while power tapers
        ("step_100_wh", "ocpp1.6", 915005),
        # a charge that begins again just before the register is refreshed
        ("beat_15_min", "ocpp1.6", 7013),
    ],
)
def test_a_pair_of_quirks_whose_evidence_proves_the_bill_is_neither_held_nor_estimated(
    pair: str, protocol: Protocol, seed: int
) -> None:
    _, tally = score(Task(tuple(pair.split("+")), protocol, seed, LAWS))
    assert tally.sessions == 6
    assert tally.provable >= 4
    assert tally.unproven == 0
    assert tally.problems == []


def test_a_clock_that_is_ahead_and_starts_that_come_twice_survive_a_restart() -> None:
    _, tally = score(Task(("retries_same_id", "clock_ahead"), "ocpp1.6", 1, ("cut",)))
    assert (tally.sessions, tally.problems) == (6, [])


def test_readings_that_are_stamped_before_1970_are_read() -> None:
    _, tally = score(Task(("wall_clock_new_york", "clock_unset"), "ocpp2.0.1", 198, LAWS))
    assert (tally.sessions, tally.problems) == (6, [])
