"""Ends: the stop of a session, the first of which stays."""

from __future__ import annotations

from pipeline.domain.events import SessionEnded
from pipeline.domain.session import clock
from pipeline.domain.session.finding import only_open, shell, unarchive
from pipeline.domain.session.neighbours import disturb_next, line_up
from pipeline.domain.session.notes import alert, heard, note, refuse
from pipeline.domain.session.timeline import note_number
from pipeline.domain.station import LATENESS_HORIZON, REORDER_WINDOW, Session, Station, Step


def end(station: Station, event: SessionEnded) -> Step | None:
    """Ends a session by its stop, also one that a rule has closed; without a start it is held as a shell."""
    heard(station, event)
    at = event.event_time_us
    transaction = event.transaction_id
    session = (
        station.sessions.get(transaction) if transaction is not None else only_open(station, event.connector_id, at)
    )
    if session is None and transaction is not None:
        session = unarchive(station, transaction)
    if session is None:
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return refuse(station, "TOO_LATE", "older than the lateness horizon")
        if transaction is None:
            return refuse(station, "TX_ID_UNMATCHED", "no or several open transactions could own this stop")
        session = shell(station, transaction, event.connector_id, at)  # problem 12: hold it, wait for the start
    elif transaction is None:
        note(session, "TX_ID_RECONCILED")
    if session.closed_by == "STOP":
        return _stop_again(station, event, session)
    late = session.ended()
    disturb_next(station, session)
    session.ended_at_us = session.stop_sent_us = at
    session.stop_register_wh = event.register_wh
    session.stop_received_us = event.received_time_us
    session.stop_reason, session.stop_token = event.reason, event.token
    session.close("STOP")
    if clock.judge(session):
        line_up(station, session.connector_id)
        disturb_next(station, session)
    at = session.ended_at_us
    if late and station.newest_us - at > REORDER_WINDOW:
        note(session, "LATE_REPLAY")  # problem 10
    for code in event.codes:
        note(session, code)
    if event.seq_no is not None:
        note_number(session, event.seq_no)
    if event.token is not None and session.token is not None and event.token != session.token:
        note(session, "OTHER_STOP_TAG")  # problem 23
    station.newest_us = max(station.newest_us, at)
    station.used += 1
    step = Step()
    if session.started_at_us is None:
        station.wake_us = min(station.wake_us, at + REORDER_WINDOW)
        return step
    station.wake_us = min(station.wake_us, at + REORDER_WINDOW)
    step.rated.append((session, "LATE_STOP" if late else "ENDED"))
    return step


def _stop_again(station: Station, event: SessionEnded, session: Session) -> Step | None:
    if event.register_wh == session.stop_register_wh and event.event_time_us == session.ended_as_sent_us():
        station.duplicates += 1
        return None
    step = refuse(station, "DOUBLE_STOP", "the transaction already has another stop")  # problem 13: the first stays
    alert(step, "DOUBLE_STOP", station.connector(session.connector_id), session, event.event_time_us)
    return step
