"""Is what was emitted true? Each session of a station with quirks against its truth.

exact       its bill is FINAL, its evidence complete, and all of it true within what the evidence can tell
estimated   its bill is FINAL and says that the evidence is not complete; bounds hold the truth
held        its bill is held (or still open)
wrong       anything that a driver could rightly complain about: see `complaints`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from pipeline.domain.outputs import StrippedSession
from pipeline.edge.chargers.documents import IDLE_FEE
from pipeline.edge.chargers.quirk import BILLED, Fact
from pipeline.edge.chargers.quirks import Said
from pipeline.edge.chargers.tape import INTERVAL, REGISTER, Call, Tape
from pipeline.edge.chargers.truth import HOUR, SECOND, ChargingTruth
from tests.scored import oracle
from tests.scored.quirks import Run, pseudonym

CLOCK_US = 10 * SECOND
UNKNOWN = 0
"""The connector of a session as it is published while nobody knows it."""
STATUS_US = 3 * SECOND
"""A status comes so much after what it tells."""
BOUNDS_STATED = {"energy_low_wh", "energy_high_wh"} <= set(StrippedSession.__struct_fields__)
UNPROVEN_SHARE = 100
"""Of so many sessions whose evidence proves the bill one may be estimated or held."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the evidence of one session can tell at best, from what was truly said."""

    step_wh: int
    interval_us: int
    proven: frozenset[Fact]
    hidden: frozenset[Fact]
    """Facts that nobody can know, nor know that they are wrong."""
    witnessed: tuple[int, ...]
    """When the station told of a register that was refreshed since it last did, us UTC, in order."""

    def idle_us(self, truth: ChargingTruth) -> int:
        """So near the idle time of this session can be told: each part of it has ends of its own."""
        parts = sum(period.activity == "idle" for period in truth.periods)
        return max(parts, 1) * (self.interval_us + STATUS_US)

    def bracketed(self, truth: ChargingTruth) -> bool:
        """Each change of price lies between two registers that are not far apart."""
        for bound in oracle.bounds(truth):
            before = max((at for at in self.witnessed if at <= bound), default=0)
            after = min((at for at in self.witnessed if at >= bound), default=1 << 62)
            if after - before > 2 * self.interval_us:
                return False
        return True


@dataclass(slots=True)
class Outcome:
    kind: str
    """exact, estimated, held or wrong."""
    provable: bool
    bounded: bool
    problems: list[str]


@dataclass(slots=True)
class Tally:
    """Of one quirk or pair."""

    sessions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    provable: int = 0
    unproven: int = 0
    """Sessions whose evidence proves the bill, estimated or held all the same."""
    boundless: int = 0
    """Estimated sessions that state no bounds."""
    problems: list[str] = field(default_factory=list)

    def add(self, run: Run, outcomes: Sequence[Outcome], general: Sequence[str]) -> None:
        station = run.said.tape.station
        where = f"{'+'.join(run.said.quirks) or 'none'} {run.said.tape.protocol} {station.station_id}"
        self.sessions += len(outcomes)
        self.kinds.update(outcome.kind for outcome in outcomes)
        self.provable += sum(outcome.provable for outcome in outcomes)
        self.unproven += sum(outcome.provable and outcome.kind in ("estimated", "held") for outcome in outcomes)
        self.boundless += sum(outcome.kind == "estimated" and not outcome.bounded for outcome in outcomes)
        self.problems += [f"{where}: {text}" for text in (*general, *(t for o in outcomes for t in o.problems))]

    def merge(self, other: Tally) -> None:
        self.sessions += other.sessions
        self.kinds.update(other.kinds)
        self.provable += other.provable
        self.unproven += other.unproven
        self.boundless += other.boundless
        self.problems += other.problems

    @property
    def too_cautious(self) -> bool:
        return self.unproven * UNPROVEN_SHARE > self.provable


def seen(said: Said, truth: ChargingTruth) -> Seen:
    tape, meter = said.tape, said.tape.meters[truth.connector_id]
    told, refreshed_us = [], -1
    for at_us in sorted(call.at_us for call in tape.calls if call.session is truth and _tells_energy(call)):
        if meter.refreshed_us(at_us) > refreshed_us:
            refreshed_us = meter.refreshed_us(at_us)
            told.append(at_us)
    proven, hidden = said.proven[truth.transaction_id], set(said.hidden[truth.transaction_id])
    if _fell_unseen(tape, truth):
        hidden.add("energy")
    if "live" not in proven and not tape.text_ids and not _is_measured(tape, truth):
        hidden.add("idle")
    return Seen(
        step_wh=meter.step_wh,
        interval_us=tape.interval_us,
        proven=proven,
        hidden=frozenset(hidden),
        witnessed=tuple(told),
    )


def _is_measured(tape: Tape, truth: ChargingTruth) -> bool:
    """Was anything measured between start and stop? If not, nothing tells of a status that was lost while the link was
    down: of 25 minutes one heartbeat of a quarter of an hour may be missing, and one is no proof."""
    return any(call.kind == "sample" and call.session is truth and call.entries for call in tape.calls)


def _fell_unseen(tape: Tape, truth: ChargingTruth) -> bool:
    """Did the register fall between a start and a stop that is no lower, with nothing measured in between? A sound
    station says just that of a session with less energy."""
    meter = tape.meters[truth.connector_id]
    fell = any(truth.start_us < since <= truth.end_us for since, _ in meter.shifts)
    return fell and meter.shown_wh(truth.start_us) <= meter.shown_wh(truth.end_us) and not _is_measured(tape, truth)


def _tells_energy(call: Call) -> bool:
    if call.kind not in ("start", "sample", "stop"):
        return False
    samples = (sample for entry in call.entries for sample in entry.samples)
    return isinstance(call.register_wh, int) or any(sample.measurand in (REGISTER, INTERVAL) for sample in samples)


def judge(run: Run) -> tuple[list[Outcome], list[str]]:
    """An outcome for each session that truly was, and what is wrong with the station as a whole."""
    said = run.said
    truths = said.tape.station.every_session
    found: dict[str, list[StrippedSession]] = {truth.transaction_id: [] for truth in truths}
    general = list(run.unbalanced)
    for name, record in run.records:
        general += _impossible(record)
        truth = _owner(name, record, truths)
        if truth is None:
            general.append(f"a session on connector {record.connector_id}, where there was none")
        else:
            found[truth.transaction_id].append(record)
    general += _overlaps(run.records)
    return [_outcome(said, truth, found[truth.transaction_id]) for truth in truths], general


def _owner(name: str, record: StrippedSession, truths: Sequence[ChargingTruth]) -> ChargingTruth | None:
    """The truth that a record tells of: by its name, else by the time that both have in common, else the nearest. A
    record without a start is one instant, which lies in its truth."""
    there = [truth for truth in truths if record.connector_id in (truth.connector_id, UNKNOWN)]
    named = [truth for truth in there if truth.transaction_id == name]
    if len(named) == 1:
        return named[0]
    began = record.started_at_us or record.ended_at_us or 0
    ended = record.ended_at_us or began
    middle = (began + ended) // 2

    def nearness(truth: ChargingTruth) -> tuple[int, int]:
        common = min(ended, truth.end_us) - max(began, truth.start_us)
        return max(common, -1), -abs((truth.start_us + truth.end_us) // 2 - middle)

    return max(there, key=nearness, default=None)


def _impossible(record: StrippedSession) -> Iterator[str]:
    """What no session can be."""
    place = f"connector {record.connector_id}"
    if min(record.duration_s, record.charging_s, record.idle_s) < 0:
        yield f"{place}: negative time: {record.duration_s} s, charging {record.charging_s}, idle {record.idle_s}"
    if record.charging_s + record.idle_s != record.duration_s:
        yield f"{place}: {record.charging_s} + {record.idle_s} s are not {record.duration_s} s"
    if (record.energy_wh or 0) < 0:
        yield f"{place}: {record.energy_wh} Wh"


def _overlaps(records: Sequence[tuple[str, StrippedSession]]) -> Iterator[str]:
    whole = [
        (record.connector_id, record.started_at_us, record.ended_at_us)
        for _, record in records
        if record.started_at_us is not None and record.ended_at_us is not None
    ]
    for (place, _, ended), (other, began, _) in pairwise(sorted(whole)):
        if place == other and began < ended:
            yield f"connector {place}: two sessions overlap by {(ended - began) // SECOND} s"


def _outcome(said: Said, truth: ChargingTruth, records: list[StrippedSession]) -> Outcome:
    evidence = seen(said, truth)
    provable = evidence.proven >= BILLED and evidence.bracketed(truth)
    problems = list(_of_all(said.tape, truth, evidence, records))
    for record in records:
        if record.bill_state == "FINAL" and record.evidence == "complete":
            problems += complaints(truth, record, evidence, pseudonym(truth, said.tape.protocol))
        elif record.bill_state == "FINAL" and BOUNDS_STATED:
            problems += out_of_bounds(truth, stated(record), evidence, said.tape.station.rating_w)
    final = [record for record in records if record.bill_state == "FINAL"]
    kind = "held"
    if problems:
        kind = "wrong"
    elif final and len(final) == len(records):
        kind = "exact" if all(record.evidence == "complete" for record in final) else "estimated"
    if kind == "exact" and provable and all(record.driver is None for record in final):
        kind = "held"  # nobody can be asked to pay it
    bounded = all(stated(record).low_wh is not None for record in final)
    named = [f"{truth.connector_id}/{truth.transaction_id}: {text}" for text in problems]
    return Outcome(kind, provable, bounded, named)


def _of_all(tape: Tape, truth: ChargingTruth, evidence: Seen, records: Sequence[StrippedSession]) -> Iterator[str]:
    """What is wrong with all that was made of one session together."""
    if not records:
        if any(call.session is truth and call.kind in ("start", "sample", "stop") for call in tape.calls):
            yield "no session at all"
        return
    billed = sum(record.energy_wh or 0 for record in records if record.bill_state == "FINAL")
    if len(records) > 1 and billed * 1000 > truth.energy_mwh + evidence.step_wh * 1000:
        yield f"{billed} Wh billed in {len(records)} sessions, {truth.energy_mwh} mWh flowed"


def complaints(truth: ChargingTruth, record: StrippedSession, evidence: Seen, driver: str) -> Iterator[str]:
    """What is not true of a session that claims to be complete and final."""
    energy, hidden = record.energy_wh, evidence.hidden
    codes = f"quality {list(record.quality)}"
    believable = True
    if "energy" not in hidden and (energy is None or abs(energy * 1000 - truth.energy_mwh) > evidence.step_wh * 1000):
        believable = False
        yield f"{energy} Wh, true are {truth.energy_mwh} mWh; {codes}"
    if "idle" not in hidden and abs(record.idle_s * SECOND - truth.idle_us) > evidence.idle_us(truth):
        believable = False
        yield f"{record.idle_s} s idle, true are {truth.idle_us // SECOND} s; {codes}"
    if record.driver not in (None, driver):
        yield "the driver is another one"
    tolerance_us = CLOCK_US if "times" in evidence.proven else max(evidence.interval_us, CLOCK_US)
    ends = (("start", record.started_at_us, truth.start_us), ("end", record.ended_at_us, truth.end_us))
    for what, told, true in ends:
        if "times" not in hidden and (told is None or abs(told - true) > tolerance_us):
            believable = False
            yield f"{what} {'unknown' if told is None else f'off by {(told - true) // SECOND} s'}; {codes}"
    if believable and not hidden:
        yield from _amount(truth, record, evidence)


def _amount(truth: ChargingTruth, record: StrippedSession, evidence: Seen) -> Iterator[str]:
    """Energy in a wrong slot is nothing to be tolerated, but what flows in one interval around a bound may be cut."""
    told, true = Decimal(str(record.total_excl_vat)) * 10_000, oracle.cost(truth)
    interval_us = evidence.interval_us
    cut_mwh = sum(
        truth.energy_between(at - interval_us, at + interval_us) + evidence.step_wh * 1000
        for at in oracle.bounds(truth)
    )
    allowed = (
        evidence.step_wh * oracle.HIGHEST // 1000
        + evidence.idle_us(truth) * IDLE_FEE // HOUR
        + cut_mwh * oracle.LARGEST_STEP // 1_000_000
        + 10
    )
    if abs(told - true) > allowed:
        yield f"costs {told / 10_000:.4f}, true are {true / 10_000:.4f}; quality {list(record.quality)}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an estimated session says of its energy: Wh, and the time that nothing observed."""

    low_wh: int | None
    high_wh: int | None
    unobserved_s: int = 0


def stated(record: StrippedSession) -> Bounds:
    low, high = getattr(record, "energy_low_wh", None), getattr(record, "energy_high_wh", None)
    return Bounds(low, high, getattr(record, "unobserved_s", None) or 0)


def out_of_bounds(truth: ChargingTruth, bounds: Bounds, evidence: Seen, rating_w: int) -> Iterator[str]:
    """What is wrong with the bounds of an estimate."""
    if "energy" in evidence.hidden:
        return
    low, high = bounds.low_wh, bounds.high_wh
    if low is None or high is None:
        yield "no bounds"
        return
    said, step_wh = f"bounds {low} to {high} Wh", evidence.step_wh
    if not (low - step_wh) * 1000 <= truth.energy_mwh <= (high + step_wh) * 1000:
        yield f"{said}, true are {truth.energy_mwh} mWh"
    if high - low > rating_w * bounds.unobserved_s // 3600 + step_wh:
        yield f"{said} are wide for {bounds.unobserved_s} s that nothing observed"
