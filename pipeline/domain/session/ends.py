"""Ends: the stop of a session, the first of which stays."""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.domain.bounds import MOST_ORPHANS
from pipeline.domain.events import SessionEnded
from pipeline.domain.metering import clock
from pipeline.domain.session.finding import find, sharing, shell
from pipeline.domain.session.identity import LimitsOf, owner_of_stop, settle_orphans, settled_at, stopped_by_another
from pipeline.domain.session.neighbours import disturb_former, disturb_next, line_up, untangle
from pipeline.domain.session.notes import alert, heard, note, refuse, touched
from pipeline.domain.session.status import note_boots
from pipeline.domain.session.timeline import note_number, put_into
from pipeline.domain.station import (
    CLOCK_TOLERANCE,
    KIND,
    LATENESS_HORIZON,
    NAMED,
    RECEIVED,
    REORDER_WINDOW,
    SETTLE,
    STRIDE,
    UNKNOWN_CONNECTOR,
    Session,
    Station,
    Step,
)

SAME_STOP_WH, SAME_STOP_US = 10, CLOCK_TOLERANCE
"""A stop that differs by less from the one that is known under another id of the same charge says the same."""


def end(station: Station, event: SessionEnded) -> Step | None:
    """Ends a session by its stop, also one that a rule has closed; without a start it is held as a shell."""
    heard(station, event)
    at = clock.believed(station, event.event_time_us, event.received_time_us)
    transaction = event.transaction_id
    if (
        transaction is None
        or len(sharing(station, transaction, archived=True)) > 1
        or stopped_by_another(station, event) is not None
    ):
        return _without_id(station, event, at)
    session = find(station, transaction, event.connector_id)
    if session is None:
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return refuse(station, "TOO_LATE", "older than the lateness horizon")
        session = shell(station, transaction, event.connector_id, at)  # problem 12: hold it, wait for the start
    return close_by(station, session, event)


def _without_id(station: Station, event: SessionEnded, at: int) -> Step | None:
    """Problem 19: by connector, tag, register and time; it waits while none or several fit."""
    session = owner_of_stop(station, event) if event.transaction_id is not None else None
    if session is not None:
        _take_loose(station, session, event)
        return close_by(station, session, event)
    if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
        return refuse(station, "TOO_LATE", "older than the lateness horizon")
    if any(_is_same(station, event, each) for each in station.orphans) or _is_known(station, event):
        station.duplicates += 1
        return None
    if len(station.orphans) >= MOST_ORPHANS:
        return refuse(station, "TOO_MANY_STOPS", "too many stops without a usable id wait for their session already")
    station.orphans = [*station.orphans, event]
    station.wake_us = min(station.wake_us, settled_at(event), at + REORDER_WINDOW)
    return None


def _is_same(station: Station, event: SessionEnded, other: SessionEnded) -> bool:
    return (event.event_time_us, event.register_wh, event.token) == (
        other.event_time_us,
        other.register_wh,
        other.token,
    )


def _is_known(station: Station, event: SessionEnded) -> bool:
    """Has it ended a session already?"""
    return any(
        session.closed_by == "STOP"
        and (session.stop_sent_us, session.stop_register_wh) == (event.event_time_us, event.register_wh)
        for _, session in station.each_session()
    )


def _take_loose(station: Station, session: Session, event: SessionEnded) -> None:
    """Readings that came in the stop's own message, without connector and id, belong to its session."""
    nowhere = station.connectors.get(UNKNOWN_CONNECTOR)
    loose = nowhere.loose if nowhere is not None else None
    for index in range(0 if not loose else len(loose) - STRIDE, -1, -STRIDE):
        if loose and loose[index + RECEIVED] == event.received_time_us:
            row = loose[index : index + STRIDE].tolist()
            row[KIND] %= NAMED
            put_into(session, row)
            del loose[index : index + STRIDE]


def adopt_orphans(station: Station, now: int, limits_of: LimitsOf, step: Step) -> None:
    """A tick looks again at stops without id: starts may have come since, and ratings narrow the choice."""
    for stop, session in list(settle_orphans(station, now, limits_of, step)):
        if stop.transaction_id is None:
            note(session, "TX_ID_RECONCILED")
        _take_loose(station, session, stop)
        told = close_by(station, session, stop)
        if told is not None:
            step.rated.extend(told.rated)
            step.merged.extend(told.merged)
            step.alerts.extend(told.alerts)


def close_by(station: Station, session: Session, event: SessionEnded) -> Step | None:
    """Puts the stop to its session."""
    other = _owner_of_another_charge(station, session, event)
    if other is not None:
        note(other, "TX_ID_RECONCILED")
        session = other
    if session.closed_by == "STOP":
        return _stop_again(station, event, session)
    late = session.ended()
    disturb_next(station, session)
    at = session.ended_at_us = session.stop_sent_us = event.event_time_us
    session.stop_register_wh = event.register_wh
    session.stop_received_us = event.received_time_us
    session.stop_reason, session.stop_token = event.reason, event.token
    session.close("STOP")
    session.suspect |= clock.is_suspect(at, event.received_time_us)
    if clock.judge(station, session):
        line_up(station, session.connector_id)
        disturb_next(station, session)
        disturb_former(station, session)
    at = session.ended_at_us
    if late and station.newest_us - at > REORDER_WINDOW:
        note(session, "LATE_REPLAY")  # problem 10
    for code in event.codes:
        note(session, code)
    note_boots(station, session)
    if event.seq_no is not None:
        note_number(session, event.seq_no)
    if event.token is not None and session.token is not None and event.token != session.token:
        note(session, "OTHER_STOP_TAG")  # problem 23
    station.newest_us = max(station.newest_us, at)
    station.used += 1
    station.wake_us = min(station.wake_us, at + REORDER_WINDOW)
    step = Step()
    if session.started_at_us is None:
        station.wake_us = min(station.wake_us, at + SETTLE)
        touched(station, session, "LATE_STOP")  # a rule may have closed it, and it was published
        return step
    step.rated.append((session, "LATE_STOP" if late else "ENDED"))
    untangle(station, session.connector_id, step)
    return step


def _owner_of_another_charge(station: Station, session: Session, event: SessionEnded) -> Session | None:
    """A stop under the id of `session` by another tag (problem 6a): of the one open session without id that has this
    tag, if its register is nearer. Anybody else's tag ends `session` (problem 23)."""
    if event.token is None or session.token in (None, event.token) or not event.register_wh:
        return None
    owner = owner_of_stop(station, replace(event, transaction_id=None))
    if owner is None or owner.transaction or owner.token != event.token:
        return None
    distances = [abs(event.register_wh - max(each.last_register_wh, 0)) for each in (owner, session)]
    return owner if distances[0] < distances[1] else None


def _stop_again(station: Station, event: SessionEnded, session: Session) -> Step | None:
    is_same = event.register_wh == session.stop_register_wh and event.event_time_us == session.ended_as_sent_us()
    if is_same or (session.aliases and _says_the_same(event, session)):  # of the other id of the same charge
        station.duplicates += 1
        session.repeated += event.register_wh is not None
        if is_same and 0 < event.received_time_us < session.stop_received_us:  # the first one, second in the log
            session.stop_received_us = event.received_time_us
            if clock.judge(station, session):
                disturb_next(station, session)
                touched(station, session, "LATE_STOP")
        return None
    if _is_known(station, event):  # it ended another session of the same id (problem 6a)
        station.duplicates += 1
        return None
    step = refuse(station, "DOUBLE_STOP", "the transaction already has another stop")  # problem 13: the first stays
    if event.register_wh is not None:
        session.leave_out("DOUBLE_STOP", event.event_time_us)
    if not _says_the_same(event, session):  # nobody knows which of the two is right
        note(session, "DOUBLE_STOP")
        touched(station, session, "DOUBLE_STOP")
    alert(step, "DOUBLE_STOP", station.connector(session.connector_id), session, event.event_time_us)
    return step


def _says_the_same(event: SessionEnded, session: Session) -> bool:
    return (
        abs((event.register_wh or 0) - (session.stop_register_wh or 0)) <= SAME_STOP_WH
        and abs(event.event_time_us - session.stop_sent_us) <= SAME_STOP_US
    )
