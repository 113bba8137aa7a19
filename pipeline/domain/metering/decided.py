"""What a decision makes of a bill that is held: evidence that is missing or doubted is replaced by what it states.

The rule of this file: the evidence comes first. A decision is in force only as long as the evidence alone holds the
bill, and for the doubts that were known to it; what comes later and carries a bill of its own overtakes it, a new doubt
holds the bill again. What a connector cannot deliver is billed by nobody's decision. The ledger of the connector keeps
what its registers proved: a decision moves energy in it from quarantined to attributed, and more than they proved is
estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.domain.events import BillDecided
from pipeline.domain.metering.energy import judge
from pipeline.domain.metering.evidence import Evidence
from pipeline.domain.metering.judgement import Judgement
from pipeline.domain.metering.registers import Bound, Point
from pipeline.domain.station import Session

AS_MEASURED = "AS_MEASURED"
"""The hypothesis that the energy is right, whatever else is in doubt."""


class Ruling(NamedTuple):
    """What is judged with the decision; `settled`: the doubts that hold the bill no longer."""

    judged: Judgement
    since_us: int
    until_us: int
    settled: tuple[str, ...]


def rule(
    session: Session, gathered: Callable[[], Evidence], alone: Judgement, doubts: Sequence[str], bound: Bound,
    previous_wh: int | None,
) -> Ruling | None:  # fmt: skip
    """`gathered` gives the evidence, each time anew, with what the decision states; `alone`: the judgement without,
    `doubts`: why it holds the bill. None: the decision changes nothing; `alone.account` says why, and so does the code
    DECISION_NOT_APPLIED.
    """
    decided = session.decided
    if decided is None or session.decision != "bill":
        return None
    alone.account.decided = decided
    if session.settled is None:
        session.settled = list(doubts)
    if not doubts and not decided.without_reservation and decided.reserved_from_us is None:
        alone.account.outcome = "overtaken: the evidence carries a bill"
        return None
    new = next((code for code in doubts if code not in session.settled), None)
    judged = None if new else _judged(gathered, decided, alone, bound, previous_wh)
    if judged is None:
        alone.account.outcome = f"not applied: {f'{new} came after it' if new else _why_not(decided, alone)}"
        alone.codes.append("DECISION_NOT_APPLIED")
        return None
    judged.account.decided, judged.account.outcome = decided, "applied"
    judged.account.hypotheses = alone.account.hypotheses
    judged.codes = [*alone.codes, "BILL_DECIDED"]
    found = gathered()
    _bound_truth(judged, alone, bound, found.until_us - found.since_us)
    _keep_ledger(judged, alone)
    return Ruling(judged, found.since_us, found.until_us, tuple(session.settled))


def _judged(
    gathered: Callable[[], Evidence], decided: BillDecided, alone: Judgement, bound: Bound, previous_wh: int | None
) -> Judgement | None:
    """The energy under the decision; None: it gives none, or one that cannot be."""
    energy, found = decided.energy_wh, gathered()
    if decided.hypothesis:
        energy = alone.account.hypotheses.get(decided.hypothesis)
        if energy is None:
            return None
    elif energy is None:
        judged = judge(gathered(), bound, previous_wh)
        if judged.energy_wh is not None and judged.registers[-1] - judged.registers[0] == judged.energy_wh:
            return judged
        registers = found.start_wh, found.stop_wh
        if None in registers or (decided.start_register_wh, decided.stop_register_wh) == (None, None):
            return None
        energy = (found.stop_wh or 0) - (found.start_wh or 0)
    lasted = found.until_us - found.since_us
    if energy < 0 or (energy and not lasted) or not bound.allows(energy, lasted):
        return None
    return _of_energy(found, energy)


def _why_not(decided: BillDecided, alone: Judgement) -> str:
    known = ", ".join(sorted(alone.account.hypotheses)) or "none"
    if decided.hypothesis and decided.hypothesis not in alone.account.hypotheses:
        return f"no such hypothesis, known: {known}"
    return "no energy follows from it that the connector can deliver in this time"


def _of_energy(found: Evidence, energy_wh: int) -> Judgement:
    """So much energy from start to end, spread as those registers say that lie on its way."""
    since, until, account = found.since_us, found.until_us, found.account
    stop = found.stop_wh if found.stop_wh is not None else energy_wh
    starts = [start for start in (found.start_wh, stop - energy_wh, 0) if start is not None and start >= 0]
    ways = [_way(found.registers, since, until, start, energy_wh) for start in starts]
    kept = max(ways, key=len)  # the first of those that keep as many
    start = starts[ways.index(kept)]
    points = [(since, start), *kept]
    points = [*points, (until, start + energy_wh)] if until > since else [(since, start + energy_wh)]
    account.leave_out("AGAINST_DECISION", _without(found.registers, kept))
    for values in (found.begins, found.intervals, *found.phases.values()):
        account.leave_out("AGAINST_DECISION", values)
    for at, sent, used in ((since, found.start_wh, start), (until, found.stop_wh, start + energy_wh)):
        if sent == used:
            account.used += 1
        elif sent is not None:
            account.leave_out("AGAINST_DECISION", [(at, sent)])
    account.used += len(kept) + len(found.powers)
    account.facts["energy"] = "decision"
    return Judgement(
        times=[at for at, _ in points],
        registers=[register for _, register in points],
        energy_wh=energy_wh,
        low_wh=energy_wh,
        high_wh=energy_wh,
        account=account,
    )


def _way(registers: list[Point], since: int, until: int, start: int, energy_wh: int) -> list[Point]:
    kept: list[Point] = []
    last_at, last = since, start
    for at, register in registers:
        if last_at < at < until and last <= register <= start + energy_wh:
            kept.append((at, register))
            last_at, last = at, register
    return kept


def _without(registers: list[Point], kept: list[Point]) -> list[Point]:
    left = list(registers)
    for point in kept:
        left.remove(point)
    return left


def _bound_truth(judged: Judgement, alone: Judgement, bound: Bound, span_us: int) -> None:
    """Between which bounds the truth lies, if the decision is wrong."""
    energy = judged.energy_wh or 0
    known = [each for each in (alone.low_wh, alone.high_wh, judged.low_wh, judged.high_wh) if each is not None]
    known += alone.account.hypotheses.values()
    if alone.energy_wh is None and not alone.account.hypotheses:
        known += [0, bound.most_wh(span_us) + bound.step_wh]
    judged.low_wh, judged.high_wh = min(energy, *known), max(energy, *known)


def _keep_ledger(judged: Judgement, alone: Judgement) -> None:
    """The register moved as the evidence alone says; of that, what is billed is attributed."""
    energy, start, stop = judged.energy_wh or 0, alone.start_register_wh, alone.stop_register_wh
    judged.start_register_wh, judged.stop_register_wh, judged.dropped_wh = start, stop, alone.dropped_wh
    moved = stop - start + alone.dropped_wh if start is not None and stop is not None else 0
    judged.quarantined_wh = max(moved - energy, 0)
    judged.estimated_wh = max(energy - moved, 0)
