"""The scored run in small: every kind of fault against the truth, and a scorer that can say no."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.edge.faults import DELIVERY, KINDS
from tests.scored.fleets import Emitted, Scored, plan_of, run
from tests.scored.score import EXPLAINS, Verdict, contradiction

DENSE = ",".join(f"{kind}={'0.1' if kind in DELIVERY else '0.07'}" for kind in KINDS)
"""Every kind often enough that 1,500 sessions hold dozens of each."""


@pytest.fixture(scope="module")
def scored() -> Scored:
    return run(plan_of(1, DENSE, days=10))


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
