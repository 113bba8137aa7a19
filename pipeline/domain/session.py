"""What one event does to a station: the only place where an event is put to a session.

The rule of this file: collect, do not judge. Events are put where they belong, in order of event time, whatever the
order of arrival; what the evidence amounts to (energy, quality) is decided in measure.py, from the whole set, when a
session is shown, closed or revised. So the order of arrival cannot change a result. Only ticks close sessions by rule
(ticks.py). Problem numbers are those of the table in ops/field-problems.md.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.domain import clock
from pipeline.domain.events import (
    BillDecided,
    ChargeEvent,
    MeterRead,
    SessionAuthorized,
    SessionConfirmed,
    SessionEnded,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.outputs import Quarantined
from pipeline.domain.station import (
    ABSENT,
    CLOCK_TOLERANCE,
    EARLIEST,
    LATENESS_HORIZON,
    MINUTE,
    REORDER_WINDOW,
    SETTLE,
    STRIDE,
    UNKNOWN_CONNECTOR,
    UPDATE_EVERY,
    Connector,
    Numbers,
    Session,
    Station,
    Step,
    decode_archived,
)

MOST_MISSING = 1000


Told = Step | Session | None
"""What an event has to tell: nothing; a session whose live view is due (the most frequent case); or a whole Step."""


def advance(station: Station, event: ChargeEvent) -> Told:
    """Changes `station` in place. A refused event changes nothing but the counters."""
    if isinstance(event, MeterRead):
        return read_meter(station, event)
    station.received += 1
    handle: Handler = _HANDLERS[type(event)]
    return handle(station, event)


# --- readings -------------------------------------------------------------------------------------------------------


def read_meter(station: Station, event: MeterRead) -> Told:
    """`advance` for a reading. The hot path: the next one of an open session; all others to `_unusual_reading`."""
    station.received += 1
    at = event.event_time_us
    received = event.received_time_us
    session = station.sessions.get(event.transaction_id)  # type: ignore[arg-type]  # None is never a key
    register = event.register_wh
    if (
        session is None
        or register is None
        or at <= session.last_at_us
        or register < session.last_register_wh
        or at > received + CLOCK_TOLERANCE
        or session.slow
        or event.codes
        or (event.seq_no is not None and not 0 <= event.seq_no - session.seq_next + 1 <= 1)
    ):
        return _unusual_reading(station, session, event)
    if received > station.seen_us:
        station.seen_us = received
    power = event.power_w
    soc = event.soc_percent
    session.readings.fromlist([at, register, ABSENT if power is None else power, ABSENT if soc is None else soc])
    session.last_at_us = at
    session.last_register_wh = register
    state = event.state
    if state is not None and state != session.state:
        _note_state(session, at, state)
    if event.seq_no is not None:
        session.seq_next = event.seq_no + 1
    station.used += 1
    if at >= session.update_due_us:
        session.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
        return session
    return None


def _unusual_reading(station: Station, session: Session | None, event: MeterRead) -> Told:
    _heard(station, event)
    if event.transaction_id is None and (event.connector_id == 0 or not event.tx_hint):
        station.outside += 1  # problem 21: station meter data never opens a session
        return None
    at = _believable(station, event)
    if at is None:
        return _refuse(station, "CLOCK_WRONG", "the time is not plausible and the receive time is not given")
    if session is None:
        session = _find(station, event, at)
    if session is None:
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return _refuse(station, "TOO_LATE", "older than the lateness horizon")
        if event.transaction_id is None:
            return _refuse(station, "TX_ID_UNMATCHED", "no or several open transactions could own it")
        session = _shell(station, event.transaction_id, event.connector_id, at)
    elif session.connector_id == UNKNOWN_CONNECTOR and event.connector_id is not None:
        session.connector_id = event.connector_id
    if event.transaction_id is None:
        _note(session, "TX_ID_RECONCILED")
    if session.clock_us or at != event.event_time_us:
        at = clock.of_reading(session, event.event_time_us, event.received_time_us, at)
    connector = station.connector(session.connector_id)
    connector.highest_power_w = max(connector.highest_power_w, event.offered_w or 0)
    station.newest_us = max(station.newest_us, at)
    for code in event.codes:
        _note(session, code)
    if event.seq_no is not None and _number(session, event.seq_no):
        _touched(station, session, "LATE_READING")
    if event.state is not None:
        _note_late_state(session, at, event.state)
    return _insert(station, session, event, at)


def _insert(station: Station, session: Session, event: MeterRead, at: int) -> Told:
    """The reading at its place by event time; the same again is counted, another value for the same key refused."""
    if event.register_wh is None and event.power_w is None and event.soc_percent is None:
        station.used += 1  # problem 28: an entry without energy leaves totals untouched
        return None
    values = [at, *(ABSENT if v is None else v for v in (event.register_wh, event.power_w, event.soc_percent))]
    readings = session.readings
    place = _place(readings, at)
    if place < len(readings) and readings[place] == at:
        kept = readings[place : place + STRIDE]
        if all(new in (ABSENT, old) for new, old in zip(values, kept, strict=True)):
            station.duplicates += 1  # problems 5 and 7
            return None
        if ABSENT not in (values[1], kept[1]) and values[1] != kept[1]:
            step = _refuse(station, "ID_CONFLICT", "another register was already read at this time")  # problem 6
            _alert(step, "ID_CONFLICT", station.connector(session.connector_id), session, at)
            return step
        readings[place : place + STRIDE] = array(
            "q", (o if o != ABSENT else n for n, o in zip(values, kept, strict=True))
        )
        station.used += 1
        session.fold = None
        _touched(station, session, "LATE_READING")
        return None
    if session.thinned and session.readings and readings[0] < at < readings[-STRIDE]:
        station.late_unused += 1
        station.used += 1
        return None
    readings[place:place] = array("q", values)
    station.used += 1
    if place == len(readings) - STRIDE:
        session.last_at_us = at
        if event.register_wh is not None:
            session.last_register_wh = event.register_wh
    else:
        session.fold = None
    if not session.ended() and at >= session.update_due_us:
        session.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
        return session
    _touched(station, session, "LATE_READING")
    return None


def _place(readings: Numbers, at: int) -> int:
    """Index of the first reading at or after `at`; late readings are near the end, so look from there."""
    place = len(readings)
    while place and readings[place - STRIDE] >= at:
        place -= STRIDE
    return place


def _note_state(place: Session | Connector, at: int, state: str) -> int | None:
    """A state at its place by event time; its index, or None if it was known."""
    changes = place.states
    index = len(changes)
    while index and changes[index - 1][0] > at:
        index -= 1
    if index and changes[index - 1] == (at, state):
        return None
    changes.insert(index, (at, state))
    place.state = changes[-1][1]
    return index


def _note_late_state(session: Session, at: int, state: str) -> None:
    """A reading between others tells its state: the reading after it was in the state that was known there."""
    index = _note_state(session, at, state)
    if index is None or index == 0:
        return
    before = session.states[index - 1][1]
    following = _place(session.readings, at + 1)
    known_until = session.readings[following] if following < len(session.readings) else None
    if known_until is None or before == state:
        return
    if index + 1 == len(session.states) or session.states[index + 1][0] > known_until:
        session.states.insert(index + 1, (known_until, before))
        session.state = session.states[-1][1]


# --- starts ---------------------------------------------------------------------------------------------------------


def _start(station: Station, event: SessionStarted) -> Step | None:
    _heard(station, event)
    at = event.event_time_us
    believed = clock.believed(at, event.received_time_us)
    if believed <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
        return _refuse(station, "TOO_LATE", "older than the lateness horizon")
    same = _same_start(station, event)
    if same is not None:
        return _start_again(station, event, same)
    connector_id = UNKNOWN_CONNECTOR if event.connector_id is None else event.connector_id
    key = event.transaction_id if event.transaction_id is not None else f"call:{event.call or at}"
    session = station.sessions.get(key) or _unarchive(station, key)
    if session is not None and _is_start_of(session, event):
        return _start_again(station, event, session)
    if session is not None and session.started_at_us is not None:
        if not session.ended() or believed <= (session.ended_at_us or 0):
            step = _refuse(station, "ID_CONFLICT", "another start of this transaction is known")
            _alert(step, "ID_CONFLICT", station.connector(connector_id), session, at)
            return step
        station.sessions[f"{key}#{session.started_at_us}"] = station.sessions.pop(key)  # 1.6 ids can be used again
        session = None
    step = Step()
    if session is None:
        session = Session(connector_id, key if event.transaction_id is not None else "")
        station.sessions[key] = session
    elif session.revision:
        step.voided.append((session, session.session_id))
    session.provisional = False
    session.session_id = ""
    if session.connector_id == UNKNOWN_CONNECTOR:
        session.connector_id = connector_id
    session.codes.extend(code for code in event.codes if code not in session.codes)
    session.started_at_us = session.start_sent_us = at
    session.start_received_us = event.received_time_us
    session.start_register_wh = event.register_wh
    session.token, session.billing_token = event.token, event.billing_token
    session.analytics_token = event.analytics_token
    session.call = event.call if event.transaction_id is None else None
    clock.judge(session)
    at = session.started_at_us
    session.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
    if event.seq_no is not None:
        _number(session, event.seq_no)
    if not session.readings:
        session.last_at_us = at
        if event.register_wh is not None:
            session.last_register_wh = event.register_wh
    _line_up(station, session.connector_id)
    station.newest_us = max(station.newest_us, at)
    if session.call is None:
        station.used += 1
    station.wake_us = 0 if session.ended() else min(station.wake_us, at + SETTLE)
    if session.ended():
        step.rated.append((session, "START_ARRIVED" if session.revision else "ENDED"))
    return step


def _authorized(station: Station, event: SessionAuthorized) -> Step | None:
    """The token of a transaction that already runs (OCPP 2.0.1); the first one stays."""
    _heard(station, event)
    session = station.sessions.get(event.transaction_id)
    if session is None:
        station.outside += 1
        return None
    if session.token is None:
        session.token, session.billing_token = event.token, event.billing_token
        session.analytics_token = event.analytics_token
        _touched(station, session, "TOKEN_ARRIVED")
    if session.connector_id == UNKNOWN_CONNECTOR and event.connector_id is not None:
        session.connector_id = event.connector_id
    station.used += 1
    return None


def _same_start(station: Station, event: SessionStarted) -> Session | None:
    """The session with the same natural key (station, connector, token, time, register), whatever its id."""
    return next((session for _, session in station.each_session() if _is_start_of(session, event)), None)


def _is_start_of(session: Session, event: SessionStarted) -> bool:
    return (
        session.started_as_sent_us() == event.event_time_us
        and session.connector_id == (UNKNOWN_CONNECTOR if event.connector_id is None else event.connector_id)
        and session.token == event.token
        and session.start_register_wh == event.register_wh
    )


def _start_again(station: Station, event: SessionStarted, session: Session) -> Step | None:
    station.duplicates += 1
    if event.call is not None and f"call:{event.call}" not in station.sessions:
        station.sessions[f"call:{event.call}"] = session
        session.aliases.append(f"call:{event.call}")
    elif event.transaction_id is not None and event.transaction_id not in station.sessions:
        station.sessions[event.transaction_id] = session  # a second id for the same start is an alias of the first
        session.aliases.append(event.transaction_id)
    return None


def _confirm(station: Station, event: SessionConfirmed) -> Step | None:
    """The central system answered the start of `call`: the session has its transaction id."""
    _heard(station, event)
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
    early = station.sessions.get(transaction) or _unarchive(station, transaction)
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
        _merge(session, early)
        clock.judge(session)
        session.fold = None
        _line_up(station, session.connector_id)
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


def _merge(session: Session, early: Session) -> None:
    """Evidence that arrived under the transaction id before its start was known."""
    for index in range(0, len(early.readings), STRIDE):
        at = early.readings[index]
        place = _place(session.readings, at)
        if place >= len(session.readings) or session.readings[place] != at:
            session.readings[place:place] = early.readings[index : index + STRIDE]
    for at, state in early.states:
        _note_state(session, at, state)
    session.codes.extend(code for code in early.codes if code not in session.codes)
    if early.seq_next != ABSENT:
        for number in range(early.seq_first, early.seq_next):
            if number not in early.seq_missing:
                _number(session, number)
    if session.ended_at_us is None:
        session.ended_at_us, session.stop_register_wh = early.ended_at_us, early.stop_register_wh
        session.stop_reason, session.stop_token = early.stop_reason, early.stop_token
        session.stop_received_us = early.stop_received_us
        if early.closed_by:
            session.close(early.closed_by)
    if session.readings:
        session.last_at_us = max(session.last_at_us, session.readings[-STRIDE])
        session.last_register_wh = session.readings[-STRIDE + 1]


def _line_up(station: Station, connector_id: int) -> None:
    """Sessions of a connector in order of their start: each knows the next one, which ends it if no stop comes."""
    known = _in_order(station, connector_id)
    for session, following in itertools.pairwise(known):
        if session.closed_by in ("", "CLOSED_BY_NEW_START", "ABORTED_BY_NEW_START"):
            session.superseded_at_us = following.started_at_us
            session.superseded_register_wh = following.start_register_wh


def _in_order(station: Station, connector_id: int) -> list[Session]:
    return sorted(
        (s for _, s in station.each_session() if s.connector_id == connector_id and s.started_at_us is not None),
        key=lambda s: s.started_at_us or 0,
    )


def disturb_next(station: Station, session: Session) -> None:
    """The end of a session came or changed late: what the next one found unattributed before it may be wrong."""
    started = session.started_at_us or 0
    for other in _in_order(station, session.connector_id):
        if (other.started_at_us or 0) > started:
            _touched(station, other, "NEIGHBOUR_CHANGED")
            return


# --- ends -----------------------------------------------------------------------------------------------------------


def _end(station: Station, event: SessionEnded) -> Step | None:
    _heard(station, event)
    at = event.event_time_us
    transaction = event.transaction_id
    session = (
        station.sessions.get(transaction) if transaction is not None else _only_open(station, event.connector_id, at)
    )
    if session is None and transaction is not None:
        session = _unarchive(station, transaction)
    if session is None:
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return _refuse(station, "TOO_LATE", "older than the lateness horizon")
        if transaction is None:
            return _refuse(station, "TX_ID_UNMATCHED", "no or several open transactions could own this stop")
        session = _shell(station, transaction, event.connector_id, at)  # problem 12: hold it, wait for the start
    elif transaction is None:
        _note(session, "TX_ID_RECONCILED")
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
        _line_up(station, session.connector_id)
        disturb_next(station, session)
    at = session.ended_at_us
    if late and station.newest_us - at > REORDER_WINDOW:
        _note(session, "LATE_REPLAY")  # problem 10
    for code in event.codes:
        _note(session, code)
    if event.seq_no is not None:
        _number(session, event.seq_no)
    if event.token is not None and session.token is not None and event.token != session.token:
        _note(session, "OTHER_STOP_TAG")  # problem 23
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
    step = _refuse(station, "DOUBLE_STOP", "the transaction already has another stop")  # problem 13: the first stays
    _alert(step, "DOUBLE_STOP", station.connector(session.connector_id), session, event.event_time_us)
    return step


# --- status and other signs of life ----------------------------------------------------------------------------------


def _status(station: Station, event: StatusReported) -> Step | None:
    """A hint, ordered by its own time (problem 33): activity of the session, Available after a session, a fault."""
    _heard(station, event)
    station.outside += 1
    connector = station.connector(event.connector_id)
    at = clock.believed(event.event_time_us, event.received_time_us)
    state = _STATES.get(event.status)
    if state is not None and _note_state(connector, at, state) is not None:
        for _, session in station.each_session():
            if session.connector_id == connector.connector_id and _is_about(session, at):
                _touched(station, session, "LATE_STATUS")
    if event.status == "Available":
        station.wake_us = min(station.wake_us, at + SETTLE)
    if at < connector.status_at_us:
        return None
    connector.status, connector.error_code, connector.status_at_us = event.status, event.error_code, at
    faulty = event.status == "Faulted" or event.error_code != "NoError"  # problem 38: judge both
    if faulty and connector.fault_since_us is None:
        connector.fault_since_us = at
        station.wake_us = min(station.wake_us, at + MINUTE)
    elif not faulty:
        connector.fault_since_us = None
        if connector.fault_raised_us is not None:
            step = Step()
            step.alerts.append(("STATION_FAULT", connector, None, at, False))
            return step
    return None


_STATES: Mapping[str, str] = {
    "Available": "available",
    "Charging": "charging",
    "SuspendedEV": "suspended_ev",
    "SuspendedEVSE": "suspended_evse",
    "Finishing": "idle",
}


def _seen(station: Station, event: StationSeen) -> Step | None:
    _heard(station, event)
    station.outside += 1
    if event.what == "boot":
        station.boots = [*station.boots[-9:], event.event_time_us]
        for _, session in station.each_session():
            if not session.ended() and session.call is None:
                _note(session, "REBOOT_IN_SESSION")  # problem 35: stays open
        step = Step()
        if len(station.boots) > 1 and 0 <= station.boots[-1] - station.boots[-2] < CLOCK_TOLERANCE:
            step.alerts.append(("REBOOT_LOOP", station.connector(0), None, event.event_time_us, True))
        return step
    return None


Handler = Callable[[Station, Any], Told]


def _decide(station: Station, event: BillDecided) -> Step:
    """A held bill is given up, because somebody looked at it."""
    held = station.held.get(event.session_id)
    session = None
    if held is not None:
        found = (each for _, each in station.each_session() if each.session_id == event.session_id)
        session = next(found, None) or _unarchive(station, held[1])
    if session is None:
        return _refuse(station, "BILL_NOT_HELD", "no bill of this session is held: see `chargeline bills list`")
    session.decision = event.decision
    station.used += 1
    station.wake_us = 0  # what came back from the archive goes there again
    step = Step()
    step.rated.append((session, "BILL_WAIVED"))
    return step


_HANDLERS: Mapping[type, Handler] = {
    SessionStarted: _start,
    SessionAuthorized: _authorized,
    SessionConfirmed: _confirm,
    SessionEnded: _end,
    StatusReported: _status,
    StationSeen: _seen,
    BillDecided: _decide,
}


# --- finding the session of an event ---------------------------------------------------------------------------------


def _find(station: Station, event: MeterRead, at: int) -> Session | None:
    if event.transaction_id is not None:
        return station.sessions.get(event.transaction_id) or _unarchive(station, event.transaction_id)
    return _only_open(station, event.connector_id, at)


def _only_open(station: Station, connector_id: int | None, at: int) -> Session | None:
    """Problems 19 and 20: the one open session of the connector that the time allows, or none."""
    found = [
        session
        for _, session in station.each_session()
        if not session.ended()
        and (connector_id is None or session.connector_id == connector_id)
        and (session.started_at_us is None or session.started_at_us <= at)
    ]
    return found[0] if len(found) == 1 else None


def _shell(station: Station, transaction: str, connector_id: int | None, at: int) -> Session:
    """A session whose start was not seen (yet): problems 12 and 18."""
    session = Session(UNKNOWN_CONNECTOR if connector_id is None else connector_id, transaction)
    station.sessions[transaction] = session
    station.wake_us = min(station.wake_us, at + REORDER_WINDOW)
    return session


def _unarchive(station: Station, key: str) -> Session | None:
    """A closed session that a late event concerns comes back from its archive record."""
    if station.archive is None:
        return None
    kept = station.archive.get(key.encode())
    if kept is None:
        return None
    session = decode_archived(kept)
    session.thinned |= session.session_id not in station.held  # a held one keeps all its readings
    station.sessions[key] = session
    return session


# --- small helpers ---------------------------------------------------------------------------------------------------


def _heard(station: Station, event: ChargeEvent) -> None:
    seen = event.received_time_us or event.event_time_us
    if seen > station.seen_us:
        station.seen_us = seen
    if event.received_time_us and abs(event.received_time_us - event.event_time_us) <= CLOCK_TOLERANCE:
        station.offsets = [*station.offsets[-8:], event.received_time_us - event.event_time_us]


def _believable(station: Station, event: MeterRead) -> int | None:
    """Event time; a clock that is in the future or was never set is shifted to the receive time (problem 29)."""
    at, received = event.event_time_us, event.received_time_us
    if at >= EARLIEST and (not received or at <= received + CLOCK_TOLERANCE):
        return at
    if not received:
        return None
    known = sorted(station.offsets)
    return received - (known[len(known) // 2] if known else 0)


def _note(session: Session, code: str) -> None:
    if code not in session.codes:
        session.codes.append(code)


def _number(session: Session, number: int) -> bool:
    """A sequence number was seen; False if it was before. A gap of thousands is a counter that was reset: not kept."""
    if session.seq_next == ABSENT:
        session.seq_first, session.seq_next = number, number + 1
    elif number >= session.seq_next:
        session.seq_missing.extend(range(session.seq_next, min(number, session.seq_next + MOST_MISSING)))
        session.seq_next = number + 1
    elif number < session.seq_first:
        session.seq_missing.extend(range(max(number + 1, session.seq_first - MOST_MISSING), session.seq_first))
        session.seq_first = number
    elif number in session.seq_missing:
        session.seq_missing.remove(number)
    else:
        return False
    return True


def _is_about(session: Session, at: int) -> bool:
    """Can a status of this time change what was emitted? Not if readings tell the state, or it came after the end."""
    ended, started = session.ended_at_us, session.started_at_us
    return not session.thinned and not session.states and ended is not None and (started or 0) <= at < ended


def _touched(station: Station, session: Session, reason: str) -> None:
    """A session that was already emitted got new evidence: the next tick looks whether a billed fact changed."""
    if session.ended() and not session.dirty:
        session.dirty, session.dirty_reason = True, reason
        station.wake_us = 0


def _refuse(station: Station, reason: str, detail: str) -> Step:
    station.quarantined += 1
    step = Step()
    step.quarantined.append(Quarantined(reason, detail))
    return step


def _alert(step: Step, rule: str, connector: Connector, session: Session | None, at: int) -> None:
    step.alerts.append((rule, connector, session, at, True))
