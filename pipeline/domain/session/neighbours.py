"""Sessions of a connector side by side: a start ends the former one if no stop comes, a late end disturbs the next.

One connector charges one car at a time: two sessions that were there at the same time with the same register are one
charge, sent under two transaction ids (problem 15a).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from pipeline.domain.metering import clock
from pipeline.domain.metering.conservation import withdraw
from pipeline.domain.metering.evidence import readings_of
from pipeline.domain.metering.neighbours import OVERLAP
from pipeline.domain.session.notes import note, touched
from pipeline.domain.session.timeline import note_numbers, note_state, put_into, seen_numbers
from pipeline.domain.station import (
    ABSENT,
    ENERGY,
    KIND,
    MINUTE,
    REGISTER,
    STRIDE,
    TIME,
    UNKNOWN_CONNECTOR,
    Numbers,
    Session,
    Station,
    Step,
)


def line_up(station: Station, connector_id: int) -> None:
    """Sessions of a connector in order of their start: each knows the next one, which ends it if no stop comes."""
    if len(station.sessions) < 2:
        return
    known = _in_order(station, connector_id)
    for session, following in itertools.pairwise(known):
        if session.closed_by != "STOP":
            session.superseded_at_us = following.start_sent_us
            session.superseded_register_wh = following.start_register_wh
            _take_leave(station, session)


def _take_leave(station: Station, session: Session) -> None:
    """Readings without id that came before the start of the next session were taken for those of this one."""
    if not len(station.connector(session.connector_id).loose):
        return
    readings = readings_of(station, session, None)
    registers = _registers(readings)
    last_at_us = max([session.started_at_us or 0, *readings[TIME::STRIDE][-1:]])
    if last_at_us == session.last_at_us:
        return
    session.last_at_us = last_at_us
    session.last_register_wh = registers[-1] if registers else (session.start_register_wh or ABSENT)
    if session.ended():
        session.ended_at_us = session.last_at_us
        touched(station, session, "NEIGHBOUR_CHANGED")


def disturb_next(station: Station, session: Session) -> None:
    """The end of a session came or changed late: what the next one found unattributed before it may be wrong."""
    others = () if len(station.sessions) == 1 else _in_order(station, session.connector_id)  # nearly always alone
    following = (other for other in others if (other.started_at_us or 0) > (session.started_at_us or 0))
    if (other := next(following, None)) is not None:
        touched(station, other, "NEIGHBOUR_CHANGED")


def disturb_former(station: Station, session: Session) -> None:
    """The start of a session moved with its clock: the one before it may have ended after that, or no longer."""
    started = session.started_at_us or 0
    if former := [each for each in _in_order(station, session.connector_id) if (each.started_at_us or 0) < started]:
        touched(station, former[-1], "NEIGHBOUR_CHANGED")


def untangle(station: Station, connector_id: int, step: Step) -> None:
    """Joins sessions that were one charge; where that is not certain, both bills are held."""
    if connector_id == UNKNOWN_CONNECTOR:
        return
    while len(station.sessions) > 1 and _untangle_first(station, _in_order(station, connector_id), step):
        pass


def _untangle_first(station: Station, ordered: Sequence[Session], step: Step) -> bool:
    """Joins the first two of these that were one charge; False: there are none (any more)."""
    for number, first in enumerate(ordered, 1):
        until = _reach(first) - OVERLAP
        for index in range(number, len(ordered)):
            second = ordered[index]
            if (second.started_at_us or 0) >= until:
                break  # nor does any later one overlap it
            if not _share(first, second):
                continue
            if None in (first.token, second.token) or first.token == second.token:
                _unite(station, first, second, step)
                return True
            for session in (first, second):
                if "SESSIONS_OVERLAP" not in session.codes:
                    note(session, "SESSIONS_OVERLAP")
                    touched(station, session, "NEIGHBOUR_CHANGED")
    return False


def untangle_unstarted(station: Station, shells: Sequence[Session], step: Step) -> None:
    """The same of sessions without a start: each becomes a part of the one that has its evidence, too."""
    joined: set[int] = set()
    spans: dict[int, Span | None] = {}
    for connector_id in dict.fromkeys(shell.connector_id for shell in shells):
        if connector_id == UNKNOWN_CONNECTOR:
            continue
        here = [shell for shell in shells if shell.connector_id == connector_id]
        others = [*_in_order(station, connector_id), *here]
        for shell in here if len(others) > 1 else ():
            for other in others:
                if other is shell or id(other) in joined or not _shares_evidence(station, other, shell, spans):
                    continue
                tokens = other.token or other.stop_token, shell.token or shell.stop_token
                if None in tokens or tokens[0] == tokens[1]:
                    _unite(station, other, shell, step)
                    joined.add(id(shell))
                    spans.pop(id(other), None)
                    break


def begins_again(session: Session, first: Session) -> bool:
    """Did the charge that `first` began begin once more: one tag and one register, and nothing had ended it?"""
    return (
        session.connector_id == first.connector_id
        and (session.token, session.start_register_wh) == (first.token, first.start_register_wh)
        and 0 < session.start_sent_us - first.start_sent_us <= MINUTE
        and not (first.closed_by == "STOP" and first.stop_sent_us <= session.start_sent_us)
    )


def unite_unanswered(station: Station, session: Session, step: Step) -> bool:
    """Two starts of one charge that nobody answered: the first one begins it; True: there was a second one."""
    for other in _in_order(station, session.connector_id):
        if not session.transaction and not other.transaction and begins_again(other, session):
            _unite(station, session, other, step)
            return True
    return False


def _reach(session: Session) -> int:
    """Until when there is evidence that it went on."""
    return (session.ended_at_us or 0) if session.closed_by == "STOP" else session.last_at_us


def _share(first: Session, second: Session) -> bool:
    """Did both count the same energy? Sessions one after the other share none, whatever their clocks say."""
    if _reach(first) - (second.started_at_us or 0) <= OVERLAP:
        return False
    begin, following = first.start_register_wh, second.start_register_wh
    if begin is None or following is None:
        return True
    end = first.stop_register_wh if first.closed_by == "STOP" else first.last_register_wh
    if end is not None and end < begin:  # it started over meanwhile
        return following >= begin or following < end
    if end is not None and end <= begin:  # a stop may be frozen
        end = max([end, first.last_register_wh, *_registers(first.readings)])
    return end is None or begin <= following < max(end, first.last_register_wh)


def _shares_evidence(station: Station, first: Session, shell: Session, spans: dict[int, Span | None]) -> bool:
    """The same of a session whose start was not seen: readings at one time, over one stretch of the register.

    `spans` remembers what is dear to find out: of so many sessions without a start each meets each other one."""
    if first.connector_id != shell.connector_id or shell.connector_id == UNKNOWN_CONNECTOR:
        return False
    for session in (first, shell):
        if id(session) not in spans:
            spans[id(session)] = _span(station, session)
    one, other = spans[id(first)], spans[id(shell)]
    if one is None or other is None:
        return False
    reach, began = min(one.until_us, other.until_us), max(one.from_us, other.from_us)
    return reach - began > OVERLAP and max(one.low_wh, other.low_wh) <= min(one.high_wh, other.high_wh)


class Span(NamedTuple):
    """When a session was read, and over which stretch of the register."""

    from_us: int
    until_us: int
    low_wh: int
    high_wh: int


def _span(station: Station, session: Session) -> Span | None:
    """None: it was not read."""
    readings = readings_of(station, session, session.ended_at_us)
    registers = _registers(readings)
    if session.start_register_wh is not None:
        registers.insert(0, session.start_register_wh)
    if not len(readings) or not registers:
        return None
    began = readings[TIME] if session.started_at_us is None else session.started_at_us
    return Span(began, max(_reach(session), readings[TIME - STRIDE]), min(registers), max(registers))


def _registers(readings: Numbers) -> list[int]:
    """Wh, in order."""
    return [
        readings[index + ENERGY]
        for index in range(0, len(readings), STRIDE)
        if readings[index + KIND] == REGISTER and readings[index + ENERGY] != ABSENT
    ]


def _unite(station: Station, first: Session, second: Session, step: Step) -> None:
    """The second becomes another name of the first."""
    keys = [key for key, session in station.sessions.items() if session is second]
    for key in keys:
        station.sessions[key] = first
    first.aliases.extend(key for key in keys if key not in first.aliases)
    if second.call is not None:
        second.call = None
        station.used += 1
    later = second.closed_by == "STOP" and (
        first.closed_by != "STOP" or (second.stop_register_wh or 0) > (first.stop_register_wh or 0)
    )
    if later:
        if first.closed_by == "STOP" and first.stop_register_wh is not None:
            first.leave_out("EARLIER_STOP", first.stop_sent_us)
        first.closed_by = ""
    if first.closed_by in ("CLOSED_BY_NEW_START", "ABORTED_BY_NEW_START"):
        first.closed_by, first.ended_at_us = "", None  # that start was its own
    withdraw(station.connector(second.connector_id), second)
    join(first, second)
    clock.judge(station, first)
    step.rated = [each for each in step.rated if each[0] is not second]
    if second.revision or second.billed is not None:
        step.merged.append((first, second))
    note(first, "TX_ID_RECONCILED")
    first.superseded_at_us = first.superseded_register_wh = None
    line_up(station, first.connector_id)
    if first.ended() and first.started_at_us is not None:
        step.rated.append((first, "SAME_CHARGE"))
        station.wake_us = 0


def join(session: Session, early: Session) -> None:
    """Evidence of one transaction that came under two names; `early` is no session any more."""
    for index in range(0, len(early.readings), STRIDE):
        put_into(session, early.readings[index : index + STRIDE].tolist())
    for at, state in early.states:
        note_state(session, at, state)
    session.codes.extend(code for code in early.codes if code not in session.codes)
    session.suspect |= early.suspect
    session.slow |= early.slow
    session.shared |= early.shared
    if session.decided is None:
        session.decision, session.decided, session.settled = early.decision, early.decided, early.settled
    session.repeated += early.repeated
    for reason, (count, since, until) in early.left_out.items():
        session.leave_out(reason, since, count)
        session.leave_out(reason, until, 0)
    for first, past in seen_numbers(early):
        note_numbers(session, first, past)
    session.unkept += early.unkept
    if early.closed_by == "STOP" and session.closed_by == "STOP":
        _count_again(session, early.stop_register_wh, session.stop_register_wh, "DOUBLE_STOP", early.stop_sent_us)
    if early.started_at_us is not None:
        _count_again(session, early.start_register_wh, session.start_register_wh, "OTHER_START", early.start_sent_us)
    if early.closed_by == "STOP" and session.closed_by != "STOP":
        session.ended_at_us, session.stop_register_wh = early.ended_at_us, early.stop_register_wh
        session.stop_reason, session.stop_token = early.stop_reason, early.stop_token
        session.stop_received_us, session.stop_sent_us = early.stop_received_us, early.stop_sent_us
        session.close("STOP")
    session.last_at_us = max(session.last_at_us, early.last_at_us)
    session.last_register_wh = max(session.last_register_wh, early.last_register_wh)
    session.fold = None


def _count_again(session: Session, register: int | None, known: int | None, reason: str, at: int) -> None:
    """The register of a second start or stop of one charge, for the account."""
    if register is None:
        return
    if register == known:
        session.repeated += 1
    else:
        session.leave_out(reason, at)


def _in_order(station: Station, connector_id: int) -> list[Session]:
    found = [
        session
        for session in station.sessions.values()
        if session.connector_id == connector_id and session.started_at_us is not None
    ]
    each = {id(session): session for session in found}  # whatever its aliases
    return sorted(each.values(), key=_started_at)


_started_at = attrgetter("started_at_us")
