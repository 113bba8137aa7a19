"""When a session ended: by its stop, the next start, or its last evidence; and how far it may have gone on."""

from __future__ import annotations

from pipeline.domain.metering import clock
from pipeline.domain.metering.evidence import readings_of
from pipeline.domain.metering.judgement import Judgement
from pipeline.domain.metering.neighbours import next_start, superseded_at
from pipeline.domain.metering.registers import Bound
from pipeline.domain.station import MINUTE, SILENCE, STRIDE, TIME, Connector, Session, Station

CLOSE_STARTS = MINUTE
"""A stop so shortly after the next start is two clocks, no overlap."""


def end_of(station: Station, session: Session, codes: list[str]) -> int | None:
    """The end. Stamped up to 5 minutes before its start, or after the next one, it is clock skew (problem 14)."""
    if not session.ended():
        return None
    ended, started = session.ended_at_us, session.started_at_us
    if ended is None or session.closed_by != "STOP":
        ended = _last_evidence(station, session)  # what came after the rule had closed it counts
    elif started is not None and ended < started:
        if started - ended > 5 * MINUTE:
            codes.append("NEGATIVE_DURATION")
            return started
        codes.append("CLOCK_SKEW")
        lasted = session.stop_received_us - session.start_received_us
        ended = started + max(lasted, 0) if session.start_received_us and session.stop_received_us else started
    following = next_start(station, session)
    if following is not None and ended > following:
        if ended - following > CLOSE_STARTS:
            codes.extend(("CLOCK_SKEW", "TIME_UNCERTAIN"))
        return max(following, started or 0)
    return ended


def bound_open_end(
    station: Station, session: Session, connector: Connector, judged: Judgement, until: int, bound: Bound
) -> None:
    """A session without stop went on until its connector was free, the next one began, or nobody came for a day."""
    if session.closed_by in ("", "STOP") or judged.energy_wh is None:
        return
    reports = clock.reported(station, session, connector)
    freed = next((at for at, state in reports if state == "available" and at >= until), until + SILENCE)
    last = max(min(freed, superseded_at(station, session) or freed), until)
    more = bound.unseen_wh(last - until)
    following = session.superseded_register_wh
    if following and judged.stop_register_wh is not None and following >= judged.stop_register_wh:
        more = min(more, following - judged.stop_register_wh)
    judged.high_wh = (judged.high_wh or 0) + more
    judged.unseen_us += last - until


def _last_evidence(station: Station, session: Session) -> int:
    if not session.suspect:
        return max(session.last_at_us, session.started_at_us or 0)
    return max([session.started_at_us or 0, *readings_of(station, session, None)[TIME::STRIDE][-1:]])
