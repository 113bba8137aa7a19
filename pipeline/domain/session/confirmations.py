"""Confirmations: the answer to a start (OCPP 1.6) names the transaction; what came under that id before joins it."""

from __future__ import annotations

from pipeline.domain.events import SessionConfirmed
from pipeline.domain.session import clock
from pipeline.domain.session.finding import unarchive
from pipeline.domain.session.neighbours import line_up
from pipeline.domain.session.notes import heard
from pipeline.domain.session.timeline import note_number, note_state, place_of
from pipeline.domain.station import ABSENT, STRIDE, Session, Station, Step


def confirm(station: Station, event: SessionConfirmed) -> Step | None:
    """The central system answered the start of `call`: the session has its transaction id."""
    heard(station, event)
    station.outside += 1
    session = station.sessions.get(f"call:{event.call}")
    if session is None or event.transaction_id is None:
        return None
    if session.transaction:
        if event.transaction_id not in station.sessions:
            station.sessions[event.transaction_id] = session
            session.aliases.append(event.transaction_id)
        return None
    return _adopt_id(station, session, event.transaction_id)


def _adopt_id(station: Station, session: Session, transaction: str) -> Step | None:
    """`session` was pending and is known by `transaction` from now on; what came under that id before joins it."""
    early = station.sessions.get(transaction) or unarchive(station, transaction)
    if early is not None and early.started_at_us is not None:
        if early.started_at_us == session.started_at_us and early.start_register_wh == session.start_register_wh:
            _repeat_of(station, session, early)
            return None
        station.sessions[f"{transaction}#{early.started_at_us}"] = early  # 1.6 ids can be used again
        early = None
    if session.call is not None:
        session.call = None
        station.used += 1
    session.transaction = transaction
    session.aliases.extend(key for key, known in station.sessions.items() if known is session)
    station.sessions[transaction] = session
    step = Step()
    if early is not None:
        if early.revision:
            step.voided.append((session, early.session_id))
            session.revision = early.revision
        clock.forget(session)
        clock.forget(early)
        _join(session, early)
        clock.judge(session)
        session.fold = None
        line_up(station, session.connector_id)
    if session.ended():
        step.rated.append((session, "START_ARRIVED"))
        station.wake_us = 0
    return step


def _repeat_of(station: Station, repeated: Session, first: Session) -> None:
    """The same start was sent again under another call, and answered with the same id: one session."""
    for key, session in list(station.sessions.items()):
        if session is repeated:
            station.sessions[key] = first
            first.aliases.append(key)
    station.duplicates += 1


def _join(session: Session, early: Session) -> None:
    """Evidence that arrived under the transaction id before its start was known."""
    for index in range(0, len(early.readings), STRIDE):
        at = early.readings[index]
        place = place_of(session.readings, at)
        if place >= len(session.readings) or session.readings[place] != at:
            session.readings[place:place] = early.readings[index : index + STRIDE]
    for at, state in early.states:
        note_state(session, at, state)
    session.codes.extend(code for code in early.codes if code not in session.codes)
    if early.seq_next != ABSENT:
        for number in range(early.seq_first, early.seq_next):
            if number not in early.seq_missing:
                note_number(session, number)
    if session.ended_at_us is None:
        session.ended_at_us, session.stop_register_wh = early.ended_at_us, early.stop_register_wh
        session.stop_reason, session.stop_token = early.stop_reason, early.stop_token
        session.stop_received_us = early.stop_received_us
        if early.closed_by:
            session.close(early.closed_by)
    if session.readings:
        session.last_at_us = max(session.last_at_us, session.readings[-STRIDE])
        session.last_register_wh = session.readings[-STRIDE + 1]
