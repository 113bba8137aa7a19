"""Order within a session: readings and states by event time, messages by sequence number."""

from __future__ import annotations

from pipeline.domain.station import ABSENT, STRIDE, Connector, Numbers, Session

MOST_MISSING = 1000


def place_of(readings: Numbers, at: int) -> int:
    """Index of the first reading at or after `at`; late readings are near the end, so look from there."""
    place = len(readings)
    while place and readings[place - STRIDE] >= at:
        place -= STRIDE
    return place


def note_state(place: Session | Connector, at: int, state: str) -> int | None:
    """A state at its place by event time; its index, or None if it was known."""
    changes = place.states
    index = len(changes)
    while index and changes[index - 1][0] > at:
        index -= 1
    if index and changes[index - 1] == (at, state):
        return None
    changes.insert(index, (at, state))
    place.state = changes[-1][1]
    return index


def note_number(session: Session, number: int) -> bool:
    """A sequence number was seen; False if it was before. A gap of thousands is a counter that was reset: not kept."""
    if session.seq_next == ABSENT:
        session.seq_first, session.seq_next = number, number + 1
    elif number >= session.seq_next:
        session.seq_missing.extend(range(session.seq_next, min(number, session.seq_next + MOST_MISSING)))
        session.seq_next = number + 1
    elif number < session.seq_first:
        session.seq_missing.extend(range(max(number + 1, session.seq_first - MOST_MISSING), session.seq_first))
        session.seq_first = number
    elif number in session.seq_missing:
        session.seq_missing.remove(number)
    else:
        return False
    return True
