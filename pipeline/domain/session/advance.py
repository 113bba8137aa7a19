"""Which handler puts which event to a station: one line for each kind of event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from pipeline.domain.session.admission import refusal
from pipeline.domain.session.confirmations import confirm
from pipeline.domain.session.decisions import decide
from pipeline.domain.session.ends import end
from pipeline.domain.session.notes import refuse
from pipeline.domain.session.readings import read_meter
from pipeline.domain.session.starts import authorize, start
from pipeline.domain.session.status import report_status, see
from pipeline.domain.station import Station, Told

Handler = Callable[[Station, Any], Told]

_HANDLERS: Mapping[type, Handler] = {
    SessionStarted: start,
    SessionAuthorized: authorize,
    SessionConfirmed: confirm,
    SessionEnded: end,
    StatusReported: report_status,
    StationSeen: see,
    BillDecided: decide,
}


def advance(station: Station, event: ChargeEvent) -> Told:
    """Changes `station` in place. A refused event changes nothing but the counters."""
    if isinstance(event, MeterRead):
        return read_meter(station, event)
    station.received += 1
    refused = refusal(station, event)
    if refused is not None:
        return refuse(station, *refused)
    handle: Handler = _HANDLERS[type(event)]
    return handle(station, event)
