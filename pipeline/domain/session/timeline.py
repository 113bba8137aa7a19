"""Order within a session: readings and states by event time, messages by sequence number."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

from pipeline.domain.bounds import MOST_SEQ_GAPS, MOST_STATES
from pipeline.domain.events import MeterRead
from pipeline.domain.session.notes import note
from pipeline.domain.station import (
    ABSENT,
    BEGIN,
    CLOCK_TOLERANCE,
    ENERGY,
    INTERVAL,
    KIND,
    PHASES,
    POWER,
    RECEIVED,
    REGISTER,
    STRIDE,
    TIME,
    Connector,
    Numbers,
    Session,
)
from pipeline.domain.station_codec import unseal

MOST_MISSING = 1000
"""A gap of thousands is a counter that was reset: no more of its numbers are kept."""
BEFORE_1970 = 0
"""All times before that are read as this one."""
SAME_WH = 10
"""Two registers of one instant that differ by less, or by less than the coarser one is rounded to, are one reading."""
Put = Literal["new", "filled", "repeated", "conflict"]


def reading_of(event: MeterRead) -> list[int]:
    """The event as a row of `Session.readings`."""
    energy, kind = event.register_wh, REGISTER
    if energy is None and event.interval_wh is not None:
        energy, kind = event.interval_wh, INTERVAL
    elif energy is not None and event.phases not in (0, 7):
        kind = PHASES + event.phases
    elif energy is not None and event.context == "begin":
        kind = BEGIN
    told = (ABSENT if value is None else value for value in (energy, event.power_w, event.soc_percent))
    return [event.event_time_us, *told, kind, event.received_time_us]


def is_empty(row: list[int]) -> bool:
    return row[ENERGY:KIND] == [ABSENT] * (KIND - ENERGY)


def put(readings: Numbers, row: list[int]) -> tuple[Put, int]:
    """Puts a reading at its place by time as sent; says what became of it, and where it is."""
    at, kind = row[TIME], row[KIND]
    if kind == BEGIN and row[ENERGY] in _begins(readings):
        return "repeated", 0  # frozen at the begin and sent with each reading
    place = place_of(readings, at)
    while place < len(readings) and readings[place + TIME] == at:
        kept = readings[place : place + STRIDE].tolist()
        if kept[KIND] == kind or ABSENT in (kept[ENERGY], row[ENERGY]):
            found = _meet(readings, place, kept, row)
            if found is not None:
                return found, place
        place += STRIDE
    readings[place:place] = array("q", row)
    return "new", place


def _begins(readings: Numbers) -> Iterator[int]:
    """Registers that were stated for the begin; a search through one column, because there are few."""
    kinds, place = readings[KIND::STRIDE], -1
    for _ in range(kinds.count(BEGIN)):
        place = kinds.index(BEGIN, place + 1)
        yield readings[place * STRIDE + ENERGY]


def _meet(readings: Numbers, place: int, kept: list[int], row: list[int]) -> Put | None:
    """A reading meets another one of its time and kind; None: they are two (problem 5a, a clock that was set back)."""
    old, new = kept[ENERGY], row[ENERGY]
    if row[TIME] == BEFORE_1970 and kept[RECEIVED] != row[RECEIVED]:
        return None  # it is no time: that of the receipt tells them apart
    if ABSENT not in (old, new) and old != new:
        if kept[KIND] == INTERVAL or abs(old - new) >= max(_rounded_to(old), _rounded_to(new), SAME_WH):
            apart = abs(kept[RECEIVED] - row[RECEIVED]) > CLOCK_TOLERANCE and 0 not in (kept[RECEIVED], row[RECEIVED])
            return None if apart else "conflict"
        if _rounded_to(new) < _rounded_to(old):  # the finer one
            readings[place + ENERGY] = new
    if kept[RECEIVED] and row[RECEIVED]:  # which message of the two came first must not matter
        readings[place + RECEIVED] = min(kept[RECEIVED], row[RECEIVED])
    if all(new in (ABSENT, old) for old, new in zip(kept[ENERGY:KIND], row[ENERGY:KIND], strict=True)):
        return "repeated"
    for column in range(ENERGY, KIND):
        if kept[column] == ABSENT:
            readings[place + column] = row[column]
    if old == ABSENT != new:
        readings[place + KIND] = row[KIND]
    return "filled" if ABSENT in kept[ENERGY:KIND] else "repeated"


def _rounded_to(register: int) -> int:
    return next(step for step in (1000, 100, 10, 1) if register % step == 0)


def lies_between(before: int, register: int, after: int) -> bool:
    """Can the register have been read between these two, as far as it tells?"""
    step = max(_rounded_to(register), SAME_WH)
    return before - step < register < after + step


def put_into(session: Session, row: list[int], readings: Numbers | None = None) -> tuple[Put, int]:
    """`put` for a session's readings, or for `readings` that are its own, too; values that are not new are counted for
    the account of its evidence.
    """
    readings = session.readings if readings is None else readings
    at, power = row[TIME], row[POWER]
    before = _rows_at(readings, at)
    became, place = put(readings, row)
    after = _rows_at(readings, at)
    if session.sealed and readings is session.readings and after != before:
        unseal(session, place)
    again = _values_in(before) + values_of(row) - _values_in(after)
    if became == "conflict":
        session.leave_out("ID_CONFLICT", at, again)
    elif again:
        if power not in (ABSENT, readings[place + POWER]):
            session.leave_out("SECOND_VALUE", at)
            again -= 1
        session.repeated += again
    return became, place


def values_of(row: Sequence[int]) -> int:
    """How many values of a reading the account of the evidence counts: energy and power."""
    return (row[ENERGY] != ABSENT) + (row[POWER] != ABSENT)


def _rows_at(readings: Numbers, at: int) -> Numbers:
    """All readings of this time."""
    begin = end = place_of(readings, at)
    while end < len(readings) and readings[end + TIME] == at:
        end += STRIDE
    return readings[begin:end]


def _values_in(rows: Numbers) -> int:
    return sum(values_of(rows[place : place + STRIDE]) for place in range(0, len(rows), STRIDE))


def place_of(readings: Numbers, at: int) -> int:
    """Index of the first reading at or after `at`; nearly always there is none, or the last one is."""
    place = len(readings)
    if not place or readings[place - STRIDE] < at:
        return place
    return bisect_left(range(place // STRIDE - 1), at, key=lambda row: readings[row * STRIDE]) * STRIDE


def note_state(session: Session, at: int, state: str) -> int | None:
    """A state at its place by event time; its index, or None if it was known."""
    changes = session.states
    index = len(changes)
    while index and changes[index - 1][0] > at:
        index -= 1
    if index and changes[index - 1] == (at, state):
        return None
    changes.insert(index, (at, state))
    session.state = changes[-1][1]
    if len(changes) > MOST_STATES:
        del changes[: MOST_STATES // 2]
        note(session, "ACTIVITY_UNCLEAR")
        return max(index - MOST_STATES // 2, 0)
    return index


def note_report(connector: Connector, at: int, state: str, received: int) -> bool:
    """A status at its place by the time that the station gave it; False if it was known."""
    reports = connector.reports
    index = len(reports)
    while index and reports[index - 1][0] > at:
        index -= 1
    if index and reports[index - 1][:2] == (at, state):
        return False
    reports.insert(index, (at, state, received))
    connector.state = reports[-1][1]
    return True


def note_number(session: Session, number: int) -> bool:
    """A sequence number was seen; False if it was before."""
    if number == session.seq_next:
        session.seq_next = number + 1  # nearly always
        return True
    return note_numbers(session, number, number + 1)


def note_numbers(session: Session, first: int, past: int) -> bool:
    """Sequence numbers from `first` up to `past` were seen; False if all of them were before."""
    low, high = session.seq_first, session.seq_next
    if high == ABSENT:
        session.seq_first, session.seq_next = first, past
        return True
    session.seq_first, session.seq_next = min(low, first), max(high, past)
    gaps = session.seq_gaps
    if first > high:
        gaps.append((high, min(first, high + MOST_MISSING)))
        del gaps[:-MOST_SEQ_GAPS]
    elif past < low:
        gaps.insert(0, (max(past, low - MOST_MISSING), low))
        del gaps[MOST_SEQ_GAPS:]
    elif first < high and past > low:
        missing = ((a, b) for gap in gaps for a, b in ((gap[0], min(gap[1], first)), (max(gap[0], past), gap[1])))
        session.seq_gaps = [(a, b) for a, b in missing if a < b]
        return session.seq_gaps != gaps or first < low or past > high
    return True


def seen_numbers(session: Session) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of each run of sequence numbers that was seen."""
    begin = session.seq_first
    for first, past in session.seq_gaps:
        yield begin, first
        begin = past
    if session.seq_next != ABSENT:
        yield begin, session.seq_next
