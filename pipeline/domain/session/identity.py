"""Whose is it? Events without a usable transaction id, and sessions whose start was never answered (problems 19, 20).

Connector, tag, register and time decide. One candidate: adopt it. Several: nobody guesses; after the reorder window the
bills of all candidates are held, and the event becomes a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.domain.events import SessionEnded
from pipeline.domain.limits import Limits
from pipeline.domain.metering import clock
from pipeline.domain.metering.conservation import withdraw
from pipeline.domain.metering.registers import LAG
from pipeline.domain.outputs import Quarantined
from pipeline.domain.session.finding import sharing
from pipeline.domain.session.neighbours import begins_again, join, line_up, untangle, untangle_unstarted
from pipeline.domain.session.notes import note, touched
from pipeline.domain.station import (
    CLOCK_TOLERANCE,
    HOUR,
    MINUTE,
    NEVER,
    RECEIVED,
    REORDER_WINDOW,
    SETTLE,
    TIME,
    UNKNOWN_CONNECTOR,
    Session,
    Station,
    Step,
)

LimitsOf = Callable[[str, int], Limits]
BEGINNING = 15 * MINUTE
"""A station that measures under a number of its own does so from the beginning on."""
STEP_WH = 100
"""Registers that fit to within so much fit."""


def owner_of_stop(station: Station, stop: SessionEnded, limits_of: LimitsOf | None = None) -> Session | None:
    """The one open session that this stop can end; None: none, or several."""
    found = _candidates(station, stop, limits_of)
    return found[0] if len(found) == 1 else None


def stopped_by_another(station: Station, stop: SessionEnded) -> Session | None:
    """The one session with the id of this stop, if the tag is not (known to be) its own and no connector is named.

    It ends the session (problem 23), but not before SETTLE: the start of the session that has the tag, under the same
    id on another connector (problem 6a), may still come."""
    known = (
        [] if stop.transaction_id is None or stop.connector_id is not None else sharing(station, stop.transaction_id)
    )
    if len(known) != 1 or stop.token in (None, known[0].token):
        return None
    return known[0] if known[0].token is not None or known[0].started_at_us is None else None


def _lone_shell(station: Station, stop: SessionEnded, limits_of: LimitsOf) -> Session | None:
    """Of the sessions that share the id of this stop and do not have its tag, the one whose start was not seen, if its
    register can have moved to that of the stop."""
    known = [] if stop.transaction_id is None or stop.token is None else sharing(station, stop.transaction_id)
    if any(session.token == stop.token for session in known):
        return None
    shells = [
        session
        for session in known
        if session.started_at_us is None
        and session.closed_by != "STOP"
        and (not stop.register_wh or _reaches(station, session, stop, session.last_register_wh, limits_of))
    ]
    return shells[0] if len(shells) == 1 else None


def _reaches(station: Station, session: Session, stop: SessionEnded, known_wh: int, limits_of: LimitsOf) -> bool:
    """Can the register have moved from the last one that is known of the session to that of the stop?"""
    limits = limits_of(station.station_id, session.connector_id)
    watts = (limits.rating_w or limits.unrated_w) * limits.tolerance_percent // 100
    most = watts * max(stop.event_time_us - session.last_at_us, LAG) // HOUR + STEP_WH
    return -STEP_WH <= (stop.register_wh or 0) - known_wh <= most


def _candidates(station: Station, stop: SessionEnded, limits_of: LimitsOf | None) -> list[Session]:
    """Open sessions that it fits; those that have no id themselves before the others."""
    if stop.transaction_id is not None:
        known = sharing(station, stop.transaction_id)
    else:
        known = [session for _, session in station.each_session()]
    found = [session for session in known if _fits(station, session, stop, limits_of)]
    found = _in_their_time(found, stop.event_time_us)
    unanswered = [session for session in found if not session.transaction]
    return unanswered if stop.transaction_id is None and unanswered else found


def _in_their_time(found: list[Session], at: int) -> list[Session]:
    """One connector charges one car at a time: of its sessions the one that began last before `at`, if any did."""
    latest: dict[int, int] = {}
    for session in found:
        if session.start_sent_us <= at:
            connector_id = session.connector_id
            latest[connector_id] = max(latest.get(connector_id, 0), session.start_sent_us)
    return [
        session for session in found if session.start_sent_us == latest.get(session.connector_id, session.start_sent_us)
    ]


def _fits(station: Station, session: Session, stop: SessionEnded, limits_of: LimitsOf | None) -> bool:
    at, register = stop.event_time_us, stop.register_wh
    if session.closed_by == "STOP" or session.started_at_us is None or session.start_sent_us > at + CLOCK_TOLERANCE:
        return False
    if stop.connector_id is not None and stop.connector_id != session.connector_id:
        return False
    if None not in (stop.token, session.token) and stop.token != session.token:
        return False
    if not register or register == session.start_register_wh:
        return True  # it was not read, or is frozen
    if stop.transaction_id is not None and stop.token is not None and stop.token == session.token:
        return True  # both names are its own, and a register may have been reset
    known = max(session.last_register_wh, session.start_register_wh or 0)
    if register < known - STEP_WH:
        return False
    if limits_of is None or session.start_register_wh is None:
        return True
    return _reaches(station, session, stop, known, limits_of)


def adopt_unanswered(station: Station, now: int, limits_of: LimitsOf, step: Step) -> int:
    """Sessions without a start take the one start on their connector that was never answered, or whose own id nothing
    was measured under: firmware may send a number of its own.

    Returns when to look again: answers and other starts may still come for SETTLE."""
    if None not in [session.started_at_us for session in station.sessions.values()]:
        return NEVER  # nearly always
    shells = [(key, s) for key, s in station.each_session() if s.started_at_us is None and s.transaction]
    if not shells:
        return NEVER
    untangle_unstarted(station, [session for _, session in shells if _received(session) + SETTLE <= now], step)
    shells = [(key, session) for key, session in shells if station.sessions.get(key) is session]
    wake = min(
        (_received(session) + SETTLE for _, session in shells if now < _received(session) + SETTLE), default=NEVER
    )
    pending = [
        session
        for _, session in station.each_session()
        if session.started_at_us is not None
        and (not len(session.readings) if session.transaction else session.closed_by != "STOP")
    ]
    for _, early in shells:
        found = [session for session in pending if _continues(station, session, early, limits_of)]
        found = [session for session in found if not any(begins_again(session, first) for first in found)]
        rivals = [each for _, each in shells if found and _continues(station, found[0], each, limits_of)]
        if len(found) != 1 or len(rivals) != 1:
            continue
        due = max(_received(found[0]), _received(early)) + SETTLE
        if now < due:
            wake = min(wake, due)
            continue
        pending.remove(found[0])
        if early.billed is not None:  # somebody had decided about it before its start was found
            step.merged.append((found[0], early))
        _adopt(station, found[0], early)
        untangle(station, found[0].connector_id, step)
    return wake


def _received(session: Session) -> int:
    """When the session was heard of first."""
    if session.started_at_us is not None:
        return session.start_received_us or session.start_sent_us
    readings = session.readings
    return (readings[RECEIVED] or readings[TIME]) if len(readings) else session.stop_received_us or session.stop_sent_us


def _continues(station: Station, session: Session, early: Session, limits_of: LimitsOf) -> bool:
    """Does the evidence under an id go on from this start?"""
    since = early.readings[0] if len(early.readings) else early.stop_sent_us
    register = early.readings[1] if len(early.readings) else early.stop_register_wh
    if early.connector_id not in (session.connector_id, UNKNOWN_CONNECTOR) or since < session.start_sent_us:
        return False
    if session.superseded_at_us is not None and since >= session.superseded_at_us:
        following = [other for _, other in station.each_session() if other.start_sent_us == session.superseded_at_us]
        if not any(begins_again(other, session) for other in following):
            return False
    if None not in (early.stop_token, session.token) and early.stop_token != session.token:
        return False
    if session.transaction and not _is_beside(session, early, since):
        return False
    if register is None or register < 0 or session.start_register_wh is None:
        return True
    limits = limits_of(station.station_id, session.connector_id)
    watts = (limits.rating_w or limits.unrated_w) * limits.tolerance_percent // 100
    start, began = session.start_register_wh, session.start_sent_us

    def fits(flowed: int, at: int) -> bool:
        return -STEP_WH <= flowed <= watts * max(at - began, LAG) // HOUR + STEP_WH

    if fits(register - start, since):
        return True
    stop = early.stop_register_wh if early.closed_by == "STOP" else None
    return (
        stop is not None and fits(register, since) and fits(stop - start, early.stop_sent_us)
    )  # session-relative ones


def _is_beside(session: Session, early: Session, since: int) -> bool:
    """Can evidence under another id belong to a session that has an id? While it lasted, or from its beginning on."""
    if early.connector_id != session.connector_id and None in (early.stop_token, session.token):
        return False
    if session.closed_by == "STOP":
        return early.closed_by != "STOP" and since <= session.stop_sent_us
    return since <= session.start_sent_us + BEGINNING


def _adopt(station: Station, session: Session, early: Session) -> None:
    """The start is that of `early`: one session, under the id that it was given, else under that of `early`."""
    answered = session.transaction
    kept = session if answered else early
    name = next(key for key, known in station.each_session() if known is kept)
    session.transaction = kept.transaction
    for key in [key for key, known in station.sessions.items() if known is session or known is early]:
        station.sessions[key] = session
        if key != name and key not in session.aliases:
            session.aliases.append(key)
    if session.call is not None:
        session.call = None
        station.used += 1
    join(session, early)
    withdraw(station.connector(early.connector_id), early)
    note(session, "TX_ID_RECONCILED" if answered else "START_UNANSWERED")
    clock.judge(station, session)
    line_up(station, session.connector_id)
    if not answered:
        session.revision = max(session.revision, early.revision)
        session.session_id = ""
    session.dirty, session.dirty_reason = session.ended(), "START_ARRIVED"


def settled_at(stop: SessionEnded) -> int:
    """From when on all starts are known that a stop without an id can end."""
    return (stop.received_time_us or stop.event_time_us) + SETTLE


def settle_orphans(
    station: Station, now: int, limits_of: LimitsOf, step: Step
) -> Iterable[tuple[SessionEnded, Session]]:
    """Stops that found their session now; one that finds none in time is refused and holds the sessions it may end."""
    for stop in sorted(station.orphans, key=lambda stop: stop.event_time_us):
        another = stopped_by_another(station, stop)
        if (stop.transaction_id is None or another is not None) and now < settled_at(stop):
            continue
        session = owner_of_stop(station, stop, limits_of) or another or _lone_shell(station, stop, limits_of)
        if session is not None:
            station.orphans.remove(stop)
            yield stop, session
        elif now >= stop.event_time_us + REORDER_WINDOW:
            station.orphans.remove(stop)
            station.quarantined += 1
            step.quarantined.append(
                Quarantined("TX_ID_UNMATCHED", "no or several open transactions could own this stop", stop)
            )
            for session in _candidates(station, stop, limits_of):
                note(session, "STOP_AMBIGUOUS")
                touched(station, session, "STOP_AMBIGUOUS")
