"""Readings: a meter value at its place in its session, by event time."""

from __future__ import annotations

from pipeline.domain.bounds import MOST_LOOSE
from pipeline.domain.events import MeterRead
from pipeline.domain.metering import clock
from pipeline.domain.metering.levels import RIGHT
from pipeline.domain.metering.thinning import thinned
from pipeline.domain.session.admission import refusal
from pipeline.domain.session.finding import find, is_on, on_connector, shell
from pipeline.domain.session.notes import alert, heard, note, refuse, touched
from pipeline.domain.session.timeline import (
    is_empty,
    lies_between,
    note_number,
    note_state,
    place_of,
    put,
    put_into,
    reading_of,
    values_of,
)
from pipeline.domain.station import (
    ABSENT,
    BEGIN,
    CLOCK_TOLERANCE,
    EARLIEST,
    ENERGY,
    KIND,
    LATENESS_HORIZON,
    NAMED,
    RECEIVED,
    REGISTER,
    REORDER_WINDOW,
    STRIDE,
    TIME,
    UNKNOWN_CONNECTOR,
    UPDATE_EVERY,
    Numbers,
    Session,
    Station,
    Told,
)

_AHEAD = -CLOCK_TOLERANCE


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
        or not _AHEAD <= received - at <= CLOCK_TOLERANCE
        or session.slow
        or (event.connector_id != session.connector_id and event.connector_id is not None)
        or event.codes
        or event.phases
        or event.left_out
        or event.context == "begin"
        or (event.seq_no is not None and not 0 <= event.seq_no - session.seq_next + 1 <= 1)
    ):
        return _unusual(station, event)
    if received > station.seen_us:
        station.seen_us = received
    power = event.power_w
    soc = event.soc_percent
    session.readings.fromlist(
        [at, register, ABSENT if power is None else power, ABSENT if soc is None else soc, REGISTER, received]
    )
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


def _unusual(station: Station, event: MeterRead) -> Told:
    refused = refusal(station, event)
    if refused is not None:
        return refuse(station, *refused)
    heard(station, event)
    sent, received = event.event_time_us, event.received_time_us
    is_of_station = event.connector_id == 0 or (event.connector_id is None and not event.tx_hint)
    if event.transaction_id is None and is_of_station:
        station.outside += 1  # problem 21: the station's main meter is no part of a session
        return None
    if sent < EARLIEST and not received:
        return refuse(station, "CLOCK_WRONG", "the time is not plausible and the receive time is not given")
    at = clock.believed(station, sent, received)
    if event.transaction_id is None:
        return _loose(station, event, at)
    session = find(station, event.transaction_id, event.connector_id)
    if session is not None and session.shared and event.connector_id is None:
        return _loose(station, event, at)  # it came with a stop, whose tag tells whose it is
    if session is None:
        if at <= max(station.forgotten_until_us, station.newest_us - LATENESS_HORIZON):
            return refuse(station, "TOO_LATE", "older than the lateness horizon")
        session = shell(station, event.transaction_id, event.connector_id, at)
    elif session.connector_id == UNKNOWN_CONNECTOR and event.connector_id:
        session.connector_id = event.connector_id
    return _into(station, session, event, at)


def _into(station: Station, session: Session, event: MeterRead, at: int) -> Told:
    """The reading belongs to this session; `at`: its time as far as the clock is known now."""
    sent, received = event.event_time_us, event.received_time_us
    if clock.is_suspect(sent, received) and not session.suspect:
        session.suspect = session.slow = True
    connector = station.connector(session.connector_id)
    connector.highest_power_w = max(connector.highest_power_w, event.offered_w or 0)
    station.newest_us = max(station.newest_us, at)
    for code in event.codes:
        note(session, code)
    for reason, count in event.left_out:
        session.leave_out(reason, sent, count)
    if event.seq_no is not None and note_number(session, event.seq_no):
        touched(station, session, "LATE_READING")
    if event.state is not None:
        _note_late_state(session, sent, event.state)
        if session.suspect or abs(received - sent) > RIGHT:  # it may become suspect
            session.stamps = [*session.stamps, (sent, received)]
    return _insert(station, session, event, at)


def _insert(station: Station, session: Session, event: MeterRead, at: int) -> Told:
    """The reading at its place by event time; the same again is counted, another value for the same key refused."""
    row = reading_of(event)
    if row[KIND] == BEGIN and (row[TIME], row[ENERGY]) == (session.start_sent_us, session.start_register_wh):
        row[KIND] = REGISTER  # the start's own, told when it was so: a reading as any other
    session.slow |= row[KIND] != REGISTER
    if is_empty(row):
        station.used += 1  # problem 28: an entry without energy leaves totals untouched
        if session.started_at_us is None and not session.readings:
            session.last_at_us = max(session.last_at_us, at)  # it is a sign of life all the same
        return None
    readings = session.readings
    if _is_thinned_at(session, row[TIME]):
        _leave_out_late(station, session, row)
        return None
    became, place = put_into(session, row)
    match became:
        case "repeated":
            station.duplicates += 1  # problems 5 and 7
            if session.suspect:  # it may have been received before the one that is known
                touched(station, session, "LATE_READING")
            return None
        case "conflict":
            step = refuse(station, "ID_CONFLICT", "another register was already read at this time")  # problem 6
            note(session, "ID_CONFLICT")
            touched(station, session, "LATE_READING")
            alert(step, "ID_CONFLICT", station.connector(session.connector_id), session, at)
            return step
        case "filled":
            station.used += 1
            session.fold = None
            touched(station, session, "LATE_READING")
            return None
    station.used += 1
    if place == len(readings) - STRIDE:
        session.last_at_us = max(session.last_at_us, at) if session.suspect else at
        if event.register_wh is not None and row[-2] == REGISTER:
            session.last_register_wh = event.register_wh
    else:
        session.fold = None
    if session.suspect:
        session.fold = None
        clock.judge(station, session)
    if not session.ended() and at >= session.update_due_us:
        session.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
        return session
    touched(station, session, "LATE_READING")
    return None


def _is_thinned_at(session: Session, at: int) -> bool:
    """Are the readings around this time kept no more? One of just this time is compared with the one that is."""
    readings = session.readings
    if session.folded_us and at <= session.folded_us:
        return at not in readings[place_of(readings, at) :][TIME : TIME + 1]
    return bool(session.thinned and readings and readings[TIME] < at < readings[-STRIDE])


def _leave_out_late(station: Station, session: Session, row: list[int]) -> None:
    """One whose register does not lie between those that are kept may matter."""
    station.late_unused += 1
    station.used += 1
    session.leave_out("LATE_READING_UNUSED", row[TIME], values_of(row))
    if row[TIME] > session.folded_us:
        return
    readings = session.readings
    place = place_of(readings, row[TIME])
    if place == len(readings):  # what was read there is not even the last that is kept
        note(session, "EVIDENCE_THINNED")
        return
    before, after = readings[max(place - STRIDE, 0) + ENERGY], readings[place + ENERGY]
    if row[KIND] != REGISTER or not lies_between(before, row[ENERGY], after):
        note(session, "EVIDENCE_THINNED")


def _loose(station: Station, event: MeterRead, at: int) -> Told:
    """Problems 19 to 21: no usable transaction id. It is kept with its connector, whose session had it then owns it."""
    connector_id = UNKNOWN_CONNECTOR if event.connector_id is None else event.connector_id
    connector = station.connector(connector_id)
    row = reading_of(event)
    if event.transaction_id is not None:
        row[KIND] += NAMED
    owner = on_connector(station, connector_id, row[TIME], row[RECEIVED])
    if is_empty(row):
        station.outside += 1
        return None
    if owner is not None and _is_thinned_at(owner, row[TIME]):
        _leave_out_late(station, owner, row)
        return None
    became, _ = put(connector.loose, row) if owner is None else put_into(owner, row, connector.loose)
    station.newest_us = max(station.newest_us, at)
    _forget_loose(station, connector_id, row[TIME])
    if became == "repeated":
        station.duplicates += 1
        return None
    if became == "conflict":
        return refuse(station, "ID_CONFLICT", "another register was already read at this time")
    if owner is None:
        station.outside += 1
        return None
    station.used += 1
    if clock.is_suspect(event.event_time_us, event.received_time_us):
        owner.suspect = owner.slow = True
    owner.fold = None
    owner.last_at_us = max(owner.last_at_us, at)
    if event.register_wh is not None and row[KIND] % NAMED == REGISTER and event.register_wh >= owner.last_register_wh:
        owner.last_register_wh = event.register_wh
    touched(station, owner, "LATE_READING")
    if not owner.ended() and at >= owner.update_due_us:
        owner.update_due_us = at - at % UPDATE_EVERY + UPDATE_EVERY
        return owner
    return None


def _forget_loose(station: Station, connector_id: int, at: int) -> None:
    """Readings that no session of the connector can own any more; `at`: the newest one, as sent."""
    loose = station.connector(connector_id).loose
    if loose and loose[TIME] < at - REORDER_WINDOW:
        starts = (
            session.start_sent_us if session.started_at_us is not None else session.last_at_us - REORDER_WINDOW
            for _, session in station.each_session()
            if is_on(session, connector_id)
        )
        del loose[: place_of(loose, min(min(starts, default=at), at - REORDER_WINDOW))]
    if len(loose) > MOST_LOOSE * STRIDE:
        _thin_loose(station, connector_id, loose)


def _thin_loose(station: Station, connector_id: int, loose: Numbers) -> None:
    """The older half to one reading a minute; whose they are is not judged yet, so none of the sessions is complete."""
    half = MOST_LOOSE // 2 * STRIDE
    loose[:half] = thinned(loose[:half])
    for _, session in station.each_session():
        if is_on(session, connector_id):
            note(session, "EVIDENCE_THINNED")


def _note_late_state(session: Session, at: int, state: str) -> None:
    """A reading between others tells its state: the reading after it was in the state that was known there."""
    index = note_state(session, at, state)
    if index is None or index == 0 or session.suspect:  # of a suspect session each state is kept that was told
        return
    before = session.states[index - 1][1]
    following = place_of(session.readings, at + 1)
    known_until = session.readings[following] if following < len(session.readings) else None
    if known_until is None or before == state:
        return
    if index + 1 == len(session.states) or session.states[index + 1][0] > known_until:
        session.states.insert(index + 1, (known_until, before))
        session.state = session.states[-1][1]
