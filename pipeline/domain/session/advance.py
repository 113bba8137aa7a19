"""Which handler applies which event to a station. mypy refuses a kind of event that has no handler here."""

from __future__ import annotations

from typing import assert_never

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


def advance(station: Station, event: ChargeEvent) -> Told:
    """Changes `station` in place. A refused event changes nothing but the counters."""
    if isinstance(event, MeterRead):
        return read_meter(station, event)
    station.received += 1
    refused = refusal(station, event)
    if refused is not None:
        return refuse(station, *refused)
    match event:  # the most frequent kinds first
        case StationSeen():
            return see(station, event)
        case StatusReported():
            return report_status(station, event)
        case SessionStarted():
            return start(station, event)
        case SessionEnded():
            return end(station, event)
        case SessionConfirmed():
            return confirm(station, event)
        case SessionAuthorized():
            return authorize(station, event)
        case BillDecided():
            return decide(station, event)
        case _:
            assert_never(event)
