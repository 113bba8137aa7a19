"""What the evidence of a session amounts to: energy, times, activity, completeness and quality codes.

The rule of this file: a pure judgement over the whole set of evidence, so that the order of arrival cannot matter. It
never invents: energy that cannot be proven is estimated and says so, or is None. A clean session takes the short way
(a few passes in C over its arrays); everything else is judged in energy.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress, pairwise
from operator import eq, sub

import msgspec

from pipeline.domain.bounds import LONGEST_SESSION_US
from pipeline.domain.events import BillDecided
from pipeline.domain.limits import Limits
from pipeline.domain.metering import activity, clock
from pipeline.domain.metering.account import Account
from pipeline.domain.metering.columns import Columns, columns_of
from pipeline.domain.metering.decided import AS_MEASURED, Ruling, rule
from pipeline.domain.metering.energy import ENERGY_UNKNOWN, Judgement, judge
from pipeline.domain.metering.evidence import Evidence as Gathered
from pipeline.domain.metering.evidence import gather, readings_of
from pipeline.domain.metering.facts import tell
from pipeline.domain.metering.neighbours import next_start, previous_end, superseded_at
from pipeline.domain.metering.power import CAUGHT_UP, FLAT_US, STANDBY_W
from pipeline.domain.metering.powers import stated_powers
from pipeline.domain.metering.registers import LAG, Bound, beat, lags, resolution
from pipeline.domain.metering.unheard import NOTHING, unheard
from pipeline.domain.outputs import Evidence, Status
from pipeline.domain.pricing.facts import ActivityPeriod
from pipeline.domain.station import (
    ABSENT,
    ENERGY,
    HOUR,
    KIND,
    MINUTE,
    SECOND,
    SHORTEST_GAP,
    SILENCE,
    STRIDE,
    TIME,
    Connector,
    Session,
    Station,
)

HELD_BY = (
    "SESSIONS_OVERLAP", "STOP_AMBIGUOUS", "IMPOSSIBLE_ENERGY", "NEGATIVE_ENERGY", "BASELINE_UNCLEAR", "PHASES_PARTIAL",
    "NEGATIVE_DURATION", "IMPOSSIBLE_DURATION", "MISSING_START",
)  # fmt: skip
"""Codes that hold the bill, the gravest first."""
INCOMPLETE = frozenset({*HELD_BY, "MISSING_STOP", "CLOSED_BY_NEW_START", "SEQ_GAP"})
ESTIMATED = frozenset({
    "REGISTER_RESET", "METER_REPLACED", "METER_STUCK", "STOP_REPLACED", "STOP_REGISTER_MISSING", "POWER_INTEGRATED",
    "INTERVAL_MISSING", "POST_STOP_READING", "TIME_UNCERTAIN", "ACTIVITY_UNCLEAR", "BILL_DECIDED", "DOUBLE_STOP",
    "EVIDENCE_THINNED",
})  # fmt: skip
NOT_QUALITY = frozenset({"SIGNED_EVIDENCE"})
"""What decoders note that says nothing about the quality of a session."""
MANY = 5
"""Of so many readings two different values tell the step of the register: a finer one would have shown more of them."""
ENOUGH = 32
"""So many different values tell the step of a register for good."""
CLOSE_STARTS = MINUTE
"""A stop so shortly after the next start is two clocks, no overlap."""


class Measured(msgspec.Struct, kw_only=True, gc=False):
    """The judgement on one session. Parallel lists: `times` us and `registers` Wh, start and end included."""

    started_at_us: int | None
    ended_at_us: int | None
    """None while the session is open."""
    since_us: int
    """The start, or the first evidence of a session whose start is not known."""
    until_us: int
    times: list[int]
    registers: list[int]
    energy_wh: int | None
    low_wh: int | None
    high_wh: int | None
    """Between them the true energy lies; equal to it where it is proven. None: not known."""
    estimated_wh: int
    quarantined_wh: int
    dropped_wh: int
    """By how much the register fell in the session (reset); part of the ledger of the connector."""
    start_register_wh: int | None
    stop_register_wh: int | None
    activity: list[ActivityPeriod]
    charging_us: int
    idle_us: int
    max_power_w: int | None
    status: Status
    evidence: Evidence
    quality: tuple[str, ...]
    clean: bool
    """Nothing had to be judged: the readings are as they were sent."""
    gaps: list[tuple[int, int]]
    """Stretches without readings, longer than twice the usual interval."""
    lags: list[tuple[int, int]] = []
    """Stretches in which the register stood still before it caught up."""
    unseen_us: int = 0
    """Time in which nobody observed the session."""
    powers: list[int] = []
    """W that the charger stated at each of `times`; -1: none."""
    powers_between: list[tuple[int, int]] = []
    """(us, W) stated between them, with no register of its own."""
    account: Account = msgspec.field(default_factory=Account)
    settled: tuple[str, ...] = ()
    """Codes that hold the bill no longer, because somebody decided."""

    @property
    def reserved_from_us(self) -> int | None:
        """Since when the connector was reserved, as far as that is to be billed: only a decision tells."""
        decided = self.account.decided
        return decided.reserved_from_us if decided is not None and self.account.outcome == "applied" else None

    @property
    def held(self) -> str | None:
        """Why this session must not be billed as it is."""
        if self.until_us - self.since_us > LONGEST_SESSION_US:
            return "IMPOSSIBLE_DURATION"  # whatever was decided
        if not self.quality:
            return None
        return next((code for code in HELD_BY if code in self.quality and code not in self.settled), None)


def measure(station: Station, session: Session, limits: Limits, previous_wh: int | None) -> Measured:
    """Judges the evidence. `previous_wh`: where the connector's register stood before this session."""
    connector = station.connector(session.connector_id)
    clock.judge(station, session)
    codes = list(session.codes)
    ended_at = _ended_at(station, session, codes)
    columns = columns_of(session.readings)
    highest = max(columns.powers, default=ABSENT)
    bound = _bound(session, connector, limits, columns, highest)
    judged = _clean(session, connector, ended_at, bound, previous_wh, columns)
    clean = judged is not None
    since = started_at = session.started_at_us
    readings = session.readings
    if judged is None:
        found = _gathered(station, session, ended_at)
        readings = found.readings
        columns = columns_of(readings)
        since = found.since_us
        judged = judge(found, _refined(bound, found), previous_wh)
        codes.extend(code for code in judged.codes if code not in codes)
        if found.has_loose:
            codes.append("TX_ID_RECONCILED")
        if session.suspect and "CLOCK_SHIFTED" not in codes and clock.is_shifted(station, session):
            codes.append("CLOCK_SHIFTED")
        until = found.until_us
    else:
        until = ended_at if ended_at is not None else max(session.last_at_us, since or 0)
    if until - (until if since is None else since) > LONGEST_SESSION_US:
        codes.append("IMPOSSIBLE_DURATION")
    settled: tuple[str, ...] = ()
    doubts = _doubts(codes, judged)
    if session.decided is not None or doubts:
        ruling = _ruled(station, session, ended_at, judged, doubts, bound, previous_wh)
        if ruling is not None:
            judged, since, until, settled = ruling
            is_told = started_at is not None or _decided_start(session) is not None
            started_at, ended_at, clean = since if is_told else None, until, False
        codes.extend(code for code in judged.codes if code not in codes)
    started = since if since is not None else until
    times, registers = judged.times, judged.registers
    read, known = (times[:-1], registers[:-1]) if "STOP_REGISTER_MISSING" in codes else (times, registers)
    gaps = _gaps(session, read)
    if gaps:
        codes.append("GAP")
    if session.seq_gaps and session.ended():
        codes.append("SEQ_GAP")
    if session.closed_by not in ("", "STOP"):
        codes.append(session.closed_by)
    status = _status(session, judged.energy_wh, until - started, limits)
    if status == "aborted" and session.closed_by == "STOP":
        codes.append("ABORTED")
    states = _states(station, session, connector, started, until)
    powers, between = stated_powers(columns, times, until)
    shown = bound if clean else bound._replace(step_wh=max(bound.step_wh, resolution(set(registers), 3)))
    lost = NOTHING if session.thinned or session.states else unheard(readings, started, until)
    is_rising = judged.is_rising or 0 not in map(sub, known[1:-1], known)
    observed = activity.observe(
        states, read, known, powers[: len(known)], between, started, until, shown, connector.beat_us, lost, is_rising
    )
    if observed.is_contradicted:
        codes.append("STATUS_CONTRADICTED")
    if observed.is_unclear:
        codes.append("ACTIVITY_UNCLEAR")
    stretches = observed.stretches
    is_idle = len(stretches) > 1 or stretches[0].activity == "idle"
    idle = sum(end - begin for begin, end in activity.parts(stretches, until, "idle")) if is_idle else 0
    if session.closed_by not in ("", "STOP") and judged.energy_wh is not None and not settled:
        _bound_open_end(station, session, connector, judged, until, bound)
    if judged.high_wh is not None and judged.unseen_us and judged.high_wh > (judged.energy_wh or 0):
        judged.high_wh += 2  # fractions of a Wh, at both ends
        judged.unseen_us += max(bound.time_us(2), SECOND)
    quality = tuple(sorted(set(codes) - NOT_QUALITY)) if codes else ()
    is_estimated = (judged.estimated_wh > 0 and not judged.is_proven) or judged.low_wh != judged.high_wh
    tell(judged.account, station, session, started_at, ended_at, states, observed.is_contradicted)
    return Measured(
        started_at_us=started_at,
        ended_at_us=ended_at,
        since_us=started,
        until_us=until,
        times=times,
        registers=registers,
        energy_wh=judged.energy_wh,
        low_wh=judged.low_wh,
        high_wh=judged.high_wh,
        estimated_wh=judged.estimated_wh,
        quarantined_wh=judged.quarantined_wh,
        dropped_wh=judged.dropped_wh,
        start_register_wh=judged.start_register_wh,
        stop_register_wh=judged.stop_register_wh,
        activity=stretches,
        charging_us=until - started - idle,
        idle_us=idle,
        max_power_w=highest if highest >= 0 else None,
        status=status,
        evidence="incomplete" if status == "open" else "estimated" if settled else _evidence(quality, is_estimated),
        quality=quality,
        settled=settled,
        clean=clean,
        gaps=gaps,
        lags=[] if session.thinned else _lags(times, registers, bound, clean and is_rising),
        unseen_us=judged.unseen_us + (sum(b - a for a, b in gaps) if gaps else 0),
        powers=powers,
        powers_between=between,
        account=judged.account,
    )


def _gathered(station: Station, session: Session, ended_at: int | None, decided: BillDecided | None = None) -> Gathered:
    found = gather(station, session, ended_at, decided)
    since, until = found.since_us, found.until_us
    states = _states(station, session, station.connector(session.connector_id), since, until)
    found.idle, found.paused = activity.pauses(states, since, until)
    return found


def _refined(bound: Bound, found: Gathered) -> Bound:
    """With the step that the registers of this session show."""
    least = 2 if len(found.registers) >= MANY else 3
    step = max(bound.step_wh, resolution({register for _, register in found.registers}, least))
    return bound._replace(step_wh=step)


def _doubts(codes: Sequence[str], judged: Judgement) -> list[str]:
    """Why the evidence alone holds the bill."""
    found = [code for code in HELD_BY if code in codes] if codes else []
    return found if found or judged.energy_wh is not None else [ENERGY_UNKNOWN]


def _ruled(
    station: Station, session: Session, ended_at: int | None, judged: Judgement, doubts: list[str], bound: Bound,
    previous_wh: int | None,
) -> Ruling | None:  # fmt: skip
    """What a decision makes of it; in the account: what there is to decide, and what was decided."""
    account = judged.account
    if judged.energy_wh is not None and doubts:
        account.hypotheses.setdefault(AS_MEASURED, judged.energy_wh)
    if session.decision != "bill":
        if session.decided is not None:
            account.decided, account.outcome = session.decided, "applied" if session.decision else "withdrawn"
        return None
    gathered = partial(_gathered, station, session, ended_at, session.decided)
    return rule(session, gathered, judged, doubts, _refined(bound, gathered()), previous_wh)


def _decided_start(session: Session) -> int | None:
    return None if session.decided is None else session.decided.started_at_us


def _ended_at(station: Station, session: Session, codes: list[str]) -> int | None:
    """The end. Stamped up to 5 minutes before its start, or after the next one, it is clock skew (problem 14)."""
    if not session.ended():
        return None
    ended, started = session.ended_at_us, session.started_at_us
    if ended is None or session.closed_by != "STOP":
        ended = _last_evidence(station, session)  # what came after the rule had closed it counts
    elif started is not None and ended < started:
        if started - ended > 5 * MINUTE:
            codes.append("NEGATIVE_DURATION")
            return started
        codes.append("CLOCK_SKEW")
        lasted = session.stop_received_us - session.start_received_us
        ended = started + max(lasted, 0) if session.start_received_us and session.stop_received_us else started
    following = next_start(station, session)
    if following is not None and ended > following:
        if ended - following > CLOSE_STARTS:
            codes.extend(("CLOCK_SKEW", "TIME_UNCERTAIN"))
        return max(following, started or 0)
    return ended


def _bound_open_end(
    station: Station, session: Session, connector: Connector, judged: Judgement, until: int, bound: Bound
) -> None:
    """A session without stop went on until its connector was free, the next one began, or nobody came for a day."""
    reports = clock.reported(station, session, connector)
    freed = next((at for at, state in reports if state == "available" and at >= until), until + SILENCE)
    last = max(min(freed, superseded_at(station, session) or freed), until)
    more = bound.unseen_wh(last - until)
    following = session.superseded_register_wh
    if following and judged.stop_register_wh is not None and following >= judged.stop_register_wh:
        more = min(more, following - judged.stop_register_wh)
    judged.high_wh = (judged.high_wh or 0) + more
    judged.unseen_us += last - until


def _last_evidence(station: Station, session: Session) -> int:
    if not session.suspect:
        return max(session.last_at_us, session.started_at_us or 0)
    return max([session.started_at_us or 0, *readings_of(station, session, None)[TIME::STRIDE][-1:]])


def _bound(session: Session, connector: Connector, limits: Limits, columns: Columns, highest: int) -> Bound:
    """What the connector can deliver, and the step of its register as far as it was learned; `highest`: W stated."""
    watts = limits.rating_w
    if watts is None:
        seen = max(connector.highest_power_w, highest)
        watts = seen if seen > 0 else limits.unrated_w
    step = limits.register_step_wh
    registers = columns.registers
    few = {*registers[:3]} - {ABSENT, 0}
    if len(few) < 3 or resolution(few) > step:  # else more of them cannot make it coarser
        sent = {*registers, session.start_register_wh or 0, session.stop_register_wh or 0}
        sent -= {ABSENT, 0}
        step = max(step, resolution(sent) if len(sent) > 2 else connector.resolution_wh)
    return Bound(watts * limits.tolerance_percent // 100, step, max(watts, highest))


def _clean(
    session: Session,
    connector: Connector,
    ended_at: int | None,
    bound: Bound,
    previous_wh: int | None,
    columns: Columns,
) -> Judgement | None:
    """The short way: start and stop (or an open session), registers that rise between them, within the bound."""
    start, started = session.start_register_wh, session.started_at_us
    if start is None or started is None or (ended_at is not None and session.stop_register_wh is None):
        return None
    if session.suspect or len(connector.loose) or (previous_wh is not None and start < previous_wh - bound.step_wh):
        return None
    if any(session.readings[KIND::STRIDE]) or (ended_at is not None and session.closed_by != "STOP"):
        return None
    times, registers, powers = columns
    stop = registers[-1] if registers else start
    if ended_at is not None and session.stop_register_wh is not None:
        stop = session.stop_register_wh
    until = ended_at if ended_at is not None else max(session.last_at_us, started)
    if stop < start or (stop == start and registers and registers[-1] != start):
        return None
    if registers:
        if registers[0] < start or registers[-1] > stop or times[0] < started or times[-1] > until:
            return None
        if registers != sorted(registers):
            return None
        last = -2 if times[-1] == until and len(times) > 1 else -1  # a sample of the end is a lifetime value
        if 0 <= stop - registers[last] - start <= bound.most_wh(until - times[last]) + bound.step_wh < stop:
            return None  # they may count from 0 at a new station
    if start == 0 and stop > bound.step_wh:
        return None  # a register of 0 at the start may mean that it was not known (problem 2)
    if stop - start > bound.most_wh(until - started) + bound.step_wh:
        return None
    all_times = [started, *times]
    all_registers = [start, *registers]
    if until > all_times[-1]:
        all_times.append(until)
        all_registers.append(stop)
    else:
        all_registers[-1] = stop
    if times and times[0] == started:
        del all_times[0], all_registers[0]
        all_registers[0] = start
    steps = list(map(sub, all_registers[1:], all_registers))
    if max(steps, default=0) > bound.most_wh(LAG) + bound.step_wh:
        return None
    energy = stop - start
    flat = steps.count(0)
    is_flat = flat > 0 and len(set(registers)) < len(registers)
    if is_flat and (_flat_under_power(columns) or _rises_without_power(columns)):
        return None
    if _short_of_power(powers, energy, until - started):
        return None
    return Judgement(
        times=all_times,
        registers=all_registers,
        energy_wh=energy,
        low_wh=energy,
        high_wh=energy,
        start_register_wh=start,
        stop_register_wh=stop,
        account=_all_used(session, powers),
        is_rising=flat == (0 in steps[-1:]),
    )


def _all_used(session: Session, powers: list[int]) -> Account:
    values = 2 * len(powers) - powers.count(ABSENT)
    stop = session.closed_by == "STOP"
    account = Account(used=values + 1 + stop + session.unkept, repeated=session.repeated)
    account.facts = {"baseline": "START_REGISTER", "energy": "meterStop - baseline"}
    if session.left_out:
        account.add_counted(session.left_out)
    return account


def _flat_under_power(columns: Columns) -> bool:
    """Suspicion of a stuck meter: a register flat for ten minutes, power stated in half of them; power.py looks
    closer."""
    times, registers, _ = columns
    if sum(compress(map(sub, times[1:], times), map(eq, registers[1:], registers))) < FLAT_US:
        return False  # nearly always, and found in C
    since = flowed = 0
    previous = ABSENT
    last = 0
    for at, register, power in zip(*columns, strict=True):
        if register != previous:
            since, previous, flowed = at, register, 0
        elif power > STANDBY_W:
            flowed += at - last
        if flowed * 2 >= FLAT_US <= at - since:
            return True
        last = at
    return False


def _rises_without_power(columns: Columns) -> bool:
    """Suspicion of another meter: the register stood still and rose again while no power was stated; power.py looks
    closer."""
    _, registers, powers = columns
    if len(set(compress(registers, map(STANDBY_W.__ge__, powers)))) < 2 or max(powers) <= STANDBY_W:
        return False  # nearly always, and found in C
    rows = list(zip(registers, powers, strict=True))
    return any(
        a == b < c and 0 <= p <= STANDBY_W and 0 <= q <= STANDBY_W and 0 <= r <= STANDBY_W
        for (a, p), (b, q), (c, r) in zip(rows, rows[1:], rows[2:], strict=False)
    )


def _short_of_power(powers: list[int], energy_wh: int, lasted_us: int) -> bool:
    """Did the register move by far less than the mean of the stated powers amounts to?"""
    return bool(powers) and sum(powers) * lasted_us * CAUGHT_UP > energy_wh * 100 * HOUR * len(powers)


def _states(
    station: Station, session: Session, connector: Connector, started: int, until: int
) -> list[tuple[int, str]]:
    """Charging states that the readings told, else those of the connector's statuses."""
    if session.states:
        return clock.states(station, session)
    if not connector.reports:
        return []
    return activity.of_session(
        clock.reported(station, session, connector), started, until, previous_end(station, session)
    )


def _gaps(session: Session, times: list[int]) -> list[tuple[int, int]]:
    """Stretches longer than twice the usual interval and than two minutes; none known without three readings."""
    if len(times) < 5 or session.thinned:
        return []
    longest = max(map(sub, times[1:], times))
    if longest <= SHORTEST_GAP:
        return []
    spans = sorted(map(sub, times[1:], times))
    limit = max(2 * spans[len(spans) // 2], SHORTEST_GAP)
    return [(a, b) for a, b in pairwise(times) if b - a > limit] if longest > limit else []


def _lags(times: list[int], registers: list[int], bound: Bound, is_rising: bool) -> list[tuple[int, int]]:
    """Where it is not known when energy flowed, although no reading is missing.

    Between a few readings that are far apart, and where the register stood still and then caught up. `is_rising`: it
    is known that it did not stand still before the end.
    """
    if len(times) < 5:
        return [(a, b) for a, b in pairwise(times) if b - a > SHORTEST_GAP]
    if is_rising:
        return []
    rising = registers[: registers.index(registers[-1]) + 1]  # at the end it stood still, and nothing came after it
    if len(set(rising)) == len(rising):
        return []
    spans = sorted(map(sub, times[1:], times))
    longest = max(2 * spans[len(spans) // 2], SHORTEST_GAP)
    step = max(bound.step_wh, resolution(set(registers), 3))
    return lags(list(zip(times, registers, strict=True)), bound._replace(step_wh=step), longest)


def _status(session: Session, energy_wh: int | None, lasted_us: int, limits: Limits) -> Status:
    if not session.ended():
        return "open"
    if session.closed_by == "ABORTED_BY_NEW_START":
        return "aborted"
    return "aborted" if energy_wh == 0 and lasted_us < limits.shortest_us else "completed"


def _evidence(quality: tuple[str, ...], estimated: bool) -> Evidence:
    if not INCOMPLETE.isdisjoint(quality):
        return "incomplete"
    return "estimated" if estimated or not ESTIMATED.isdisjoint(quality) else "complete"


def learn(connector: Connector, session: Session, measured: Measured) -> None:
    """What a closed session tells of the connector's register: its step, and the beat on which it is refreshed."""
    if not measured.registers or measured.dropped_wh:
        return
    if connector.resolution_of < ENOUGH:
        sent = set(session.readings[ENERGY::STRIDE])
        sent.discard(ABSENT)
        sent = sent or set(measured.registers)
        step = resolution(sent, 3)
        if len(sent) > 2 and (step < connector.resolution_wh or len(sent) > connector.resolution_of):
            connector.resolution_wh, connector.resolution_of = step, max(len(sent), connector.resolution_of)
    if 0 in map(sub, measured.registers[1:-1], measured.registers):
        connector.beat_us = beat(list(zip(measured.times, measured.registers, strict=True))) or connector.beat_us


def seconds(us: int) -> int:
    """Whole seconds, half up."""
    return (us + SECOND // 2) // SECOND
