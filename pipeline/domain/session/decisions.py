"""Decisions: what somebody made of a bill that is held. What they come to is judged in metering/decided.py."""

from __future__ import annotations

from pipeline.domain.events import BillDecided
from pipeline.domain.session.finding import unarchive
from pipeline.domain.session.notes import refuse
from pipeline.domain.station import Session, Station, Step
from pipeline.domain.station_codec import decode_archived

REASONS = {"waive": "BILL_WAIVED", "bill": "BILL_DECIDED", "withdraw": "DECISION_WITHDRAWN"}


def decide(station: Station, event: BillDecided) -> Step | None:
    """Puts a decision to its session: in place of the last one, which only a held bill or a decided one can have."""
    wrong = contradiction(event)
    if wrong:
        return refuse(station, "BAD_DECISION", wrong)
    session = _held(station, event.session_id) or _decided(station, event.session_id)
    if session is None:
        return refuse(station, "BILL_NOT_HELD", "no bill of this session is held: see `chargeline bills list`")
    former = session.decided
    if former == event:
        station.duplicates += 1
        return None
    if former is not None and former.event_time_us > event.event_time_us:
        return refuse(station, "DECISION_OUT_OF_ORDER", "a later decision about this bill is known")
    _name_owner(session, event, former)
    session.decision = "" if event.decision == "withdraw" else event.decision
    session.decided, session.settled = event, None
    station.used += 1
    station.wake_us = 0  # what came back from the archive goes there again
    step = Step()
    step.rated.append((session, REASONS[event.decision]))
    return step


def contradiction(event: BillDecided) -> str:
    """Why it cannot be followed; empty: it can."""
    registers = event.start_register_wh, event.stop_register_wh
    times = event.started_at_us, event.ended_at_us
    stated = (*registers, *times, event.energy_wh, event.reserved_from_us, event.token)
    is_empty = not event.hypothesis and not event.without_reservation and stated == (None,) * len(stated)
    if event.decision != "bill":
        return "" if is_empty else f"{event.decision!r} takes no facts: leave them out, or decide `bill`"
    if is_empty:
        return "it names nothing to bill by: give a hypothesis, registers, energy, times, an owner or the reservation"
    if not event.by:
        return "`by` is missing: name the operator who answers for the bill"
    energies = bool(event.hypothesis) + (event.energy_wh is not None) + (registers != (None, None))
    if energies > 1:
        return "it says more than one energy: give only one of `hypothesis`, `energy_wh` and registers"
    if None not in registers and (event.stop_register_wh or 0) < (event.start_register_wh or 0):
        return "`stop_register_wh` is below `start_register_wh`: give `energy_wh` if the register fell"
    if None not in times and (event.ended_at_us or 0) <= (event.started_at_us or 0):
        return "`ended_at_us` is not after `started_at_us`"
    if event.without_reservation and event.reserved_from_us is not None:
        return "the reservation is either billed from `reserved_from_us` or, with `without_reservation`, not at all"
    return ""


def _name_owner(session: Session, event: BillDecided, former: BillDecided | None) -> None:
    """The driver whom a decision names, never in place of one whom the station told."""
    by_decision = former is not None and former.token is not None and former.token == session.token
    if by_decision:
        session.token = session.billing_token = session.analytics_token = None
    if session.token is None and event.token is not None:
        session.token, session.billing_token = event.token, event.billing_token
        session.analytics_token = event.analytics_token


def _held(station: Station, session_id: str) -> Session | None:
    held = station.held.get(session_id)
    if held is None:
        return None
    return _known(station, session_id) or unarchive(station, held[1])


def _known(station: Station, session_id: str) -> Session | None:
    return next((each for _, each in station.each_session() if each.session_id == session_id), None)


def _decided(station: Station, session_id: str) -> Session | None:
    """A session about whose bill something was decided: a decision can be revised as long as the session is kept."""
    session = _known(station, session_id)
    if session is not None:
        return session if session.decision or session.decided is not None else None
    wanted = session_id.encode()
    for name, value in station.archive.items() if station.archive is not None else ():
        if wanted in value:  # decisions are rare, and decoding a whole archive for one is not
            session = decode_archived(value)
            if session.session_id == session_id and (session.decision or session.decided is not None):
                return unarchive(station, name.decode())
    return None
