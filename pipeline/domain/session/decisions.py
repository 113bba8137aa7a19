"""Decisions: what somebody made of a bill that is held."""

from __future__ import annotations

from pipeline.domain.events import BillDecided
from pipeline.domain.session.finding import unarchive
from pipeline.domain.session.notes import refuse
from pipeline.domain.station import Station, Step


def decide(station: Station, event: BillDecided) -> Step:
    """A held bill is given up, because somebody looked at it."""
    held = station.held.get(event.session_id)
    session = None
    if held is not None:
        found = (each for _, each in station.each_session() if each.session_id == event.session_id)
        session = next(found, None) or unarchive(station, held[1])
    if session is None:
        return refuse(station, "BILL_NOT_HELD", "no bill of this session is held: see `chargeline bills list`")
    session.decision = event.decision
    station.used += 1
    station.wake_us = 0  # what came back from the archive goes there again
    step = Step()
    step.rated.append((session, "BILL_WAIVED"))
    return step
