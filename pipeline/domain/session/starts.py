"""Starts: a session begins, again, under another id, or without its token."""

from __future__ import annotations

from pipeline.domain.events import SessionAuthorized, SessionStarted
from pipeline.domain.metering import clock
from pipeline.domain.metering.conservation import withdraw
from pipeline.domain.session.finding import find, is_on, share, shared_key, shell, unarchive
from pipeline.domain.session.neighbours import line_up, untangle
from pipeline.domain.session.notes import alert, heard, refuse, touched
from pipeline.domain.session.status import note_boots
from pipeline.domain.session.timeline import note_number
from pipeline.domain.station import (
    CLOCK_TOLERANCE,
    LATENESS_HORIZON,
    SETTLE,
    UNKNOWN_CONNECTOR,
    UPDATE_EVERY,
    Session,
    Station,
    Step,
)


def start(station: Station, event: SessionStarted) -> Step | None:
    """Begins a session, or completes the one whose evidence came before; a repeated start is counted."""
    heard(station, event)
    at = event.event_time_us
    believed = clock.believed(station, at, event.received_time_us)
    if believed <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
        return refuse(station, "TOO_LATE", "older than the lateness horizon")
    same = _same_start(station, event)
    if same is not None:
        return _start_again(station, event, same)
    connector_id = UNKNOWN_CONNECTOR if event.connector_id is None else event.connector_id
    key = event.transaction_id if event.transaction_id is not None else f"call:{event.call or at}"
    session = station.sessions.get(key) or unarchive(station, key)
    if session is not None and not is_on(session, event.connector_id):
        key = shared_key(key, connector_id)  # one id for two connectors (problem 6a)
        other, session = session, station.sessions.get(key) or unarchive(station, key)
        if session is None:
            session = Session(connector_id, other.transaction)
            station.sessions[key] = session
        share(other, session)
    if session is not None and _is_start_of(session, event):
        return _start_again(station, event, session)
    if session is not None and session.started_at_us is not None:
        if not session.ended() or believed <= (session.ended_at_us or 0):
            step = refuse(station, "ID_CONFLICT", "another start of this transaction is known")
            alert(step, "ID_CONFLICT", station.connector(connector_id), session, at)
            return step
        station.sessions[f"{key}#{session.started_at_us}"] = station.sessions.pop(key)  # 1.6 ids can be used again
        session = None
    step = Step()
    if session is None:
        session = Session(connector_id, key if event.transaction_id is not None else "")
        station.sessions[key] = session
    elif session.revision:
        step.voided.append((session, session.session_id))
        withdraw(station.connector(session.connector_id), session)
    _begin(session, event, connector_id)
    clock.judge(station, session)
    at = session.started_at_us or at
    session.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
    if event.seq_no is not None:
        note_number(session, event.seq_no)
    note_boots(station, session)
    if not session.readings:
        session.last_at_us = at
        if event.register_wh is not None:
            session.last_register_wh = event.register_wh
    line_up(station, session.connector_id)
    station.newest_us = max(station.newest_us, at)
    if session.call is None:
        station.used += 1
    station.wake_us = 0 if session.ended() or station.orphans else min(station.wake_us, at + SETTLE)
    if session.ended():
        step.rated.append((session, "START_ARRIVED" if session.revision else "ENDED"))
        untangle(station, session.connector_id, step)
    return step


def _begin(session: Session, event: SessionStarted, connector_id: int) -> None:
    """What the start says of its session."""
    session.provisional = False
    session.session_id = ""
    if session.connector_id == UNKNOWN_CONNECTOR:
        session.connector_id = connector_id
    session.codes.extend(code for code in event.codes if code not in session.codes)
    session.started_at_us = session.start_sent_us = event.event_time_us
    session.start_received_us = event.received_time_us
    session.suspect |= clock.is_suspect(event.event_time_us, event.received_time_us)
    session.slow |= session.suspect
    session.start_register_wh = event.register_wh
    if event.token is not None:  # else a message that came before may have said it
        session.token, session.billing_token = event.token, event.billing_token
        session.analytics_token = event.analytics_token
    session.quote, session.reservation = event.quote, session.reservation or event.reservation
    session.call = event.call if event.transaction_id is None else None


def authorize(station: Station, event: SessionAuthorized) -> Step | None:
    """The token of a transaction that already runs (OCPP 2.0.1); the first one stays."""
    heard(station, event)
    session = find(station, event.transaction_id, event.connector_id)
    if session is None:
        at = clock.believed(station, event.event_time_us, event.received_time_us)
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return refuse(station, "TOO_LATE", "older than the lateness horizon")
        session = shell(station, event.transaction_id, event.connector_id, at)
    if session.token is None:
        session.token, session.billing_token = event.token, event.billing_token
        session.analytics_token = event.analytics_token
        touched(station, session, "TOKEN_ARRIVED")
    if event.reservation and not session.reservation:
        session.reservation, session.fold = True, None
        touched(station, session, "TOKEN_ARRIVED")
    if session.connector_id == UNKNOWN_CONNECTOR and event.connector_id is not None:
        session.connector_id = event.connector_id
    station.used += 1
    return None


def _same_start(station: Station, event: SessionStarted) -> Session | None:
    """The session with the same natural key (station, connector, token, time, register), whatever its id."""
    return next((session for _, session in station.each_session() if _is_start_of(session, event)), None)


def _is_start_of(session: Session, event: SessionStarted) -> bool:
    return (
        (session.started_as_sent_us() == event.event_time_us or _is_timeless_retry(session, event))
        and is_on(session, event.connector_id)
        and event.token in (None, session.token)
        and session.start_register_wh == event.register_wh
    )


def _is_timeless_retry(session: Session, event: SessionStarted) -> bool:
    """Starts that state no time have that of their receipt: one that follows soon, before any stop, is the same."""
    if "TIME_ASSUMED" not in event.codes or "TIME_ASSUMED" not in session.codes or session.started_at_us is None:
        return False
    has_stopped = session.closed_by == "STOP" and session.stop_received_us <= event.received_time_us
    return not has_stopped and abs(session.start_received_us - event.received_time_us) <= CLOCK_TOLERANCE


def _start_again(station: Station, event: SessionStarted, session: Session) -> Step | None:
    station.duplicates += 1
    session.repeated += event.register_wh is not None
    if 0 < event.received_time_us < session.start_received_us:  # the first one, which comes second in the log
        session.start_received_us = event.received_time_us
        session.start_sent_us = event.event_time_us
        if not session.suspect:
            session.started_at_us = event.event_time_us
        clock.judge(station, session)
        line_up(station, session.connector_id)
        touched(station, session, "START_ARRIVED")
    if event.call is not None and f"call:{event.call}" not in station.sessions:
        station.sessions[f"call:{event.call}"] = session
        session.aliases.append(f"call:{event.call}")
    elif event.transaction_id is not None and event.transaction_id not in station.sessions:
        station.sessions[event.transaction_id] = session  # a second id for the same start is an alias of the first
        session.aliases.append(event.transaction_id)
    return None
