"""What a session left, at its true times: registers, intervals, phases, powers, each apart; nothing is judged here."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.domain.events import BillDecided
from pipeline.domain.metering import clock
from pipeline.domain.metering.account import Account
from pipeline.domain.metering.neighbours import next_start, previous_end
from pipeline.domain.metering.registers import Point
from pipeline.domain.station import (
    ABSENT,
    BEGIN,
    ENERGY,
    INTERVAL,
    KIND,
    MINUTE,
    NAMED,
    PHASES,
    POWER,
    RECEIVED,
    REGISTER,
    SECOND,
    STRIDE,
    TIME,
    Connector,
    Numbers,
    Session,
    Station,
)

AT_THE_END = 2 * SECOND
"""A sample of the end may be stamped so much after the stop (problem 26: 1 to 2 ms) or before it."""


@dataclass(slots=True)
class Evidence:
    """Times in us UTC, in order; registers and intervals Wh, powers W."""

    started_us: int | None
    """None: no start was seen."""
    ended_us: int | None
    """None: open."""
    since_us: int
    """The start, else the first evidence."""
    until_us: int
    """The end, else the last evidence."""
    by_stop: bool
    start_wh: int | None
    stop_wh: int | None
    readings: Numbers
    """All of them as laid out in a session, at their true times."""
    registers: list[Point] = field(default_factory=list)
    """From start to end, both included."""
    after: list[Point] = field(default_factory=list)
    """Registers that were read after the stop; not used, and left out already."""
    begins: list[Point] = field(default_factory=list)
    intervals: list[Point] = field(default_factory=list)
    phases: dict[int, list[Point]] = field(default_factory=dict)
    """By the bits of the phases that were added."""
    powers: list[Point] = field(default_factory=list)
    idle: list[tuple[int, int]] = field(default_factory=list)
    """(from, to) in which the station reported that the vehicle takes no power ..."""
    paused: list[tuple[int, int]] = field(default_factory=list)
    """... or that either of the two pauses."""
    has_loose: bool = False
    """Some readings came without a usable transaction id (problems 19 to 21)."""
    account: Account = field(default_factory=Account)


def gather(station: Station, session: Session, ended_us: int | None, decided: BillDecided | None = None) -> Evidence:
    """All evidence of the session, also what came without a transaction id; `ended_us` None: it is open.

    What `decided` states takes the place of start and stop as they were told.
    """
    readings = readings_of(station, session, ended_us)
    has_loose = _is_unnamed(session, station.connector(session.connector_id), ended_us)
    times = readings[TIME::STRIDE]
    last = max(session.last_at_us, session.started_at_us or 0) if not session.suspect else 0
    until = ended_us if ended_us is not None else max([last, session.started_at_us or 0, *times[-1:]])
    since = session.started_at_us if session.started_at_us is not None else (times[0] if len(times) else until)
    since = min(since, until)
    found = Evidence(
        session.started_at_us,
        ended_us,
        since,
        until,
        session.closed_by == "STOP",
        session.start_register_wh,
        session.stop_register_wh if session.closed_by == "STOP" else None,
        readings,
    )
    found.has_loose = has_loose
    if decided is not None:
        _decide(found, decided, previous_end(station, session), next_start(station, session))
    for index in range(0, len(readings), STRIDE):
        _sort_in(found, readings, index)
    if len(station.connector(session.connector_id).loose):
        _account_for_loose(found, station.connector(session.connector_id), session, ended_us)
    found.account.used = session.unkept
    found.account.repeated += session.repeated
    found.account.add_counted(session.left_out)
    return found


def _decide(found: Evidence, decided: BillDecided, earliest_us: int, latest_us: int | None) -> None:
    """Start and stop by a decision, between the sessions next to it; what was told of them is left out."""
    since, until = decided.started_at_us, decided.ended_at_us
    since = None if since is None else max(since, earliest_us)
    until = until if until is None or latest_us is None else min(until, latest_us)
    if since is not None or decided.start_register_wh is not None:
        found.since_us = found.since_us if since is None else since
        found.started_us = found.since_us
    if until is not None or decided.stop_register_wh is not None:
        found.until_us = found.until_us if until is None else until
        found.by_stop = True
    found.since_us = min(found.since_us, found.until_us)
    sent = found.start_wh, found.stop_wh
    told = decided.start_register_wh, decided.stop_register_wh
    for at, was, is_now in zip((found.since_us, found.until_us), sent, told, strict=True):
        if was is not None and is_now is not None:
            found.account.leave_out("AGAINST_DECISION", [(at, was)])
    found.start_wh = sent[0] if told[0] is None else told[0]
    found.stop_wh = sent[1] if told[1] is None else told[1]


def _sort_in(found: Evidence, readings: Numbers, index: int) -> None:
    at, energy, kind = readings[index + TIME], readings[index + ENERGY], readings[index + KIND]
    power = readings[index + POWER]
    if found.started_us is not None and at < found.started_us - MINUTE:
        _leave_out(found, "BEFORE_START", at, energy, power)
        return
    at = max(at, found.since_us)
    if found.ended_us is not None and at > found.until_us:
        if at > found.until_us + AT_THE_END:
            _leave_out(found, "AFTER_STOP", at, energy, power)
            if kind == REGISTER and energy != ABSENT:
                found.after.append((at, energy))
            return
        at = found.until_us
    if power != ABSENT:
        found.powers.append((at, power))
    if energy == ABSENT:
        return
    if kind == REGISTER:
        found.registers.append((at, energy))
    elif kind == INTERVAL:
        found.intervals.append((at, energy))
    elif kind == BEGIN:
        found.begins.append((at, energy))
    else:
        found.phases.setdefault(kind - PHASES, []).append((at, energy))


def _leave_out(found: Evidence, reason: str, at: int, energy: int, power: int) -> None:
    if energy != ABSENT:
        found.account.leave_out(reason, [(at, energy)])
    if power != ABSENT:
        found.account.leave_out(reason, [(at, power)], "W")


def readings_of(station: Station, session: Session, ended_us: int | None) -> Numbers:
    """The session's readings in order of their true times, with those of its connector that named no transaction."""
    readings, connector = session.readings, station.connector(session.connector_id)
    if len(connector.loose):
        readings = _with_loose(readings, session, connector, ended_us)
    if not session.suspect:
        return readings
    return clock.corrected(station, session, readings)[0]


def _with_loose(readings: Numbers, session: Session, connector: Connector, ended_us: int | None) -> Numbers:
    """A reading without transaction belongs to whom its connector had then; a time that is known already stays."""
    known = set(readings[TIME::STRIDE])
    rows = [row for row in _loose_of(session, connector, ended_us) if row[TIME] not in known]
    if not rows:
        return readings
    rows += [readings[index : index + STRIDE] for index in range(0, len(readings), STRIDE)]
    rows.sort(key=lambda row: row[TIME])
    merged = readings[:0]
    for row in rows:
        merged.extend(row)
    return merged


def _loose_of(session: Session, connector: Connector, ended_us: int | None) -> list[Numbers]:
    loose = connector.loose
    rows = [loose[index : index + STRIDE] for index in range(0, len(loose), STRIDE)]
    owned = [row for row in rows if owns(session, row[TIME], ended_us, row[RECEIVED])]
    for row in owned:
        row[KIND] %= NAMED
    return owned


def _is_unnamed(session: Session, connector: Connector, ended_us: int | None) -> bool:
    """Does the session own readings that named no transaction?"""
    loose = connector.loose
    return any(
        kind < NAMED and owns(session, at, ended_us, received)
        for at, kind, received in zip(*(loose[column::STRIDE] for column in (TIME, KIND, RECEIVED)), strict=True)
    )


def _account_for_loose(found: Evidence, connector: Connector, session: Session, ended_us: int | None) -> None:
    """Readings without transaction at a time that is told already: they repeat it, or say something else."""
    times = session.readings[TIME::STRIDE]
    told = {
        "Wh": set(zip(times, session.readings[ENERGY::STRIDE], strict=True)),
        "W": set(zip(times, session.readings[POWER::STRIDE], strict=True)),
    }
    known = set(times)
    for row in _loose_of(session, connector, ended_us):
        for value, unit in ((row[ENERGY], "Wh"), (row[POWER], "W")):
            if row[TIME] in known and value != ABSENT:
                if (row[TIME], value) in told[unit]:
                    found.account.repeated += 1
                else:
                    found.account.leave_out("SECOND_VALUE", [(row[TIME], value)], unit)


def owns(session: Session, at: int, ended_us: int | None, received: int) -> bool:
    """Was the session on its connector at this time, as sent? Where clocks are wrong, nothing that came after its stop
    is its own."""
    if session.started_at_us is None or at < session.start_sent_us:
        return False
    stopped = session.stop_received_us if session.suspect and session.closed_by == "STOP" else 0
    if 0 < stopped < received - AT_THE_END:
        return False
    ended = session.stop_sent_us if session.closed_by == "STOP" else ended_us
    if session.superseded_at_us is not None and at >= session.superseded_at_us:
        return False
    return session.closed_by != "STOP" or ended is None or at <= ended + AT_THE_END
