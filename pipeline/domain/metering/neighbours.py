"""Sessions side by side on a connector: where the register stood before one, when it ended, when the next one began."""

from __future__ import annotations

from pipeline.domain.station import MINUTE, TIME, Session, Station

OVERLAP = MINUTE
"""Sessions that overlap by less are two clocks."""


def _began(session: Session) -> int:
    """The start, else the first evidence: its own end must not count as one that was before it."""
    if session.started_at_us is not None:
        return session.started_at_us
    return session.readings[TIME] if len(session.readings) else session.last_at_us


def _before(station: Station, session: Session) -> Session | None:
    """The session that ended last before this one began; one that overlaps it tells nothing."""
    started = _began(session)
    latest: Session | None = None
    for other in station.sessions.values():
        if (
            other is not session
            and other.connector_id == session.connector_id
            and other.started_at_us is not None
            and other.started_at_us < started
            and other.ended()
            and (latest is None or other.started_at_us > (latest.started_at_us or 0))
        ):
            latest = other
    return latest


def previous_register(station: Station, session: Session) -> int | None:
    """Where the register stood when the last session before this one ended; None: not known."""
    latest = _before(station, session)
    if latest is not None:
        return latest.stop_register_wh if latest.closed_by == "STOP" else _last(latest)
    started = _began(session)
    connector = station.connector(session.connector_id)
    return connector.register_wh if connector.register_at_us <= started else session.previous_wh


def previous_end(station: Station, session: Session) -> int:
    """When the last session before this one ended, us; 0: not known."""
    latest = _before(station, session)
    if latest is not None:
        return latest.ended_at_us or latest.last_at_us
    connector = station.connector(session.connector_id)
    started = _began(session)
    return connector.register_at_us if connector.register_at_us <= started else 0


def next_start(station: Station, session: Session) -> int | None:
    """When the next session on the connector began, us; None: not known (yet)."""
    started = session.started_at_us
    if started is None:
        return None
    first: int | None = None
    for other in station.sessions.values():
        if other is not session and other.connector_id == session.connector_id:
            began = other.started_at_us
            if began is not None and began > started and (first is None or began < first):
                first = began
    return first


def superseded_at(station: Station, session: Session) -> int | None:
    """When the later session began that ends this one if no stop comes, us; None: none is known."""
    if session.superseded_at_us is None:
        return None
    return next_start(station, session) or session.superseded_at_us + session.clock_us


def _last(session: Session) -> int | None:
    return session.last_register_wh if session.last_register_wh >= 0 else session.start_register_wh
