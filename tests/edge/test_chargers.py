"""Virtual chargers: the truth stands by itself, quirks compose and never touch it, what is said can be read."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from itertools import combinations, pairwise
from pathlib import Path

import pytest

import pipeline.edge.chargers as chargers
from pipeline.edge.chargers import documents
from pipeline.edge.chargers.fleet import ChargerFleetConfig, frames, truth_line
from pipeline.edge.chargers.quirks import Said, clash, parse_quirks, protocols, say
from pipeline.edge.chargers.registry import INCOMPATIBLE, QUIRKS
from pipeline.edge.chargers.tape import INTERVAL, Protocol
from pipeline.edge.chargers.truth import HOUR, SECOND, ChargingPeriod, Lifetime, StationTruth, draw_station
from pipeline.errors import WrongUsage
from pipeline.wire.meter_events import check
from pipeline.wire.sites import decode_sites
from pipeline.wire.tariffs import decode_tariffs

BEGIN_US = round(datetime(2026, 3, 28, 22, tzinfo=UTC).timestamp()) * SECOND
PROTOCOLS: tuple[Protocol, ...] = ("ocpp1.6", "ocpp2.0.1")
FOLDER = Path(str(chargers.__file__)).parent


def station(index: int = 0, text_ids: bool = False) -> StationTruth:
    return draw_station(1, index, BEGIN_US, text_ids=text_ids)


def said(*names: str, protocol: Protocol = "ocpp1.6", index: int = 0) -> Said:
    return say(station(index, protocol == "ocpp2.0.1"), protocol, names, 1)


def payloads(told: Said, action: str) -> list[dict[str, object]]:
    found = [json.loads(frame.value)["frame"] for frame in frames(told.tape)]
    return [frame[3] for frame in found if frame[0] == 2 and frame[2] == action]


def imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


def test_the_truth_knows_nothing_of_the_pipeline_and_quirks_know_nothing_of_its_rules() -> None:
    assert not {name for name in imported(FOLDER / "truth.py") if name.startswith("pipeline")}
    modules = [file for file in FOLDER.glob("*.py") if file.name != "fleet.py"]  # it only writes clock ticks
    assert len(modules) > 8
    for file in modules:
        assert not {name for name in imported(file) if name.startswith(("pipeline.domain", "pipeline.wire"))}, file
    assert "pipeline.edge.chargers.truth" in imported(FOLDER / "tape.py")


def test_energy_is_the_integral_of_the_power() -> None:
    constant = ChargingPeriod(from_us=0, to_us=HOUR, from_w=11_000, to_w=11_000, activity="charging")
    falling = ChargingPeriod(from_us=0, to_us=HOUR, from_w=10_000, to_w=0, activity="charging")
    assert [constant.energy_mwh(at) for at in (-1, 0, HOUR // 2, HOUR, 2 * HOUR)] == [
        0,
        0,
        5_500_000,
        *[11_000_000] * 2,
    ]
    assert falling.energy_mwh(HOUR // 2) == 3_750_000
    assert falling.energy_mwh(HOUR) == 5_000_000
    assert falling.power_w(HOUR // 4) == 7_500


@pytest.mark.parametrize("index", range(6))
def test_the_truth_adds_up(index: int) -> None:
    made = station(index)
    assert len(made.sessions) == 2
    for sessions in made.sessions:
        lifetime = Lifetime(sessions)
        for session, following in pairwise(sessions):
            assert session.end_us < following.start_us
            assert lifetime.at(following.start_us) == session.lifetime_mwh + session.energy_mwh
        for session in sessions:
            assert sum(mwh for _, mwh in session.quarters()) == session.energy_mwh
            assert session.periods[0].from_us == session.start_us
            assert session.periods[-1].to_us == session.end_us
            assert all(a.to_us == b.from_us for a, b in pairwise(session.periods))
            assert session.charging_us + session.idle_us == session.end_us - session.start_us
            assert max(max(each.from_w, each.to_w) for each in session.periods) <= made.rating_w
            assert session.energy_mwh == 0 or session.energy_mwh >= 2_000_000
            line = json.loads(json.dumps(truth_line(session)))
            assert (line["energy_wh"], line["token"]) == (session.energy_wh, session.token)
            assert sum(mwh for _, mwh in line["slots"]) == line["energy_mwh"]
            assert (line["charging_s"] + line["idle_s"]) * SECOND == session.end_us - session.start_us


def test_no_two_drivers_and_no_two_transactions_are_one() -> None:
    every = list(ChargerFleetConfig(protocol="ocpp1.6", stations=4).truths())
    assert len(every) == 24
    assert len({truth.token for truth in every}) == len({truth.transaction_id for truth in every}) == 24


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_intervals_add_up_to_what_flowed(protocol: Protocol) -> None:
    told = said("intervals_only", "wraps_at_10e8", protocol=protocol)
    for session in told.tape.station.every_session:
        values = [sample.value for call, _, sample in told.tape.samples(INTERVAL) if call.session is session]
        assert len(values) > 1
        assert sum(value for value in values if isinstance(value, int)) == session.energy_wh


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_sound_station_says_what_is_true(protocol: Protocol) -> None:
    told = said(protocol=protocol)
    for session in told.tape.station.every_session:
        registers = [
            call.register_wh for call in told.tape.calls if call.session is session and call.kind in ("start", "stop")
        ]
        assert [type(register) for register in registers] == [int, int]
        assert registers[0] == session.lifetime_mwh // 1000
        assert registers[1] == (session.lifetime_mwh + session.energy_mwh) // 1000
    sent = [json.loads(frame.value) for frame in frames(told.tape)]
    answers = [each["frame"][1] for each in sent if each["direction"] == "csms->cp"]
    calls = [each["frame"][1] for each in sent if each["direction"] == "cp->csms"]
    assert sorted(answers) == sorted(calls)
    assert len(set(calls)) == len(calls)


def test_there_are_many_quirks_and_few_that_do_not_go_together() -> None:
    assert len(QUIRKS) >= 60
    for names, reason in INCOMPATIBLE:
        assert set(names) <= QUIRKS.keys()
        assert len(names) > 1
        assert len(reason) > 10
    pairs = list(combinations(QUIRKS, 2))
    assert 0 < sum(clash(pair) is not None for pair in pairs) * 10 < len(pairs)
    assert all(protocols((name,)) for name in QUIRKS)


@pytest.mark.parametrize("name", QUIRKS)
def test_a_quirk_changes_what_is_said_and_never_what_happened(name: str) -> None:
    """In the frames, in their order, or in the papers; and each frame can be read by the pipeline's own reader."""
    for protocol in QUIRKS[name].protocols:
        changed = False
        for index in range(6):
            if changed:
                break
            plain, quirky = said(protocol=protocol, index=index), said(name, protocol=protocol, index=index)
            assert quirky.tape.station == plain.tape.station == station(index, protocol == "ocpp2.0.1")
            log = frames(quirky.tape)
            assert log == frames(said(name, protocol=protocol, index=index).tape)
            changed |= [frame.value for frame in log] != [frame.value for frame in frames(plain.tape)]
            changed |= quirky.tape.stated_w != plain.tape.stated_w
            for frame in log:
                check(frame.value)
        assert changed, (name, protocol)


@pytest.mark.parametrize(
    ("names", "protocol", "said_of_it"),
    [
        ("step_1_kwh,gremlins", "ocpp1.6", "'gremlins' is no quirk"),
        ("names_driver_late", "ocpp1.6", "is of ocpp2.0.1 only"),
        ("phase_l1_only,phases_beside_total", "ocpp1.6", "a register has one set of phases"),
    ],
)
def test_quirks_that_cannot_be_had_are_refused(names: str, protocol: Protocol, said_of_it: str) -> None:
    with pytest.raises(WrongUsage, match=said_of_it):
        parse_quirks(names, protocol)


def test_quirks_act_in_one_order_whatever_order_they_are_named_in() -> None:
    assert parse_quirks("loses_stop, step_1_kwh", "ocpp1.6") == ("step_1_kwh", "loses_stop")
    assert parse_quirks("none", "ocpp1.6") == ()


def test_registers_follow_their_step_and_beat() -> None:
    told = said("step_100_wh", "beat_15_min")
    meter = told.tape.meters[1]
    session = max(told.tape.station.sessions[0], key=lambda each: each.energy_mwh)
    shown = [meter.shown_wh(at) for at in range(session.start_us, session.end_us, 60 * SECOND)]
    assert all(wh % 100 == 0 for wh in shown)
    moves = sum(a != b for a, b in pairwise(shown))
    assert 0 < moves <= (session.end_us - session.start_us) // (900 * SECOND) + 1
    assert meter.shown_wh(session.end_us) == (session.lifetime_mwh + session.energy_mwh) // 100_000 * 100


def test_a_stuck_meter_and_a_swapped_one_lose_just_what_flowed_meanwhile() -> None:
    told = said("meter_sticks", "resets_between")
    for meter in told.tape.meters.values():
        lost = sum(meter.lifetime.at(until) - meter.lifetime.at(since) for since, until in meter.frozen)
        last = meter.sessions[-1]
        restarted = last.start_us - 90 * SECOND
        since = sum(
            meter.lifetime.at(until) - meter.lifetime.at(began) for began, until in meter.frozen if began > restarted
        )
        assert meter.shown_wh(restarted) == 0
        assert meter.counted(last.end_us) == last.energy_mwh - since
        assert meter.counted(restarted - 1) == meter.lifetime.at(restarted - 1) - (lost - since)


def test_clocks_say_the_wall_time_of_their_zone_before_and_after_a_change() -> None:
    tape = said("wall_clock_berlin").tape
    spring = round(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp()) * SECOND
    assert [tape.stamp(spring - SECOND), tape.stamp(spring)] == ["2026-03-29T01:59:59", "2026-03-29T03:00:00"]
    assert said("clock_ahead").tape.stamp(spring) == "2026-03-29T01:17:00Z"
    starts = payloads(said("start_without_time"), "StartTransaction")
    assert {"timestamp" in start for start in starts} == {True, False}


def test_phases_add_up_to_the_register_that_they_stand_for() -> None:
    both, parts = said("phases_beside_total", "in_kwh"), said("phases_without_total", protocol="ocpp2.0.1")
    for told, with_total in ((both, True), (parts, False)):
        for call in told.tape.of("sample"):
            shown = told.tape.meters[call.connector_id].shown_wh(call.at_us)
            found = {sample.phase: sample.value for sample in call.entries[0].samples if "Energy" in sample.measurand}
            assert found.keys() == ({"", "L1", "L2", "L3"} if with_total else {"L1", "L2", "L3"})
            added = sum(value for phase, value in found.items() if phase and not isinstance(value, str))
            assert added * (1000 if with_total else 1) == shown


def test_a_queue_comes_in_order_once_the_link_is_back() -> None:
    told = said("link_down_readings_kept", protocol="ocpp2.0.1")
    queued = [call for call in told.tape.calls if call.queued]
    assert queued
    assert [call.at_us for call in sorted(queued, key=lambda call: call.sent_us)] == sorted(c.at_us for c in queued)
    assert any(event.get("offline") for event in payloads(told, "TransactionEvent"))


def test_the_documents_of_virtual_chargers_are_read_by_the_pipeline() -> None:
    tapes = [said("over_voltage").tape]
    sites = decode_sites(json.dumps([documents.site(tapes)]).encode(), "sites")
    assert len(sites) == len(decode_tariffs(json.dumps([documents.tariff()]).encode(), "tariffs")) == 1
    assert tapes[0].stated_w * 11 // 10 <= tapes[0].station.rating_w
