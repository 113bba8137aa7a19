"""A station's clock that is wrong: told from when things happened by its own account and when they were received.

What is received late may have waited for the link, or be stamped by a clock that is behind; nothing marks which of the
two it is (OCPP 1.6). The rules, problem 29:

- received before it happened, or happened before 2017: the clock is wrong, whatever else is seen;
- start and stop both received late, and later by the same amount to a few seconds: the clock is behind. A queue that is
  sent when the link returns comes at once, so its delays differ by the time that lay between the events.

Then all times of the session are shifted by the smallest delay seen, since what waited besides has a larger one.
Unknown receive times prove nothing. Problem 10 (a late replay) is everything else: times stay as they were sent.
"""

from __future__ import annotations

from pipeline.domain.station import CLOCK_TOLERANCE, EARLIEST, SECOND, STRIDE, Session

STEADY = 5 * SECOND
"""Delays of one clock differ by less, the network's jitter; those of two outages hardly ever do."""
RIGHT = 30 * SECOND
"""A clock that was off by minutes and is now this near has been set; also a message that was delayed by just that."""
STEADY_SHARE = 4
"""... and by less than this part of the time between the two events: a short session says little."""


def believed(at: int, received: int) -> int:
    """When a single event happened, as far as it alone can tell."""
    return received if received and (at < EARLIEST or at > received + CLOCK_TOLERANCE) else at


def judge(session: Session) -> bool:
    """Looks at start and stop, as many as are there, and corrects the session's times; True: they changed."""
    start, stop = session.started_as_sent_us(), session.ended_as_sent_us()
    delays = []
    if start is not None and session.start_received_us:
        delays.append((start, session.start_received_us - start))
    if session.closed_by == "STOP" and stop is not None and session.stop_received_us:
        delays.append((stop, session.stop_received_us - stop))
    return bool(delays) and _set(session, _offset(session, delays))


def _offset(session: Session, delays: list[tuple[int, int]]) -> int:
    least = min(delay for _, delay in delays)
    if least < -CLOCK_TOLERANCE or session.clock_us < 0:
        return min(least, session.clock_us)
    if any(at < EARLIEST for at, _ in delays):
        return min(delay for at, delay in delays if at < EARLIEST)
    if len(delays) == 2 and least > CLOCK_TOLERANCE:
        (began, first), (ended, last) = delays
        if abs(last - first) <= min(STEADY, (ended - began) // STEADY_SHARE):
            return least
    return session.clock_us


def of_reading(session: Session, sent: int, received: int, alone: int) -> int:
    """Time of a reading that was `sent` with another time than `alone`, what it seems alone, or of such a session."""
    if "CLOCK_SHIFTED" not in session.codes:
        session.codes.append("CLOCK_SHIFTED")
    if sent != alone and received and (session.clock_us or session.started_at_us is None):
        ahead = received - sent
        if ahead < min(session.clock_us, -CLOCK_TOLERANCE):
            _set(session, ahead)
    return _corrected(sent, received, session.clock_us) if session.clock_us else alone


def forget(session: Session) -> None:
    """Times as they were sent, because other evidence joins them; `judge` comes after."""
    _set(session, 0)


def _corrected(sent: int, received: int, offset: int) -> int:
    """A clock that was set right in the session needs no correction from then on."""
    return sent if received and abs(received - sent) <= RIGHT else sent + offset


def _set(session: Session, offset: int) -> bool:
    by = offset - session.clock_us
    if not offset and not by:
        return False
    if not session.clock_us:  # as it was sent, until now
        session.start_sent_us = session.started_at_us or 0
        session.stop_sent_us = session.ended_at_us or 0
    before = session.ended_at_us
    if session.started_at_us is not None:
        session.started_at_us = _corrected(session.start_sent_us, session.start_received_us, offset)
    if session.closed_by == "STOP":
        session.ended_at_us = _corrected(session.stop_sent_us, session.stop_received_us, offset)
    elif before is not None:
        session.ended_at_us = before + by
    if not by:
        return session.ended_at_us != before  # only the stop is new
    for index in range(0, len(session.readings), STRIDE):
        session.readings[index] += by
    session.states = [(at + by, state) for at, state in session.states]
    session.last_at_us += by
    session.clock_us, session.slow, session.fold = offset, True, None
    if offset and "CLOCK_SHIFTED" not in session.codes:
        session.codes.append("CLOCK_SHIFTED")
    return True
