"""Status and other signs of life: hints about connectors and the station, never evidence of energy."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.domain.bounds import MOST_STATES
from pipeline.domain.events import StationSeen, StatusReported
from pipeline.domain.metering import clock
from pipeline.domain.session.notes import alert, heard, note, touched
from pipeline.domain.session.timeline import note_report
from pipeline.domain.station import (
    CLOCK_TOLERANCE,
    MINUTE,
    NEVER,
    RECEIVED,
    SETTLE,
    TIME,
    Connector,
    Session,
    Station,
    Step,
)

_STATES: Mapping[str, str] = {
    "Available": "available",
    "Charging": "charging",
    "SuspendedEV": "suspended_ev",
    "SuspendedEVSE": "suspended_evse",
    "Finishing": "idle",
}


MOST_BOOTS = 10
"""So many are remembered."""


def report_status(station: Station, event: StatusReported) -> Step | None:
    """A hint, ordered by its own time (problem 33): activity of the session, Available after a session, a fault."""
    heard(station, event)
    station.outside += 1
    connector = station.connector(event.connector_id)
    sent, received = event.event_time_us, event.received_time_us
    at = clock.believed(station, sent, received)
    state = _STATES.get(event.status)
    is_new = state is not None and note_report(connector, sent, state, received)
    if len(connector.reports) > MOST_STATES:
        _forget_half(station, connector)
    if is_new and at < station.newest_us:  # else it came after all that ended
        for _, session in station.each_session():
            if session.connector_id == connector.connector_id and _is_about(session, at):
                touched(station, session, "LATE_STATUS")
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
            alert(step, "STATION_FAULT", connector, None, connector.fault_raised_us, at)
            connector.fault_raised_us = None
            return step
    return None


def _is_about(session: Session, at: int) -> bool:
    """Can a status of this time change what was emitted? Not if readings tell the state, or it came after the end."""
    ended, started = session.ended_at_us, session.started_at_us
    return not session.thinned and not session.states and ended is not None and (started or 0) <= at <= ended


def _forget_half(station: Station, connector: Connector) -> None:
    """Of its reports the older ones; nobody pays an idle fee for what they told."""
    del connector.reports[: MOST_STATES // 2]
    for _, session in station.each_session():
        if session.connector_id == connector.connector_id and (session.started_at_us or 0) < connector.reports[0][0]:
            note(session, "ACTIVITY_UNCLEAR")


def note_boots(station: Station, session: Session) -> bool:
    """Boots between start and stop, in any order of arrival; True: it is a new fact. Times are those of receipt, as far
    as they are known: a boot is when clocks are wrong. A session without a start is judged when that comes."""
    if not station.boots and "REBOOT_IN_SESSION" not in session.codes:
        return False
    begun = session.start_received_us or session.started_at_us
    if session.started_at_us is None and len(session.readings):
        begun = session.readings[RECEIVED] or session.readings[TIME]
    over = session.stop_received_us if session.closed_by == "STOP" else 0
    over = over or (session.ended_at_us if session.ended() else None) or NEVER
    is_inside = any(begun is not None and begun <= at <= over for at in station.boots)
    if is_inside == ("REBOOT_IN_SESSION" in session.codes) or (not is_inside and len(station.boots) == MOST_BOOTS):
        return False
    if is_inside:
        note(session, "REBOOT_IN_SESSION")  # problem 35: stays open
    else:
        session.codes.remove("REBOOT_IN_SESSION")  # the stop was received before the boot, and told after it
    return True


def see(station: Station, event: StationSeen) -> Step | None:
    """A sign of life; a boot marks open sessions, two boots in short order raise an alert."""
    heard(station, event)
    station.outside += 1
    if event.what == "boot":
        station.boots = [*station.boots[1 - MOST_BOOTS :], event.event_time_us]
        for _, session in station.each_session():
            if note_boots(station, session):
                touched(station, session, "LATE_STATUS")
        step = Step()
        if len(station.boots) > 1 and 0 <= station.boots[-1] - station.boots[-2] < CLOCK_TOLERANCE:
            alert(step, "REBOOT_LOOP", station.connector(0), None, event.event_time_us)
        return step
    return None
