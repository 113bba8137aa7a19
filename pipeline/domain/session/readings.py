"""Readings: a meter value at its place in its session, by event time."""

from __future__ import annotations

from array import array

from pipeline.domain.events import MeterRead
from pipeline.domain.session import clock
from pipeline.domain.session.finding import find, shell
from pipeline.domain.session.notes import alert, heard, note, refuse, touched
from pipeline.domain.session.timeline import note_number, note_state, place_of
from pipeline.domain.station import (
    ABSENT,
    CLOCK_TOLERANCE,
    EARLIEST,
    LATENESS_HORIZON,
    STRIDE,
    UNKNOWN_CONNECTOR,
    UPDATE_EVERY,
    Session,
    Station,
    Told,
)


def read_meter(station: Station, event: MeterRead) -> Told:
    """`advance` for a reading. The hot path: the next one of an open session; all others to `_unusual`."""
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
        return _unusual(station, session, event)
    if received > station.seen_us:
        station.seen_us = received
    power = event.power_w
    soc = event.soc_percent
    session.readings.fromlist([at, register, ABSENT if power is None else power, ABSENT if soc is None else soc])
    session.last_at_us = at
    session.last_register_wh = register
    state = event.state
    if state is not None and state != session.state:
        note_state(session, at, state)
    if event.seq_no is not None:
        session.seq_next = event.seq_no + 1
    station.used += 1
    if at >= session.update_due_us:
        session.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
        return session
    return None


def _unusual(station: Station, session: Session | None, event: MeterRead) -> Told:
    heard(station, event)
    if event.transaction_id is None and (event.connector_id == 0 or not event.tx_hint):
        station.outside += 1  # problem 21: station meter data never opens a session
        return None
    at = _believable(station, event)
    if at is None:
        return refuse(station, "CLOCK_WRONG", "the time is not plausible and the receive time is not given")
    if session is None:
        session = find(station, event, at)
    if session is None:
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return refuse(station, "TOO_LATE", "older than the lateness horizon")
        if event.transaction_id is None:
            return refuse(station, "TX_ID_UNMATCHED", "no or several open transactions could own it")
        session = shell(station, event.transaction_id, event.connector_id, at)
    elif session.connector_id == UNKNOWN_CONNECTOR and event.connector_id is not None:
        session.connector_id = event.connector_id
    if event.transaction_id is None:
        note(session, "TX_ID_RECONCILED")
    if session.clock_us or at != event.event_time_us:
        at = clock.of_reading(session, event.event_time_us, event.received_time_us, at)
    connector = station.connector(session.connector_id)
    connector.highest_power_w = max(connector.highest_power_w, event.offered_w or 0)
    station.newest_us = max(station.newest_us, at)
    for code in event.codes:
        note(session, code)
    if event.seq_no is not None and note_number(session, event.seq_no):
        touched(station, session, "LATE_READING")
    if event.state is not None:
        _note_late_state(session, at, event.state)
    return _insert(station, session, event, at)


def _believable(station: Station, event: MeterRead) -> int | None:
    """Event time; a clock that is in the future or was never set is shifted to the receive time (problem 29)."""
    at, received = event.event_time_us, event.received_time_us
    if at >= EARLIEST and (not received or at <= received + CLOCK_TOLERANCE):
        return at
    if not received:
        return None
    known = sorted(station.offsets)
    return received - (known[len(known) // 2] if known else 0)


def _insert(station: Station, session: Session, event: MeterRead, at: int) -> Told:
    """The reading at its place by event time; the same again is counted, another value for the same key refused."""
    if event.register_wh is None and event.power_w is None and event.soc_percent is None:
        station.used += 1  # problem 28: an entry without energy leaves totals untouched
        return None
    values = [at, *(ABSENT if v is None else v for v in (event.register_wh, event.power_w, event.soc_percent))]
    readings = session.readings
    place = place_of(readings, at)
    if place < len(readings) and readings[place] == at:
        kept = readings[place : place + STRIDE]
        if all(new in (ABSENT, old) for new, old in zip(values, kept, strict=True)):
            station.duplicates += 1  # problems 5 and 7
            return None
        if ABSENT not in (values[1], kept[1]) and values[1] != kept[1]:
            step = refuse(station, "ID_CONFLICT", "another register was already read at this time")  # problem 6
            alert(step, "ID_CONFLICT", station.connector(session.connector_id), session, at)
            return step
        readings[place : place + STRIDE] = array(
            "q", (o if o != ABSENT else n for n, o in zip(values, kept, strict=True))
        )
        station.used += 1
        session.fold = None
        touched(station, session, "LATE_READING")
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
    touched(station, session, "LATE_READING")
    return None


def _note_late_state(session: Session, at: int, state: str) -> None:
    """A reading between others tells its state: the reading after it was in the state that was known there."""
    index = note_state(session, at, state)
    if index is None or index == 0:
        return
    before = session.states[index - 1][1]
    following = place_of(session.readings, at + 1)
    known_until = session.readings[following] if following < len(session.readings) else None
    if known_until is None or before == state:
        return
    if index + 1 == len(session.states) or session.states[index + 1][0] > known_until:
        session.states.insert(index + 1, (known_until, before))
        session.state = session.states[-1][1]
