"""The simulated fleet: repeatable, in order, physically consistent, and labelled with what it did."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pipeline.domain.events import ClockTicked, MeterRead, SessionEnded, SessionStarted, StationSeen, StatusReported
from pipeline.edge.faults import DELIVERY, HOUR, KINDS, LARGEST_SKEW_US, parse_faults
from pipeline.edge.fleet import CARS, ZONES, fleet, fleet_documents
from pipeline.edge.simulator import FINAL_TICKS_US, Delivery, FleetConfig, Truth, simulate
from pipeline.errors import WrongUsage
from pipeline.wire.meter_events import Canonical, check
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

SMALL = {"stations": 8, "sites": 4, "sessions": 4.0}


def run(faults: str = "none", **changes: object) -> tuple[list[Delivery], list[Truth]]:
    truths: list[Truth] = []
    config = FleetConfig(**{**SMALL, "faults": parse_faults(faults), **changes})  # type: ignore[arg-type]  # a test's own values
    return list(simulate(config, truths.append)), truths


def decoded(records: Iterable[Delivery]) -> list[Canonical]:
    found = [check(value) for _, _, value in records]
    assert all(isinstance(event, Canonical) for event in found)
    return found  # type: ignore[return-value]  # just checked


def digest(records: Iterable[Delivery]) -> str:
    return hashlib.sha256(b"\n".join(value for _, _, value in records)).hexdigest()


def content(records: Iterable[Delivery]) -> set[tuple[object, ...]]:
    """Events without the time of their arrival."""
    return {
        (
            type(event).__name__,
            *(getattr(event, name) for name in event.__struct_fields__ if name != "received_time_us"),
        )
        for event in decoded(records)
        if not isinstance(event, ClockTicked)
    }


def by_session(events: Iterable[object]) -> Mapping[str, list[SessionStarted | MeterRead | SessionEnded]]:
    sessions: dict[str, list[SessionStarted | MeterRead | SessionEnded]] = {}
    for event in events:
        if isinstance(event, SessionStarted | MeterRead | SessionEnded):
            sessions.setdefault(event.transaction_id or "", []).append(event)
    return sessions


def test_the_same_seed_gives_the_same_bytes_and_truth() -> None:
    first, second, other = run("all"), run("all"), run("all", seed=2)
    assert digest(first[0]) == digest(second[0])
    assert first[1] == second[1]
    assert digest(first[0]) != digest(other[0])


def test_the_bytes_do_not_change_unnoticed() -> None:
    """On any machine and Python. A change of the simulator changes this line on purpose."""
    assert digest(run("all")[0]) == "78b8a7392eba3ba36005d20a9ced1bd1d60e5f001ccb9468f92b2236cc7b1eee"


def test_records_come_by_arrival_and_each_after_the_ticks_before_it() -> None:
    records, _ = run("all")
    assert all(before[0] <= after[0] for before, after in pairwise(records))
    tick_us = 0
    for (due_us, key, _), event in zip(records, decoded(records), strict=True):
        if isinstance(event, ClockTicked):
            assert key is None
            tick_us = event.time_us
        else:
            assert key == event.station_id.encode()
            assert event.received_time_us == due_us
            assert tick_us <= due_us < tick_us + 60_000_000 or tick_us == 0
        assert event.clock == "sim-1"


def test_time_goes_on_until_a_day_of_silence_has_passed_also_for_a_fast_clock() -> None:
    records, _ = run("all")
    last_us = max(due_us for due_us, key, _ in records if key is not None)
    assert records[-1][0] >= last_us + 24 * HOUR + LARGEST_SKEW_US
    assert FINAL_TICKS_US > 24 * HOUR + LARGEST_SKEW_US


def test_without_faults_the_registers_prove_the_true_energy_and_are_continuous() -> None:
    records, truths = run()
    sessions = by_session(decoded(records))
    assert len(sessions) == len(truths) > 30
    last_register: dict[tuple[str, int], int] = {}
    for truth in sorted(truths, key=lambda truth: truth.start_us):
        start, *readings, stop = sessions[truth.transaction_id]
        assert isinstance(start, SessionStarted)
        assert isinstance(stop, SessionEnded)
        registers = [event.register_wh or 0 for event in (start, *readings, stop)]
        assert registers == sorted(registers)
        assert registers[-1] - registers[0] == truth.energy_wh
        assert (start.event_time_us, stop.event_time_us) == (truth.start_us, truth.end_us)
        place = (truth.station_id, truth.connector_id)
        assert last_register.get(place, registers[0]) == registers[0]
        last_register[place] = registers[-1]
        assert truth.kinds == truth.changed == ()


def test_power_stays_below_connector_and_car_and_the_energy_is_its_integral() -> None:
    records, _ = run()
    limit_w = {
        (station.station_id, each.connector_id): each.max_power_w
        for site in fleet(1, 8, 4)
        for station in site.stations
        for each in station.connectors
    }
    strongest_w = max(car.dc_w for _, car in CARS)
    for events in by_session(decoded(records)).values():
        readings = [event for event in events if isinstance(event, MeterRead)]
        for before, after in pairwise(readings):
            assert after.power_w is not None
            assert after.power_w <= min(limit_w[after.station_id, after.connector_id or 0], strongest_w)
            seconds = (after.event_time_us - before.event_time_us) / 1e6
            step_wh = (after.register_wh or 0) - (before.register_wh or 0)
            if after.state == "charging":
                assert abs(step_wh - after.power_w * seconds / 3600) <= 1
            elif before.state == after.state:
                assert step_wh == after.power_w == 0


def test_dc_power_falls_towards_the_end_of_a_charge() -> None:
    records, truths = run()
    fast = {truth.transaction_id for truth in truths if truth.power_type == "DC"}
    tapering = 0
    for name, events in by_session(decoded(records)).items():
        powers = [event.power_w or 0 for event in events if isinstance(event, MeterRead) and event.state == "charging"]
        assert powers == sorted(powers, reverse=True)
        tapering += name in fast and bool(powers) and powers[-1] < powers[0]
    assert tapering > len(fast) / 2


def test_readings_come_at_the_pace_of_their_station() -> None:
    records, _ = run()
    pace = {station.station_id: station.interval_s for site in fleet(1, 8, 4) for station in site.stations}
    assert all(10 <= seconds <= 60 for seconds in pace.values())
    for events in by_session(decoded(records)).values():
        steps = {(b.event_time_us - a.event_time_us) // 1_000_000 for a, b in pairwise(events[:-1])}
        assert steps <= {pace[events[0].station_id]}


def test_every_second_station_numbers_its_events_without_a_gap() -> None:
    records, _ = run()
    numbered = {
        event.station_id for event in decoded(records) if isinstance(event, MeterRead) and event.seq_no is not None
    }
    assert len(numbered) == SMALL["stations"] / 2
    for events in by_session(decoded(records)).values():
        expected: list[int | None] = [*range(len(events))] if events[0].station_id in numbered else [None] * len(events)
        assert [event.seq_no for event in events] == expected


def test_cars_come_by_local_day_and_not_by_night() -> None:
    _, truths = run(stations=40, days=3)
    zone = {site.site_id: ZoneInfo(site.time_zone) for site in fleet(1, 40, 4)}
    hours = Counter(datetime.fromtimestamp(each.start_us / 1e6, zone[each.site_id]).hour for each in truths)
    night, day = sum(hours[hour] for hour in range(5)), sum(hours[hour] for hour in range(14, 19))
    assert day > 5 * night > 0


def test_zones_and_power_types_are_mixed() -> None:
    sites = fleet(1, 40, 4)
    assert {site.time_zone for site in sites} == {zone for zone, *_ in ZONES}
    for site in sites:
        assert {each.power_type for station in site.stations for each in station.connectors} == {"AC", "DC"}
    offsets = {
        datetime(2026, month, 1, tzinfo=UTC).astimezone(ZoneInfo(site.time_zone)).utcoffset()
        for site in sites
        for month in (1, 7)
    }
    assert len(offsets) > len(sites)  # some change their clocks, some do not


def test_the_documents_are_what_the_pipeline_reads() -> None:
    sites, tariffs = fleet_documents(7, 20, 4)
    assert (sites, tariffs) == fleet_documents(7, 20, 4)
    read = decode_sites(json.dumps(sites).encode(), "sites.json")
    assert sum(len(site.stations) for site in read) == 20
    known = decode_tariffs(json.dumps(tariffs).encode(), "tariffs.json")
    assert {tariff.id for tariff in known} == {name for site in read for name in site.tariff_ids}


def test_delivery_faults_change_no_content() -> None:
    clean, disturbed = run()[0], run("duplicates=0.5,late=0.3,out_of_order=0.5")[0]
    assert content(clean) == content(disturbed)
    assert len(disturbed) > len(clean)


def test_a_repeated_event_is_the_same_but_for_its_arrival() -> None:
    records, _ = run("duplicates=1")
    counts = Counter(
        (key, value.replace(f'"received_time_us":{due_us}'.encode(), b"")) for due_us, key, value in records if key
    )
    assert set(counts.values()) == {1, 2}


def test_late_events_come_in_order_and_hours_after_they_happened() -> None:
    records, truths = run("late=1")
    events = [event for event in decoded(records) if isinstance(event, MeterRead)]
    assert max(event.received_time_us - event.event_time_us for event in events) > HOUR
    for group in by_session(events).values():
        assert [event.event_time_us for event in group] == sorted(event.event_time_us for event in group)
    assert all(truth.kinds == ("late",) for truth in truths)


def test_out_of_order_events_are_overtaken_by_ten_minutes_at_most() -> None:
    records, _ = run("out_of_order=1")
    events = [event for event in decoded(records) if isinstance(event, MeterRead)]
    overtaken = sum(
        a.event_time_us > b.event_time_us for group in by_session(events).values() for a, b in pairwise(group)
    )
    assert overtaken > 100
    assert max(event.received_time_us - event.event_time_us for event in events) < 11 * 60_000_000


def first(faults: str, **changes: object) -> tuple[Truth, list[SessionStarted | MeterRead | SessionEnded]]:
    """The first session that got the fault, and what was sent of it."""
    records, truths = run(faults, **changes)
    kind = faults.partition("=")[0]
    truth = next(truth for truth in truths if kind in truth.kinds)
    return truth, by_session(decoded(records))[truth.transaction_id]


def register(event: SessionStarted | MeterRead | SessionEnded) -> int:
    assert event.register_wh is not None
    return event.register_wh


def test_a_missing_start_is_not_sent() -> None:
    assert not any(isinstance(event, SessionStarted) for event in decoded(run("missing_start=1")[0]))


def test_a_missing_stop_is_not_sent_and_the_final_status_only_sometimes() -> None:
    records, truths = run("missing_stop=1")
    events = decoded(records)
    assert not any(isinstance(event, SessionEnded) for event in events)
    free = sum(isinstance(event, StatusReported) and event.status == "Available" for event in events)
    assert 0.2 * len(truths) < free < 0.8 * len(truths)


def test_what_leaves_the_evidence_whole() -> None:
    assert {name for name, kind in KINDS.items() if not kind.damages} == {
        "zero_energy_abort", "overstay", "duplicates", "late", "out_of_order",
    }  # fmt: skip


def test_a_stuck_meter_stands_still_while_power_flows() -> None:
    truth, events = first("stuck_meter=1")
    flat = [e for e in events if isinstance(e, MeterRead) and e.register_wh == events[-1].register_wh and e.power_w]
    assert flat[-1].event_time_us - flat[0].event_time_us >= 14 * 60_000_000
    assert register(events[-1]) - register(events[0]) < truth.energy_wh


def test_a_jump_is_more_than_the_connector_can_deliver() -> None:
    truth, events = first("meter_jump=1")
    hours = (truth.end_us - truth.start_us) / HOUR
    limit_w = max(
        each.max_power_w
        for s in fleet(1, 8, 4)
        for x in s.stations
        if x.station_id == truth.station_id
        for each in x.connectors
    )
    assert register(events[-1]) - register(events[0]) - truth.energy_wh > 1.1 * limit_w * hours


def test_a_reset_register_falls_to_zero_and_counts_on() -> None:
    _, events = first("meter_reset=1")
    registers = [register(event) for event in events]
    drop = next(place for place, (a, b) in enumerate(pairwise(registers)) if b < a)
    assert registers[drop + 1] == 0
    assert registers[drop + 1 :] == sorted(registers[drop + 1 :])


def test_the_next_session_begins_where_the_register_stands() -> None:
    for kind in ("stuck_meter", "meter_jump", "meter_reset", "negative_energy"):
        records, truths = run(f"{kind}=0.4")
        sessions = by_session(decoded(records))
        shown: dict[tuple[str, int], int] = {}
        for truth in sorted(truths, key=lambda truth: truth.start_us):
            events = sessions[truth.transaction_id]
            place = (truth.station_id, truth.connector_id)
            assert register(events[0]) == shown.get(place, register(events[0])), kind
            shown[place] = register(events[-2 if kind == "negative_energy" and truth.kinds else -1])
            if kind == "negative_energy" and truth.kinds:
                del shown[place]  # the last reading is not yet the end


def test_a_negative_session_stops_below_its_start() -> None:
    _, events = first("negative_energy=1")
    assert register(events[-1]) < register(events[0])


def test_a_skewed_clock_shifts_what_the_station_says_and_not_what_is_received() -> None:
    truth, events = first("clock_skew=1")
    skew_us = events[0].event_time_us - truth.start_us
    assert 10 * 60_000_000 <= abs(skew_us) <= LARGEST_SKEW_US
    assert events[-1].event_time_us - truth.end_us == skew_us
    assert all(abs(event.received_time_us - event.event_time_us + skew_us) < 1_000_000 for event in events)


def test_a_wrong_clock_is_never_mixed_with_an_outage_that_would_hide_it() -> None:
    truths = run("clock_skew=0.5,late=0.5", days=3)[1]
    skewed = [truth for truth in truths if "clock_skew" in truth.kinds]
    assert len(skewed) > 20
    offline = [t for truth in truths if "late" in truth.kinds for t in truth.changed]
    assert offline
    assert not any("late" in truth.kinds for truth in skewed)


def test_an_abort_has_no_energy_and_an_overstay_no_energy_for_hours() -> None:
    truth, events = first("zero_energy_abort=1")
    assert truth.energy_wh == register(events[-1]) - register(events[0]) == 0
    assert truth.end_us - truth.start_us < 60_000_000
    truth, events = first("overstay=1")
    assert truth.end_us - truth.charge_end_us >= 3 * HOUR


def test_an_offline_gap_loses_readings_and_no_energy() -> None:
    truth, events = first("offline_gap=1")
    longest = max(b.event_time_us - a.event_time_us for a, b in pairwise(events))
    assert longest >= 10 * 60_000_000
    assert register(events[-1]) - register(events[0]) == truth.energy_wh


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_switched_alone_and_is_labelled(kind: str) -> None:
    _, truths = run(f"{kind}=1")
    labelled = [truth for truth in truths if truth.kinds]
    assert labelled
    assert {truth.kinds for truth in labelled} == {(kind,)}
    assert all(truth.changed and truth.evidence_damaged == KINDS[kind].damages for truth in labelled)


def test_all_kinds_occur_at_about_their_rate() -> None:
    _, truths = run("all", stations=300)
    counts = Counter(kind for truth in truths for kind in truth.kinds)
    assert counts.keys() == KINDS.keys()
    assert all(len(set(truth.kinds) - set(DELIVERY)) <= 1 for truth in truths)
    for kind in DELIVERY:
        assert counts[kind] / len(truths) == pytest.approx(KINDS[kind].rate, rel=0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lost", "'lost'"),
        ("late=x", "'late=x'"),
        ("late=2", "from 0 to 1"),
        ("overstay=0.6,missing_stop=0.6", "more than 1"),
    ],
)
def test_a_bad_mix_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(WrongUsage, match=said):
        parse_faults(text)


def test_the_truth_holds_no_token() -> None:
    records, truths = run("all")
    tokens = {event.token for event in decoded(records) if isinstance(event, SessionStarted) and event.token}
    assert len(tokens) > 10
    assert not any(token in str(truth) for token in tokens for truth in truths)


def test_stations_show_signs_of_life_and_states() -> None:
    events = decoded(run()[0])
    seen = {event.station_id for event in events if isinstance(event, StationSeen)}
    assert len(seen) == SMALL["stations"]
    words = {event.status for event in events if isinstance(event, StatusReported)}
    assert words == {"Preparing", "Charging", "SuspendedEV", "Finishing", "Available"}
