"""What the evidence of a session amounts to: energy, times, activity, completeness and quality codes.

The rule of this file: a pure judgement over the whole set of evidence, so that the order of arrival cannot matter. It
never invents: energy that cannot be proven is estimated and says so, or is None. A plain session takes the short
way (plain.py); everything else is judged in energy.py.
"""

from __future__ import annotations

from functools import partial
from operator import sub

from pipeline.domain.bounds import LONGEST_SESSION_US
from pipeline.domain.events import BillDecided
from pipeline.domain.limits import Limits
from pipeline.domain.metering import activity, clock
from pipeline.domain.metering.columns import columns_of
from pipeline.domain.metering.decided import AS_MEASURED, Ruling, rule
from pipeline.domain.metering.ends import bound_open_end, end_of
from pipeline.domain.metering.energy import judge
from pipeline.domain.metering.evidence import Evidence as Gathered
from pipeline.domain.metering.evidence import gather
from pipeline.domain.metering.facts import tell
from pipeline.domain.metering.holes import gaps_of, lags_of, paused_in
from pipeline.domain.metering.judgement import ENERGY_UNKNOWN, Judgement
from pipeline.domain.metering.learned import bound_of, refined
from pipeline.domain.metering.measured import ESTIMATED, HELD_BY, INCOMPLETE, NOT_QUALITY, Measured
from pipeline.domain.metering.neighbours import previous_end
from pipeline.domain.metering.plain import plain
from pipeline.domain.metering.powers import stated_powers
from pipeline.domain.metering.registers import Bound, resolution
from pipeline.domain.metering.unheard import NOTHING, unheard
from pipeline.domain.outputs import Evidence, Status
from pipeline.domain.station import ABSENT, SECOND, Connector, Session, Station


def measure(station: Station, session: Session, limits: Limits, previous_wh: int | None) -> Measured:
    """Judges the evidence. `previous_wh`: where the connector's register stood before this session."""
    connector = station.connector(session.connector_id)
    clock.judge(station, session)
    codes = list(session.codes)
    ended_at = end_of(station, session, codes)
    columns = columns_of(session.readings)
    highest = max(columns.powers, default=ABSENT)
    bound = bound_of(session, connector, limits, columns, highest)
    judged = plain(session, connector, ended_at, bound, previous_wh, columns)
    clean = judged is not None
    since = started_at = session.started_at_us
    readings = session.readings
    if judged is None:
        found = _gathered(station, session, ended_at)
        judged = judge(found, refined(bound, found), previous_wh)
        _note_evidence(station, session, found, judged, codes)
        readings, since, until = found.readings, found.since_us, found.until_us
        columns = columns_of(readings)
    else:
        until = ended_at if ended_at is not None else max(session.last_at_us, since or 0)
    settled: tuple[str, ...] = ()
    if (doubts := _doubts(codes, judged, since, until)) or session.decided is not None:
        ruling = _ruled(station, session, ended_at, judged, doubts, bound, previous_wh)
        if ruling is not None:
            judged, since, until, settled = ruling
            started_at = None if started_at is None and _decided_start(session) is None else since
            ended_at, clean = until, False
        codes.extend(code for code in judged.codes if code not in codes)
    started = since if since is not None else until
    times, registers = judged.times, judged.registers
    read, known = (times[:-1], registers[:-1]) if "STOP_REGISTER_MISSING" in codes else (times, registers)
    gaps = gaps_of(session, read)
    status = _status(session, gaps, judged.energy_wh, until - started, limits, codes)
    states = _states(station, session, connector, started, until)
    powers, between = stated_powers(columns, times, until)
    shown = bound if clean else bound._replace(step_wh=max(bound.step_wh, resolution(set(registers), 3)))
    lost = NOTHING if session.thinned or session.states else unheard(readings, started, until)
    is_rising = judged.is_rising or 0 not in map(sub, known[1:-1], known)
    observed = activity.observe(
        states, read, known, powers[: len(known)], between, started, until, shown, connector.beat_us, lost, is_rising
    )
    idle = _idle_us(observed, bool(gaps) and paused_in(gaps, read, known, shown.step_wh), until, codes)
    if not clean:
        if not settled:
            bound_open_end(station, session, connector, judged, until, bound)
        _widen(judged, bound)
    quality = tuple(sorted(set(codes) - NOT_QUALITY)) if codes else ()
    tell(judged.account, station, session, started_at, ended_at, states, observed.is_contradicted)
    return Measured(
        started_at_us=started_at, ended_at_us=ended_at, since_us=started, until_us=until, times=times,
        registers=registers, energy_wh=judged.energy_wh, powers=powers, low_wh=judged.low_wh, high_wh=judged.high_wh,
        estimated_wh=judged.estimated_wh, quarantined_wh=judged.quarantined_wh, dropped_wh=judged.dropped_wh,
        start_register_wh=judged.start_register_wh, stop_register_wh=judged.stop_register_wh, status=status,
        activity=observed.stretches, charging_us=until - started - idle, idle_us=idle, quality=quality, settled=settled,
        max_power_w=highest if highest >= 0 else None, clean=clean, gaps=gaps, is_rising=judged.is_rising,
        evidence="incomplete" if status == "open" else "estimated" if settled else _evidence(quality, judged),
        lags=[] if session.thinned else lags_of(session, times, registers, bound, clean and is_rising),
        unseen_us=judged.unseen_us + sum(b - a for a, b in gaps), powers_between=between, account=judged.account,
    )  # fmt: skip


def _note_evidence(station: Station, session: Session, found: Gathered, judged: Judgement, codes: list[str]) -> None:
    """What evidence that is not plain says of itself."""
    codes.extend(code for code in judged.codes if code not in codes)
    if found.has_loose:
        codes.append("TX_ID_RECONCILED")
    if session.suspect and "CLOCK_SHIFTED" not in codes and clock.is_shifted(station, session):
        codes.append("CLOCK_SHIFTED")


def _idle_us(observed: activity.Observed, is_slow: bool, until: int, codes: list[str]) -> int:
    """`is_slow`: a pause would explain what flowed while nothing was read."""
    if observed.is_contradicted:
        codes.append("STATUS_CONTRADICTED")
    periods = observed.stretches
    if observed.is_unclear or (is_slow and len(periods) == 1):
        codes.append("ACTIVITY_UNCLEAR")
    is_idle = len(periods) > 1 or periods[0].activity == "idle"
    return sum(end - begin for begin, end in activity.parts(periods, until, "idle")) if is_idle else 0


def _widen(judged: Judgement, bound: Bound) -> None:
    """By fractions of a Wh, at both ends of what was not seen."""
    if judged.unseen_us and judged.high_wh is not None and judged.high_wh > (judged.energy_wh or 0):
        judged.high_wh += 2
        judged.unseen_us += max(bound.time_us(2), SECOND)


def _gathered(station: Station, session: Session, ended_at: int | None, decided: BillDecided | None = None) -> Gathered:
    found = gather(station, session, ended_at, decided)
    since, until = found.since_us, found.until_us
    states = _states(station, session, station.connector(session.connector_id), since, until)
    found.idle, found.paused = activity.pauses(states, since, until)
    return found


def _doubts(codes: list[str], judged: Judgement, since: int | None, until: int) -> list[str]:
    """Why the evidence alone holds the bill."""
    if since is not None and until - since > LONGEST_SESSION_US:
        codes.append("IMPOSSIBLE_DURATION")
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
    return rule(session, gathered, judged, doubts, refined(bound, gathered()), previous_wh)


def _decided_start(session: Session) -> int | None:
    return None if session.decided is None else session.decided.started_at_us


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


def _status(
    session: Session, gaps: list[tuple[int, int]], energy_wh: int | None, lasted_us: int, limits: Limits,
    codes: list[str],
) -> Status:  # fmt: skip
    """With codes of what is missing, and of an end that is none of its own."""
    if gaps:
        codes.append("GAP")
    if not session.ended():
        return "open"
    if session.seq_gaps:
        codes.append("SEQ_GAP")
    if session.closed_by != "STOP":
        codes.append(session.closed_by)
        if session.closed_by == "ABORTED_BY_NEW_START":
            return "aborted"
    if energy_wh != 0 or lasted_us >= limits.shortest_us:
        return "completed"
    if session.closed_by == "STOP":
        codes.append("ABORTED")
    return "aborted"


def _evidence(quality: tuple[str, ...], judged: Judgement) -> Evidence:
    if quality and not INCOMPLETE.isdisjoint(quality):
        return "incomplete"
    is_estimated = (judged.estimated_wh > 0 and not judged.is_proven) or judged.low_wh != judged.high_wh
    return "estimated" if is_estimated or (quality and not ESTIMATED.isdisjoint(quality)) else "complete"
