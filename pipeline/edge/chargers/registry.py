"""All quirks by name, in the order in which they act: meters first, then samples, messages, names, clocks and links.

A quirk changes how a station measures, stamps, names or delivers, never what happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from pipeline.edge.chargers import identity, meters, samples, timing
from pipeline.edge.chargers.quirk import NEW, OLD, Fact, Quirk, without
from pipeline.edge.chargers.truth import HOUR, MINUTE

NO_ENERGY = without("energy")
COARSE = without("fine")
UNLINKED = without("linked")
READ: frozenset[Fact] = frozenset(("readings", "power"))
"""What says that a state or a register cannot be right."""

QUIRKS: Mapping[str, Quirk] = {
    "step_10_wh": Quirk(
        meaning="registers in steps of 10 Wh", prepare=partial(meters.resolution, step_wh=10)),
    "step_100_wh": Quirk(
        meaning="registers in steps of 100 Wh", prepare=partial(meters.resolution, step_wh=100), proves=COARSE),
    "step_1_kwh": Quirk(
        meaning="registers in steps of 1 kWh", prepare=partial(meters.resolution, step_wh=1000), proves=COARSE),
    "beat_10_min": Quirk(
        meaning="the register is refreshed every 10 minutes", prepare=partial(meters.refresh, every_us=10 * MINUTE),
        proves=COARSE),
    "beat_15_min": Quirk(
        meaning="the register is refreshed every 15 minutes", prepare=partial(meters.refresh, every_us=15 * MINUTE),
        proves=COARSE),
    "beat_60_min": Quirk(
        meaning="the register is refreshed once in an hour", prepare=partial(meters.refresh, every_us=HOUR),
        proves=COARSE),
    "meter_sticks": Quirk(
        meaning="the register stands still although power flows", prepare=meters.sticks,
        proves=NO_ENERGY, betrayed_by={"energy": frozenset({"power"})}),
    "wraps_at_10e8": Quirk(
        meaning="the register wraps at 10^8 Wh in a session", prepare=partial(meters.wraps, modulus_wh=10**8),
        proves=NO_ENERGY),
    "wraps_at_2e32": Quirk(
        meaning="the register wraps at 2^32 Wh in a session", prepare=partial(meters.wraps, modulus_wh=2**32),
        proves=NO_ENERGY),
    "wraps_unseen": Quirk(
        meaning="the register wraps at 10^8 Wh in a session without readings",
        prepare=partial(meters.wraps, modulus_wh=10**8), act=samples.none_of_fallen,
        proves=without("energy", "readings", "power", "linked")),
    "resets_in_session": Quirk(
        meaning="the register falls to 0 in a session", prepare=partial(meters.restarts, from_wh=0), proves=NO_ENERGY),
    "meter_swapped": Quirk(
        meaning="another meter, with a lower register, goes on in a session",
        prepare=partial(meters.restarts, from_wh=87_650), proves=NO_ENERGY),
    "resets_between": Quirk(
        meaning="the register falls to 0 between two sessions", prepare=meters.restarts_between),
    "over_voltage": Quirk(
        meaning="253 V: 10 % more power than the rating names", prepare=meters.over_voltage),
    "session_relative_new": Quirk(
        meaning="readings count from the session's start, at a new station whose registers are low themselves",
        prepare=meters.begins_low, act=samples.session_relative),
    # registers of start and stop
    "start_register_zero": Quirk(
        meaning="the start says register 0", act=partial(samples.start_register, value=0), proves=NO_ENERGY),
    "start_register_missing": Quirk(
        meaning="the start says no register", act=partial(samples.start_register, value=None), proves=NO_ENERGY),
    "stop_register_missing": Quirk(
        meaning="the stop (2.0.1: the Ended) says no register", act=partial(samples.stop_register, value=None),
        proves=NO_ENERGY),
    "stop_register_unreadable": Quirk(
        meaning="the stop's register is no number", act=partial(samples.stop_register, value="NaN"), proves=NO_ENERGY),
    "stop_register_zero": Quirk(
        meaning="the stop says register 0", act=partial(samples.stop_register, value=0), proves=NO_ENERGY),
    "stop_register_frozen": Quirk(
        meaning="the stop repeats the register of the start", act=samples.stop_register_frozen,
        proves=NO_ENERGY, betrayed_by={"energy": READ}),
    "stop_below_start": Quirk(
        meaning="a session without energy stops 1 Wh below its start", act=samples.stop_below_start),
    # samples
    "no_power": Quirk(
        meaning="registers without power", act=samples.no_power, proves=without("power")),
    "no_samples": Quirk(
        meaning="start and stop, no readings", act=samples.none, proves=without("readings", "power", "linked")),
    "drops_to_zero": Quirk(
        meaning="a few readings are 0", act=samples.drops_to_zero),
    "rolls_back": Quirk(
        meaning="a few readings are some Wh too low", act=samples.rolls_back),
    "session_relative": Quirk(
        meaning="readings count from the session's start", act=samples.session_relative),
    "standby_draw": Quirk(
        meaning="15 W of its own while the car asks for nothing", act=samples.standby_draw),
    "clock_context": Quirk(
        meaning="readings by the clock", act=partial(samples.context, word="Sample.Clock")),
    "trigger_context": Quirk(
        meaning="readings that were asked for", act=partial(samples.context, word="Trigger")),
    "intervals_only": Quirk(
        meaning="readings say the energy of each interval, no register", act=samples.intervals_only),
    "power_only": Quirk(
        meaning="readings say power, only start and stop say a register", act=samples.power_only,
        protocols=OLD, proves=without("readings")),
    "power_only_201": Quirk(
        meaning="power and no register at all", act=samples.power_only,
        protocols=NEW, proves=without("readings", "energy")),
    "many_measurands": Quirk(
        meaning="energy amid entries of other measurands", act=samples.many_measurands),
    "overlapping_batches": Quirk(
        meaning="each frame repeats the two readings before it", act=samples.overlapping_batches),
    "rounded_repeats": Quirk(
        meaning="transactionData repeats the readings in kWh with two decimals", act=samples.rounded_repeats,
        protocols=OLD),
    "end_sample_late": Quirk(
        meaning="a reading of the end 1 or 2 ms after the stop", act=samples.end_sample_after_stop, protocols=OLD),
    "in_kwh": Quirk(
        meaning="readings in kWh with three decimals", act=samples.in_kwh),
    "frozen_begin_first": Quirk(
        meaning="the start's register before each periodic one", act=partial(samples.frozen_begin, first=True)),
    "frozen_begin_last": Quirk(
        meaning="the start's register after each periodic one", act=partial(samples.frozen_begin, first=False)),
    "phase_l1_only": Quirk(
        meaning="the only register is marked L1", act=samples.phase_l1_only,
        leans={"energy": ("power",)}),
    "phases_without_total": Quirk(
        meaning="registers of L1, L2 and L3, no total", act=partial(samples.three_phases, with_total=False)),
    "phases_beside_total": Quirk(
        meaning="registers of L1, L2 and L3 beside the total", act=partial(samples.three_phases, with_total=True)),
    "neutral_and_lines": Quirk(
        meaning="registers of N and L1-L2 beside what counts", act=samples.neutral_and_lines),
    "inlet_beside_outlet": Quirk(
        meaning="a register at the inlet beside that at the outlet", act=samples.inlet_beside_outlet),
    # messages
    "loses_start": Quirk(
        meaning="the start is lost", act=partial(identity.loses, kind="start"),
        proves=without("energy", "idle", "times", "driver")),
    "loses_stop": Quirk(
        meaning="the stop is lost", act=partial(identity.loses, kind="stop"),
        proves=without("energy", "idle", "times")),
    "loses_charging": Quirk(
        meaning="no status Charging; the register rises", act=partial(identity.loses_state, word="Charging"),
        leans={"idle": ("readings", "fine")}, betrayed_by={"idle": READ}),
    "loses_suspended": Quirk(
        meaning="no status SuspendedEV", act=partial(identity.loses_state, word="SuspendedEV"),
        proves=without("idle"), betrayed_by={"idle": READ}),
    "loses_available": Quirk(
        meaning="no status Available", act=partial(identity.loses_status, word="Available")),
    "repeats_statuses": Quirk(
        meaning="old statuses come again after a reconnect", act=identity.repeats_statuses),
    "suspended_before_start": Quirk(
        meaning="SuspendedEV of the car before, no Charging afterwards", act=identity.suspended_before_start,
        protocols=OLD, leans={"idle": ("readings", "fine")}, betrayed_by={"idle": READ}),
    "drops_updates": Quirk(
        meaning="gaps in seqNo: Updated events are left out", act=identity.drops_updates,
        protocols=NEW, proves=NO_ENERGY),
    "names_driver_late": Quirk(
        meaning="idToken, EVSE and first register come with an Updated", act=identity.names_driver_late,
        protocols=NEW, leans={"driver": ("linked",), "energy": ("linked",)}),
    "start_without_time": Quirk(
        meaning="the start has no timestamp", act=identity.unstamped_start, protocols=OLD,
        leans={"times": ("live",)}, betrayed_by={"times": frozenset({"live"})}),
    "boots_in_session": Quirk(
        meaning="the station restarts in a session that goes on", act=identity.boots_in_session),
    # names
    "stopped_by_another": Quirk(
        meaning="another tag stops the session", act=identity.stopped_by_another),
    "reading_ids_missing": Quirk(
        meaning="readings name no transaction (2.0.1: MeterValues)", act=partial(identity.reading_ids, name=None),
        proves=UNLINKED),
    "reading_ids_minus_1": Quirk(
        meaning="readings name -1", act=partial(identity.reading_ids, name="-1"), protocols=OLD, proves=UNLINKED),
    "reading_ids_zero": Quirk(
        meaning="readings name 0", act=partial(identity.reading_ids, name="0"), protocols=OLD, proves=UNLINKED),
    "reading_ids_minus_16": Quirk(
        meaning="readings name -16", act=partial(identity.reading_ids, name="-16"), protocols=OLD, proves=UNLINKED),
    "reading_ids_too_large": Quirk(
        meaning="readings name a number beyond 2^31", act=partial(identity.reading_ids, name=str(2**31 + 5)),
        protocols=OLD, proves=UNLINKED),
    "answers_not_logged": Quirk(
        meaning="nothing that the central system says is in the log", act=identity.answers_not_logged,
        protocols=OLD, leans={"energy": ("linked",), "times": ("linked",), "driver": ("linked",)}),
    "loses_start_answer": Quirk(
        meaning="the start stays unanswered: readings and stop name -1", act=identity.loses_start_answer,
        protocols=OLD),
    "shares_ids": Quirk(
        meaning="two connectors have one transaction id", act=identity.shares_ids, protocols=OLD),
    "doubles_start": Quirk(
        meaning="one charge under two transactions", act=identity.doubles_start,
        proves=without("energy", "times", "driver")),
    "retries_same_id": Quirk(
        meaning="starts and stops come twice, with the same message id", act=partial(identity.retries, same_id=True)),
    "retries_new_id": Quirk(
        meaning="starts and stops come twice, with another message id", act=partial(identity.retries, same_id=False)),
    # clocks and links
    "wall_clock_berlin": Quirk(
        meaning="Berlin's wall clock, without saying so", act=partial(timing.wall_clock, zone="Europe/Berlin"),
        leans={"times": ("live",)}),
    "wall_clock_new_york": Quirk(
        meaning="New York's wall clock, without saying so", act=partial(timing.wall_clock, zone="America/New_York"),
        leans={"times": ("live",)}),
    "wall_clock_kolkata": Quirk(
        meaning="Kolkata's wall clock, without saying so", act=partial(timing.wall_clock, zone="Asia/Kolkata"),
        leans={"times": ("live",)}),
    "clock_ahead": Quirk(
        meaning="the clock is 17 minutes ahead", act=partial(timing.clock_off, by_us=17 * MINUTE),
        leans={"times": ("live",)}),
    "clock_behind": Quirk(
        meaning="the clock is 43 minutes behind", act=partial(timing.clock_off, by_us=-43 * MINUTE),
        leans={"times": ("live",)}),
    "clock_unset": Quirk(
        meaning="the clock counts from 1970 on", act=timing.clock_unset, leans={"times": ("live",)}),
    "zone_named": Quirk(
        meaning="Kolkata's wall clock with its offset, as is legal", act=timing.zone_named),
    "clock_set": Quirk(
        meaning="the clock is set right by 25 minutes in a session", act=partial(timing.clock_set, by_us=-25 * MINUTE),
        leans={"times": ("live",), "energy": ("live",), "idle": ("live",)}),
    "one_late": Quirk(
        meaning="one message of a session arrives ten minutes late", act=timing.one_late),
    "link_down_readings_kept": Quirk(
        meaning="the link is down for 25 minutes, then all is sent in order",
        act=partial(timing.link_down, keep_readings=True), proves=without("idle", "live")),
    "link_down_readings_lost": Quirk(
        meaning="the same, and readings are lost", act=partial(timing.link_down, keep_readings=False),
        protocols=OLD, proves=without("idle", "readings", "power", "live")),
    "link_down_updates_lost": Quirk(
        meaning="the same, and Updated events with readings are lost",
        act=partial(timing.link_down, keep_readings=False), protocols=NEW,
        proves=without("energy", "idle", "readings", "power", "live")),
    "message_ids_restart": Quirk(
        meaning="message ids start again after each boot", act=identity.restarts_message_ids),
    "frames_doubled": Quirk(
        meaning="each frame arrives twice", act=timing.doubled),
    "frames_shuffled": Quirk(
        meaning="frames arrive up to ten minutes later, in any order", act=timing.shuffled),
}  # fmt: skip

INCOMPATIBLE: Sequence[tuple[tuple[str, ...], str]] = (
    (
        (
            "reading_ids_missing",
            "reading_ids_minus_1",
            "reading_ids_zero",
            "reading_ids_minus_16",
            "reading_ids_too_large",
        ),
        "a reading names one transaction",
    ),
    (
        ("stop_register_missing", "stop_register_unreadable", "stop_register_zero", "stop_register_frozen"),
        "a stop has one register",
    ),
    (("start_register_zero", "start_register_missing"), "a start has one register"),
    (("wraps_at_10e8", "wraps_at_2e32", "wraps_unseen"), "a register has one end"),
    (("start_register_zero", "session_relative_new"), "a register of 0 may well be true at a new station"),
    (("wraps_at_10e8", "session_relative_new"), "a register at its end is not new"),
    (("wraps_at_2e32", "session_relative_new"), "a register at its end is not new"),
    (("wraps_unseen", "session_relative_new"), "a register at its end is not new"),
    (("wall_clock_berlin", "wall_clock_new_york", "wall_clock_kolkata", "zone_named"), "a station stands in one zone"),
    (("session_relative", "session_relative_new"), "the second is the first, elsewhere"),
    (("phase_l1_only", "phases_without_total", "phases_beside_total"), "a register has one set of phases"),
    (("clock_context", "trigger_context"), "a reading has one context"),
    (("intervals_only", "power_only", "power_only_201"), "each leaves out what the other keeps"),
    (("link_down_readings_kept", "link_down_readings_lost", "link_down_updates_lost"), "a link is down once"),
    (("boots_in_session", "message_ids_restart"), "ids that start again in a session may be those of its own start"),
    (("clock_unset", "clock_ahead", "clock_behind", "clock_set"), "a clock that was never set is not off by minutes"),
    (("stopped_by_another", "shares_ids"), "the tag of the stop is what tells the two apart"),
    (("stopped_by_another", "loses_start_answer"), "the tag of the stop is what finds its start"),
    (("frames_shuffled", "message_ids_restart"), "whose answer it is follows from the order alone"),
    (("loses_start", "loses_start_answer"), "a start that is lost waits for no answer"),
    (("loses_start", "names_driver_late"), "what the start leaves out comes later, so nothing is lost"),
)
"""Any two of one line cannot be had together, for the reason given; neither can two of different protocols."""
