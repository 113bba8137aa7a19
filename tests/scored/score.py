"""Is what was emitted true? Each session against its truth, each quality code against the fault that explains it.

    damaged evidence                  a code of EXPLAINS[kind]; another energy than the true one is never `complete`
    whole evidence, behaviour faulty  the true energy and times, complete, and just the code of the behaviour
    whole evidence                    the true energy and times, complete, no code, whatever the delivery did

Precision and recall count sessions: a code is a true find where a fault of the kind it stands for was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.edge.faults import DELIVERY, KINDS, SECOND
from pipeline.edge.simulator import Truth
from tests.scored.fleets import Emitted, Scored

EXPLAINS: Mapping[str, frozenset[str]] = {
    "zero_energy_abort": frozenset({"ABORTED"}),
    "missing_start": frozenset({"MISSING_START"}),
    "missing_stop": frozenset({"MISSING_STOP", "CLOSED_BY_NEW_START"}),
    "offline_gap": frozenset({"GAP", "SEQ_GAP"}),
    "stuck_meter": frozenset({"METER_STUCK"}),
    "meter_jump": frozenset({"IMPOSSIBLE_ENERGY"}),
    "meter_reset": frozenset({"REGISTER_RESET"}),
    "negative_energy": frozenset({"STOP_REPLACED", "NEGATIVE_ENERGY"}),
    "clock_skew": frozenset({"CLOCK_SHIFTED"}),
}
"""Codes that tell of a fault; kinds that are not here leave no trace."""
FOLLOWS: Mapping[str, frozenset[str]] = {"missing_start": frozenset({"BASELINE_REPLACED"})}
"""Further codes that a fault brings about, besides those that explain it: a baseline that no start tells."""
PROVEN = frozenset({"offline_gap", "clock_skew"})
"""Faults that the remaining evidence repairs: energy, start and end are the true ones."""
CLOCK_US = 10 * SECOND
"""So near a corrected time must be: the delay of the network stays in it."""


@dataclass(slots=True)
class Finds:
    """Of one kind of fault. `noticed`: with a code that explains it. `false`: such a code without such a fault."""

    leaves_a_trace: bool
    sessions: int = 0
    noticed: int = 0
    false: int = 0
    true_energy: int = 0
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def recall(self) -> float | None:
        """None: nothing to notice, or no session."""
        return self.noticed / self.sessions if self.sessions and self.leaves_a_trace else None

    @property
    def precision(self) -> float | None:
        found = self.noticed + self.false
        return self.noticed / found if found else None


@dataclass(slots=True)
class Verdict:
    sessions: int = 0
    whole: int = 0
    events: int = 0
    connectors: int = 0
    kinds: dict[str, Finds] = field(default_factory=lambda: {kind: Finds(kind in EXPLAINS) for kind in KINDS})
    violations: list[str] = field(default_factory=list)

    def add(self, scored: Scored) -> None:
        self.events += scored.events
        self.connectors += scored.connectors
        self.sessions += len(scored.truths)
        where = f"seed {scored.seed}"
        self.violations += [f"{where}: {text}" for text in scored.unbalanced]
        self.violations += [f"{where}: {name}: two sessions" for name in scored.doubled]
        self.violations += [f"{where}: {name}: never happened" for name in scored.emitted.keys() - scored.truths.keys()]
        for name, truth in scored.truths.items():
            emitted = scored.emitted.get(name)
            if emitted is None:
                self.violations.append(f"{where}: {name}: no session, faults {truth.kinds}")
                continue
            self._count(truth, emitted)
            wrong = contradiction(truth, emitted)
            if wrong:
                self.violations.append(f"{where}: {name}: {wrong}; faults {truth.changed}")

    def _count(self, truth: Truth, emitted: Emitted) -> None:
        self.whole += not truth.evidence_damaged
        codes = frozenset(emitted.quality)
        for kind, finds in self.kinds.items():
            telling = EXPLAINS.get(kind, frozenset())
            if kind in truth.kinds:
                finds.sessions += 1
                finds.noticed += not codes.isdisjoint(telling)
                finds.true_energy += emitted.energy_wh == truth.energy_wh
                finds.codes.update(codes)
            else:
                finds.false += not codes.isdisjoint(telling)


def contradiction(truth: Truth, emitted: Emitted) -> str:
    """What is wrong with a session, in words; empty: nothing."""
    codes = frozenset(emitted.quality)
    explained = frozenset[str]().union(
        *(EXPLAINS.get(kind, frozenset()) | FOLLOWS.get(kind, frozenset()) for kind in truth.kinds)
    )
    if codes - explained:
        return f"nothing explains {sorted(codes - explained)}"
    for kind in truth.kinds:
        if kind in EXPLAINS and codes.isdisjoint(EXPLAINS[kind]):
            return f"no code tells of {kind}, only {sorted(codes)}"
    if truth.evidence_damaged:
        if emitted.energy_wh != truth.energy_wh and emitted.evidence == "complete":
            return f"{emitted.energy_wh} Wh passed as complete, true are {truth.energy_wh} Wh"
        if PROVEN.issuperset(set(truth.kinds) - set(DELIVERY)):
            return _unrepaired(truth, emitted)
        return ""
    told = (emitted.energy_wh, emitted.started_at_us, emitted.ended_at_us, emitted.evidence)
    true = (truth.energy_wh, truth.start_us, truth.end_us, "complete")
    return "" if told == true else f"emitted {told}, true is {true}"


def _unrepaired(truth: Truth, emitted: Emitted) -> str:
    if emitted.energy_wh != truth.energy_wh:
        return f"{emitted.energy_wh} Wh, true are {truth.energy_wh} Wh"
    if "late" in truth.kinds and "clock_skew" in truth.kinds:
        return ""  # what waited besides cannot be told from the skew
    for told, true in ((emitted.started_at_us, truth.start_us), (emitted.ended_at_us, truth.end_us)):
        if told is None or abs(told - true) > CLOCK_US:
            return f"at {told}, true is {true}"
    return ""
