"""A station's clock that is wrong: told from when things happened by its own account and when they were received.

The lag of a message is the time between the two. Nothing marks which part of it is delay and which part a wrong clock
(OCPP 1.6); the rules, problem 29:

- a message cannot be received before it happened, nor happen before 2017: one such message proves the clock wrong;
- several messages with one and the same lag, received over a minute and more, show a level of the clock: delays differ.
  A queue that is sent when the link returns comes at once, with lags that differ by the time between its events;
- start and stop alone, both late by the same amount to a few seconds, show one as well;
- one late message proves nothing: it was delayed (problem 10), and its time stays as the station's clock tells it.

The offset is a function of time with steps (daylight saving in wall-clock stamps, NTP that sets the clock, a reboot):
each message is corrected by the level that was in force when it was received. Unknown receive times prove nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.metering.levels import (
    RIGHT,
    STEADY,
    Level,
    explains,
    in_force,
    levels_of,
    offset_of,
    settled,
    was_late,
)
from pipeline.domain.station import (
    CLOCK_TOLERANCE,
    EARLIEST,
    HOUR,
    MINUTE,
    RECEIVED,
    SECOND,
    STRIDE,
    TIME,
    Connector,
    Numbers,
    Session,
    Station,
)

STEADY_SHARE = 4
"""Start and stop alone: their lags differ by less than this part of the time between them."""
BUCKET = 20 * SECOND
"""Of messages with one lag, one is remembered in this time ..."""
RECENT, OLD_BUCKET = 15 * MINUTE, 5 * MINUTE
"""... before the last RECENT one in OLD_BUCKET, if they are too many ..."""
MOST_LAGS = 128
"""... and so many in all."""


def is_suspect(at: int, received: int) -> bool:
    """Does this message say that the clock may be wrong? Not without a receive time."""
    return bool(received) and (at < EARLIEST or not -CLOCK_TOLERANCE <= received - at <= CLOCK_TOLERANCE)


def note_lag(station: Station, at: int, received: int) -> None:
    """Remembers the lag of a message, in order of receipt; one that says nothing new is left out."""
    if not received:
        return
    lags, lag = station.lags, received - at
    place = len(lags)
    while place and lags[place - 1][0] >= received - received % BUCKET:
        place -= 1
        if abs(lags[place][1] - lag) <= SECOND:  # says nothing new; which one came first must not matter
            lags[place] = min(lags[place][0], received), min(lags[place][1], lag)
            return
    lags.append((received, lag))
    lags.sort()
    if len(lags) > MOST_LAGS:
        station.lags = _thinned(lags)[-MOST_LAGS:]


def _thinned(lags: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Before the last RECENT fewer of each lag do: a session of hours must find the level of its start at its end."""
    recent = lags[-1][0] - RECENT
    kept: list[tuple[int, int]] = []
    for received, lag in lags:
        since = received - received % OLD_BUCKET
        place = len(kept)
        while received < recent and place and kept[place - 1][0] >= since:
            place -= 1
            if abs(kept[place][1] - lag) <= SECOND:
                kept[place] = kept[place][0], min(kept[place][1], lag)
                break
        else:
            kept.append((received, lag))
    return kept


def believed(station: Station, at: int, received: int) -> int:
    """When a message happened, by what is known of the clock now; for what no session keeps, such as a status."""
    return believed_each(station, [(at, received)])[0] if is_suspect(at, received) else at


def believed_each(station: Station, told: Sequence[tuple[int, int]]) -> list[int]:
    """The same of several, each (time us as sent, us received)."""
    if not any(is_suspect(at, received) for at, received in told):
        return [at for at, _ in told]
    levels = levels_of(station.lags)
    return [at + offset_of(levels, at, received) if is_suspect(at, received) else at for at, received in told]


def judge(station: Station, session: Session) -> bool:
    """Corrects start and end of a suspect session by all that is known now; True: one of them changed."""
    if not session.suspect:
        if not _only_seems_right(station, session):
            return False
        session.suspect = session.slow = True
    levels = session_levels(station, session)
    before = session.started_at_us, session.ended_at_us
    if session.started_at_us is not None:
        session.clock_us = offset_of(levels, session.start_sent_us, session.start_received_us)
        session.started_at_us = session.start_sent_us + session.clock_us
    if session.closed_by == "STOP":
        session.ended_at_us = session.stop_sent_us + offset_of(levels, session.stop_sent_us, session.stop_received_us)
        station.newest_us = max(station.newest_us, session.ended_at_us)
    session.fold = None
    return (session.started_at_us, session.ended_at_us) != before


def _only_seems_right(station: Station, session: Session) -> bool:
    """Do delay and offset nearly cancel each other? The clock was wrong when it began or ended, as others show."""
    lags = session.start_received_us - session.start_sent_us, session.stop_received_us - session.stop_sent_us
    if -RIGHT <= lags[0] <= RIGHT and -RIGHT <= lags[1] <= RIGHT:
        return False  # nearly always
    late = [(received, lag) for received, lag in _ends(session) if abs(lag) > RIGHT]
    levels = [level for level in levels_of(station.lags) if level.is_proven]
    found = [(in_force(levels, received, lag), lag) for received, lag in late]
    return any(level is not None and level.offset_us and level.offset_us <= lag + RIGHT for level, lag in found)


def session_levels(station: Station, session: Session) -> list[Level]:
    """Levels that its own messages show, then those of the station's latest messages."""
    readings = session.readings
    told = [
        (received, received - at)
        for at, received in zip(readings[TIME::STRIDE], readings[RECEIVED::STRIDE], strict=True)
        if received
    ]
    ends = _ends(session)
    levels = levels_of([*told, *ends])
    if len(ends) == 2:
        (began, first), (ended, last) = ends[0], ends[1]
        least, happened = min(first, last), (ended - last) - (began - first)
        if not levels and least > CLOCK_TOLERANCE and abs(last - first) <= min(STEADY, happened // STEADY_SHARE):
            levels = [Level(began, ended, settled(least), is_proven=True)]
    general = levels_of([*station.lags, *ends])
    shown = [level for level in general if level.is_proven]
    own = [
        level._replace(is_own=True)
        for level in levels
        if level.is_proven or not any(explains(each, level) and was_late(level, each) for each in shown)
    ]
    return [*own, *general]


def _ends(session: Session) -> list[tuple[int, int]]:
    """(time received, lag) of start and stop, as far as they stated a time: else it is that of their receipt."""
    ends = []
    if session.started_at_us is not None and session.start_received_us not in (0, session.start_sent_us):
        ends.append((session.start_received_us, session.start_received_us - session.start_sent_us))
    if session.closed_by == "STOP" and session.stop_received_us not in (0, session.stop_sent_us):
        ends.append((session.stop_received_us, session.stop_received_us - session.stop_sent_us))
    return ends


def corrected(station: Station, session: Session, readings: Numbers) -> tuple[Numbers, bool]:
    """Readings at their true times, in order; and whether one was moved. The readings given stay as they are."""
    levels = session_levels(station, session)
    rows = []
    moved = False
    for index in range(0, len(readings), STRIDE):
        row = readings[index : index + STRIDE]
        by = offset_of(levels, row[TIME], row[RECEIVED])
        moved |= by != 0
        row[TIME] += by
        rows.append(row)
    rows.sort(key=lambda row: row[TIME])
    result = readings[:0]
    for row in rows:
        result.extend(row)
    return result, moved


def reported(station: Station, session: Session, connector: Connector) -> list[tuple[int, str]]:
    """Statuses of the connector at their true times, in order."""
    if not station.lags or not any(is_suspect(at, received) for at, _, received in connector.reports):
        return [(at, state) for at, state, _ in connector.reports]
    levels = session_levels(station, session)
    return sorted((at + _offset_of_status(levels, at, received), state) for at, state, received in connector.reports)


def _offset_of_status(levels: Sequence[Level], at: int, received: int) -> int:
    """Statuses are not queued: one that seems late by whole hours came after the change of daylight saving."""
    by = offset_of(levels, at, received)
    late = received - at - by
    hours = (late + STEADY) // HOUR * HOUR
    return by + hours if received and hours > 0 and abs(late - hours) <= STEADY else by


def states(station: Station, session: Session) -> list[tuple[int, str]]:
    """States that the session's readings told, at their true times.

    A clock that goes back stamps two times alike: the states of one stamp are in order of receipt.
    """
    if not session.suspect:
        return session.states
    readings, levels = session.readings, session_levels(station, session)
    received = dict(zip(readings[TIME::STRIDE], readings[RECEIVED::STRIDE], strict=True))
    came: dict[int, list[int]] = {}
    for at, when in sorted(session.stamps):
        if when - came.setdefault(at, [when])[-1] > CLOCK_TOLERANCE:
            came[at].append(when)
    told: dict[int, list[str]] = {}
    for at, state in session.states:
        told.setdefault(at, []).append(state)
    found = []
    for at, said in told.items():
        times = came.get(at, [received.get(at, 0)])
        if len(said) == 1:
            said *= len(times)  # it was in force both times
        elif len(said) > len(times):
            times = times[-1:] * len(said)
        found += [(at + offset_of(levels, at, when), state) for when, state in zip(times, said, strict=False)]
    return sorted(found)


def is_shifted(station: Station, session: Session) -> bool:
    """Is any of its times not as it was sent?"""
    if session.clock_us or session.ended_at_us != session.ended_as_sent_us():
        return True
    return corrected(station, session, session.readings)[1]
