"""Confirmations: the answer to a start (OCPP 1.6) names the transaction; what came under that id before joins it."""

from __future__ import annotations

from pipeline.domain.events import SessionConfirmed
from pipeline.domain.metering import clock
from pipeline.domain.metering.conservation import withdraw
from pipeline.domain.session.finding import is_same_place, share, shared_key, unarchive
from pipeline.domain.session.neighbours import join, line_up, untangle
from pipeline.domain.session.notes import heard, touched
from pipeline.domain.station import Session, Station, Step


def confirm(station: Station, event: SessionConfirmed) -> Step | None:
    """The central system answered the start of `call`: the session has its transaction id."""
    heard(station, event)
    station.outside += 1
    session = station.sessions.get(f"call:{event.call}")
    if session is None or event.transaction_id is None:
        return None
    if session.transaction:
        if event.transaction_id == session.transaction and "START_UNANSWERED" in session.codes:
            session.codes.remove("START_UNANSWERED")  # the answer was only late
            touched(station, session, "START_ARRIVED")
        if event.transaction_id not in station.sessions:
            station.sessions[event.transaction_id] = session
            session.aliases.append(event.transaction_id)
        return None
    return _adopt_id(station, session, event.transaction_id)


def _adopt_id(station: Station, session: Session, transaction: str) -> Step | None:
    """`session` was pending and is known by `transaction` from now on; what came under that id before joins it."""
    key = transaction
    early = station.sessions.get(key) or unarchive(station, key)
    if early is not None and not is_same_place(early, session):  # one id for two connectors (problem 6a)
        share(early, session)
        key = shared_key(transaction, session.connector_id)
        early = station.sessions.get(key) or unarchive(station, key)
    if early is not None and early.started_at_us is not None:
        if early.started_at_us == session.started_at_us and early.start_register_wh == session.start_register_wh:
            _repeat_of(station, session, early)
            return None
        if key in early.aliases:  # of one charge under two ids, which this start may be of, too
            key = f"{key}#{session.start_sent_us}"
        else:
            station.sessions[f"{key}#{early.started_at_us}"] = early  # 1.6 ids can be used again
        early = None
    if session.call is not None:
        session.call = None
        station.used += 1
    session.transaction = transaction
    session.aliases.extend(
        name for name, known in station.sessions.items() if known is session and name not in session.aliases
    )
    station.sessions[key] = session
    step = Step()
    if early is not None:
        if early.billed is not None:  # somebody had decided about it before its start came
            step.merged.append((session, early))
        elif early.revision:
            step.voided.append((session, early.session_id))
            session.revision = early.revision
        withdraw(station.connector(early.connector_id), early)
        join(session, early)
        clock.judge(station, session)
        line_up(station, session.connector_id)
    if session.ended():
        step.rated.append((session, "START_ARRIVED"))
        untangle(station, session.connector_id, step)
        station.wake_us = 0
    return step


def _repeat_of(station: Station, repeated: Session, first: Session) -> None:
    """The same start was sent again under another call, and answered with the same id: one session."""
    for key, session in list(station.sessions.items()):
        if session is repeated:
            station.sessions[key] = first
            first.aliases.append(key)
    station.duplicates += 1
    first.repeated += repeated.start_register_wh is not None
