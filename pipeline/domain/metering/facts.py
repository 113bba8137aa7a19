"""Where the facts of a session come from, in words of the field: for the account of its evidence.

The rule of this file: no identifiers, and nothing unbounded; times are ISO 8601 UTC to the second.
"""

from __future__ import annotations

from itertools import pairwise

from pipeline.domain.metering import clock
from pipeline.domain.metering.account import FIRST, Account
from pipeline.domain.metering.levels import offset_of
from pipeline.domain.pricing.units import utc_text
from pipeline.domain.station import RECEIVED, SECOND, STRIDE, TIME, Session, Station

_IDENTITY = {
    "START_UNANSWERED": "the start was never answered: matched by connector, tag, register and time",
    "TX_ID_RECONCILED": "messages without a usable transaction id: matched by connector, tag, register and time",
    "STOP_AMBIGUOUS": "a stop without a usable transaction id fits several sessions: put to none",
    "SESSIONS_OVERLAP": "another session with another tag shares its time and its register",
}


def tell(
    account: Account, station: Station, session: Session, started_us: int | None, ended_us: int | None,
    states: list[tuple[int, str]], is_contradicted: bool,
) -> None:  # fmt: skip
    """Adds when it began and ended, who said what the vehicle did, by what the clock was corrected, whose it all is."""
    facts = account.facts
    facts["started_at"] = _start(session, started_us)
    if session.ended():
        facts["ended_at"] = _end(session, ended_us)
    facts["activity"] = _activity(session, states, is_contradicted)
    if session.suspect:
        corrected = _clock(station, session)
        if corrected:
            facts["clock"] = corrected
    identity = [why for code, why in _IDENTITY.items() if code in session.codes] if session.codes else []
    if session.shared:
        identity.append("the transaction id is that of another connector's session, too")
    others = sum(not name.startswith("call:") for name in session.aliases) if session.aliases else 0
    if others:
        identity.append(f"one charge under {others + 1} transaction ids")
    if identity:
        facts["identity"] = "; ".join(identity)


def _start(session: Session, started_us: int | None) -> str:
    if started_us is None:
        return "first evidence: no start was seen"
    if session.started_at_us is None or started_us != session.started_at_us:
        return "decision"
    return "start, clock corrected" if session.clock_us else "start as sent"


def _end(session: Session, ended_us: int | None) -> str:
    if session.decision == "bill" and session.decided is not None and session.decided.ended_at_us == ended_us:
        return "decision"
    if session.closed_by != "STOP":
        return f"last evidence: {session.closed_by}"
    if ended_us == session.stop_sent_us:
        return "stop as sent"
    return "stop, clock corrected" if ended_us == session.ended_at_us else "stop, moved between its start and the next"


def _activity(session: Session, states: list[tuple[int, str]], is_contradicted: bool) -> str:
    if not states:
        return "the register: no status was reported"
    source = "states told with readings" if session.states else "StatusNotification"
    at, state = states[0]
    said, more = f"{state} {_iso(at)}", ""
    if len(states) > 1:
        changes = states[:1] + [after for before, after in pairwise(states) if after[1] != before[1]]
        said = ", ".join([f"{state} {_iso(at)}" for at, state in changes[:FIRST]])
        more = f" and {len(changes) - FIRST} more" if len(changes) > FIRST else ""
    against = "; the register moved while idle was reported, and wins" if is_contradicted else ""
    return f"{source}: {said}{more}{against}"


def _clock(station: Station, session: Session) -> str:
    """What was added to the times of this session, and from when; empty: nothing."""
    levels = clock.session_levels(station, session)
    sent, received = session.readings[TIME::STRIDE], session.readings[RECEIVED::STRIDE]
    offsets = [offset_of(levels, at, came) for at, came in zip(sent, received, strict=True)]
    stopped = session.ended_at_us if session.closed_by == "STOP" else None
    ends = (("start", session.clock_us), ("stop", 0 if stopped is None else stopped - session.stop_sent_us))
    found = [f"{name} {_signed(by)}" for name, by in ends if by]
    moved = sum(by != 0 for by in offsets)
    if moved:
        steps = [
            f"{_signed(by)} from {_iso(at)}"
            for at, by, before in zip(sent, offsets, [0, *offsets], strict=False)
            if by != before
        ]
        found.append(f"{moved} readings ({', '.join(steps[:FIRST])})")
    return ", ".join(found)


def _signed(us: int) -> str:
    return f"{us // SECOND:+d} s"


def _iso(at_us: int) -> str:
    return utc_text(at_us - at_us % SECOND)
