"""The scored runs in small: every kind of fault and every quirk against the truth, and scorers that can say no."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from pipeline.domain.outputs import StrippedSession
from pipeline.edge.chargers.registry import QUIRKS
from pipeline.edge.chargers.truth import HOUR, MINUTE, ChargingPeriod, ChargingTruth
from pipeline.edge.faults import DELIVERY, KINDS
from tests.scored import oracle, quirk_run
from tests.scored.fleets import Emitted, Scored, fleet_config, run
from tests.scored.quirk_score import Bounds, Tally, complaints, judge, out_of_bounds, seen
from tests.scored.quirks import LAWS, Run, assemble, broken_laws, facts, pseudonym, station_said
from tests.scored.score import EXPLAINS, Verdict, contradiction

pytestmark = pytest.mark.verify

DENSE = ",".join(f"{kind}={'0.1' if kind in DELIVERY else '0.07'}" for kind in KINDS)
"""Every kind often enough that 1,500 sessions hold dozens of each."""


@pytest.fixture(scope="module")
def scored() -> Scored:
    return run(fleet_config(1, DENSE, days=10))


def judged(scored: Scored) -> Verdict:
    verdict = Verdict()
    verdict.add(scored)
    return verdict


def test_every_fault_is_explained_and_nothing_else_suffers(scored: Scored) -> None:
    verdict = judged(scored)
    assert verdict.violations == []
    assert verdict.sessions > 1400
    assert verdict.connectors > 50
    assert 400 < verdict.whole < verdict.sessions
    for kind, finds in verdict.kinds.items():
        assert finds.sessions > 30, kind
        assert (finds.recall, finds.precision) == ((1.0, 1.0) if kind in EXPLAINS else (None, None)), kind


def test_the_faults_that_leave_no_trace_are_those_that_damage_nothing() -> None:
    assert {kind for kind in KINDS if KINDS[kind].damages} <= EXPLAINS.keys()
    assert EXPLAINS.keys() <= KINDS.keys()


@pytest.mark.parametrize(
    ("kinds", "change", "said"),
    [
        (("offline_gap",), {"quality": ()}, "no code tells of offline_gap"),
        ((), {"quality": ("GAP",)}, "nothing explains ['GAP']"),
        (("duplicates",), {"quality": ("GAP",)}, "nothing explains ['GAP']"),
        ((), {"energy_wh": 1}, "emitted (1,"),
        (("late",), {"ended_at_us": 1}, "emitted ("),
        (("meter_jump",), {"quality": ("IMPOSSIBLE_ENERGY",), "energy_wh": 1}, "1 Wh passed as complete"),
        (("clock_skew",), {"quality": ("CLOCK_SHIFTED",), "ended_at_us": 1}, "at 1, true is"),
    ],
)
def test_the_scorer_objects(scored: Scored, kinds: tuple[str, ...], change: dict[str, object], said: str) -> None:
    name, truth = next((name, truth) for name, truth in scored.truths.items() if truth.kinds == kinds)
    good = scored.emitted[name]
    assert contradiction(truth, good) == ""
    bad: Emitted = replace(good, **{"evidence": "complete", **change})  # type: ignore[arg-type]  # fields of Emitted
    assert contradiction(truth, bad).startswith(said)


def test_a_session_that_is_lost_invented_or_doubled_and_a_ledger_that_is_off_are_violations(scored: Scored) -> None:
    names = list(scored.emitted)
    emitted = {"invented": scored.emitted[names[0]], **{name: scored.emitted[name] for name in names[1:]}}
    violations = judged(replace(scored, emitted=emitted, unbalanced=["off"], doubled=["twice"])).violations
    assert len(violations) == 4
    assert [text.split(": ", 1)[1] for text in violations[:3]] == [
        "off",
        "twice: two sessions",
        "invented: never happened",
    ]
    assert "no session" in violations[3]


# --- virtual chargers with quirks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound() -> Run:
    """A station without quirks."""
    return assemble(station_said((), "ocpp1.6", 1))


def test_a_sound_station_is_exact_in_both_protocols_and_in_any_form(sound: Run) -> None:
    for made in (sound, assemble(station_said((), "ocpp2.0.1", 2))):
        outcomes, general = judge(made)
        assert general == []
        assert [(outcome.kind, outcome.provable, outcome.problems) for outcome in outcomes] == [("exact", True, [])] * 6
        assert list(broken_laws(made.said, made)) == []


@pytest.mark.parametrize("name", QUIRKS)
def test_each_quirk_goes_through_the_assembly_and_gets_a_verdict(name: str) -> None:
    for protocol in QUIRKS[name].protocols:
        task, tally = quirk_run.score(quirk_run.Task((name,), protocol, 3, ()))
        assert task.names == (name,)
        assert tally.sessions == sum(tally.kinds.values()) == 6
        assert tally.kinds.keys() <= {"exact", "estimated", "held", "wrong"}
        assert tally.unproven <= tally.provable <= 6
        assert (tally.kinds["wrong"] == 0) or tally.problems


def one(made: Run) -> tuple[ChargingTruth, StrippedSession]:
    """A session that charged, idled and was billed."""
    truths = {truth.transaction_id: truth for truth in made.said.tape.station.every_session}
    return next(
        (truths[name], record) for name, record in made.records if truths[name].idle_us and truths[name].energy_mwh
    )


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        ({}, ""),
        ({"energy_wh": 1}, "1 Wh, true are"),
        ({"energy_wh": None}, "None Wh, true are"),
        ({"idle_s": 0}, "0 s idle, true are"),
        ({"driver": "A" * 26}, "the driver is another one"),
        ({"started_at_us": None}, "start unknown"),
        ({"ended_at_us": 0}, "end off by"),
        ({"total_excl_vat": "99.0000"}, "costs 99.0000"),
    ],
)
def test_the_scorer_of_quirks_objects(sound: Run, change: dict[str, object], objection: str) -> None:
    truth, record = one(sound)
    changed = msgspec.structs.replace(record, **change)
    found = list(complaints(truth, changed, seen(sound.said, truth), pseudonym(truth, "ocpp1.6")))
    assert len(found) == bool(objection)
    assert all(text.startswith(objection) for text in found)


@pytest.mark.parametrize(
    ("below", "above", "unobserved_s", "objection"),
    [
        (10, 10, 60, ""),
        (0, 0, 0, ""),
        (-20, 30, 60, "true are"),
        (30, -20, 60, "true are"),
        (100, 100, 1, "are wide for 1 s"),
    ],
)
def test_bounds_that_leave_out_the_truth_or_are_wide_for_nothing_are_violations(
    sound: Run, below: int, above: int, unobserved_s: int, objection: str
) -> None:
    truth, _ = one(sound)
    bounds = Bounds(truth.energy_wh - below, truth.energy_wh + above, unobserved_s)
    found = list(out_of_bounds(truth, bounds, seen(sound.said, truth), 22_000))
    assert len(found) == bool(objection)
    assert all(objection in text for text in found)
    assert list(out_of_bounds(truth, Bounds(None, None), seen(sound.said, truth), 22_000)) == ["no bounds"]


def test_what_is_lost_billed_twice_overlaps_or_does_not_add_up_is_a_violation(sound: Run) -> None:
    name, record = sound.records[0]
    longer = msgspec.structs.replace(record, duration_s=record.duration_s + 1)
    doubled = replace(sound, records=[*sound.records, (name, record)], unbalanced=["off"])
    outcomes, general = judge(doubled)
    assert [text.split(": ")[-1].split(" ")[0] for text in general] == ["off", "two"]
    billed_twice = [outcome.problems for outcome in outcomes if outcome.problems]
    assert len(billed_twice) == 1
    assert "billed in 2 sessions" in billed_twice[0][0]
    outcomes, general = judge(replace(sound, records=[(name, longer), *sound.records[2:]]))
    assert len(general) == 1
    assert "s are not" in general[0]
    assert [outcome.kind for outcome in outcomes].count("wrong") == 1


def test_another_form_of_the_same_frames_that_gives_other_sessions_is_noticed(sound: Run) -> None:
    changed = replace(sound, records=sound.records[1:])
    assert facts(changed) != facts(sound)
    assert [text.split(":")[0] for text in broken_laws(sound.said, changed)] == list(LAWS)


def test_a_station_that_stops_the_assembly_or_never_ends_is_a_violation_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(said: object) -> Run:
        raise ZeroDivisionError("by a meter")

    def hangs(said: object) -> Run:
        while True:
            pass

    for broken, name in ((fails, "ZeroDivisionError"), (hangs, "Runaway")):
        monkeypatch.setattr(quirk_run, "assemble", broken)
        monkeypatch.setattr(quirk_run, "_limited_cpu", lambda limited=quirk_run._limited_cpu: limited(0.05))
        _, tally = quirk_run.score(quirk_run.Task(("no_power",), "ocpp1.6", 1, ()))
        monkeypatch.undo()
        assert tally.kinds == {"wrong": 6}
        assert tally.problems[0].startswith(f"no_power ocpp1.6 seed 1: {name}: ")
        assert "test_scored.py:" in tally.problems[0]


def test_sound_evidence_that_is_not_believed_is_a_violation() -> None:
    score = quirk_run.Score(alone={"step_10_wh": Tally(sessions=100, provable=100, unproven=1)})
    assert score.violations == []
    score.alone["step_10_wh"].unproven = 2
    assert score.violations == ["step_10_wh: 2 of 100 provable sessions estimated or held"]


def test_every_quirk_and_every_possible_pair_is_scored_and_nothing_else() -> None:
    wanted = quirk_run.chosen(None, None)
    assert {names for names in wanted if len(names) == 1} == {(name,) for name in QUIRKS}
    assert len(wanted) == len(set(wanted)) > 2_500
    planned = list(quirk_run.tasks(wanted, 100_000, 1))
    assert 100_000 <= 6 * len(planned) < 140_000
    assert len(set(planned)) == len(planned)
    assert quirk_run.chosen(None, "no_power,step_10_wh") == [("no_power", "step_10_wh")]
    for quirk, pair in (("gremlins", None), (None, "phase_l1_only,phases_beside_total")):
        with pytest.raises(ValueError, match=r"gremlins|one set of phases"):
            quirk_run.chosen(quirk, pair)


def test_the_oracle_prices_a_session_worked_by_hand() -> None:
    """11 kW from 14:30 to 15:30 UTC, 15:30 to 16:30 in Berlin, then half an hour idle: 5.5 kWh at 0.30, 5.5 at 0.60."""
    begin = 1_772_461_800 * 1_000_000  # 2026-03-02T14:30:00Z
    parts = (
        ChargingPeriod(from_us=begin, to_us=begin + HOUR, from_w=11_000, to_w=11_000, activity="charging"),
        ChargingPeriod(from_us=begin + HOUR, to_us=begin + HOUR + 30 * MINUTE, activity="idle"),
    )
    truth = ChargingTruth(
        station_id="S",
        connector_id=1,
        transaction_id="1",
        token="T",  # noqa: S106 - of a driver who does not exist
        power_type="AC",
        start_us=begin,
        end_us=parts[-1].to_us,
        lifetime_mwh=0,
        periods=parts,
    )
    assert oracle.cost(truth) == 16_500 + 33_000 + 30_000
    assert list(oracle.bounds(truth)) == [begin + 30 * MINUTE]
