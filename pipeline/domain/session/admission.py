"""What no station may make a worker remember: the bounds of bounds.py at the door, before an event changes anything."""

from __future__ import annotations

from pipeline.domain.bounds import LATEST_US, MOST_CONNECTORS, MOST_HELD, MOST_SESSIONS
from pipeline.domain.events import (
    BillDecided,
    ChargeEvent,
    SessionConfirmed,
    SessionStarted,
    StationSeen,
    StatusReported,
)
from pipeline.domain.sites.occupancy import WHOLE_STATION
from pipeline.domain.station import EARLIEST, UNKNOWN_CONNECTOR, Station

_OF_STATION = StationSeen, BillDecided


def refusal(station: Station, event: ChargeEvent) -> tuple[str, str] | None:
    """Reason and detail of its dead letter; None: it may come in."""
    at, received = event.event_time_us, event.received_time_us
    if received and not EARLIEST <= received <= LATEST_US:
        return "CLOCK_WRONG", "received_time_us is not between 2017 and 2100: set the clock of whoever received it"
    if not received and at > LATEST_US:
        return "CLOCK_WRONG", "event_time_us is after 2100 and the receive time is not given"
    if isinstance(event, _OF_STATION):
        return None
    known = station.connectors
    if len(known) >= MOST_CONNECTORS and not isinstance(event, SessionConfirmed):
        is_new = event.connector_id not in (None, WHOLE_STATION) and event.connector_id not in known
        if is_new and len(known.keys() - {WHOLE_STATION, UNKNOWN_CONNECTOR}) >= MOST_CONNECTORS:
            return "TOO_MANY_CONNECTORS", f"no station has more than {MOST_CONNECTORS} connectors"
    if isinstance(event, StatusReported):
        return None
    names = station.sessions
    is_start = isinstance(event, SessionStarted)
    is_new = is_start if event.transaction_id is None else event.transaction_id not in names
    if is_new and len(names) >= MOST_SESSIONS:
        return "TOO_MANY_SESSIONS", f"more than {MOST_SESSIONS} transaction ids within the hour"
    if is_new and is_start and len(station.held) >= MOST_HELD:
        return "TOO_MANY_SESSIONS", f"the bills of {MOST_HELD} sessions are held: see `chargeline bills list`"
    return None
