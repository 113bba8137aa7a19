"""Conservation of energy, per connector: what the register moved is attributed, quarantined or unattributed.

    attributed + quarantined + unattributed = closing register - opening register + dropped

The two sides come from different places: the left one is summed over sessions and the gaps between them, the right one
is read off the registers. A session that is revised replaces its own bookings. Estimated energy, which no register
proves, stands in a column of its own and is no part of the equation.
"""

from __future__ import annotations

from pipeline.domain.measure import Measured
from pipeline.domain.station import Connector, Session, Station

ATTRIBUTED, QUARANTINED, UNATTRIBUTED, DROPPED, ESTIMATED = range(5)


def previous_register(station: Station, session: Session) -> int | None:
    """Where the register stood when the last session before this one ended; None: not known."""
    started = session.started_at_us if session.started_at_us is not None else session.last_at_us
    latest: Session | None = None
    for _, other in station.each_session():
        if (
            other is not session
            and other.connector_id == session.connector_id
            and other.started_at_us is not None
            and other.started_at_us < started
            and other.ended()
            and (latest is None or other.started_at_us > (latest.started_at_us or 0))
        ):
            latest = other
    if latest is not None:
        return latest.stop_register_wh if latest.closed_by == "STOP" else _last(latest)
    connector = station.connector(session.connector_id)
    return connector.register_wh if connector.register_at_us <= started else None


def _last(session: Session) -> int | None:
    return session.last_register_wh if session.last_register_wh >= 0 else session.start_register_wh


def book(connector: Connector, session: Session, measured: Measured, previous_wh: int | None) -> int:
    """Puts an ended session into the ledger, in place of what it had booked before; returns its unattributed Wh."""
    start, stop = measured.start_register_wh, measured.stop_register_wh
    bookings = [0, 0, 0, measured.dropped_wh, measured.estimated_wh]
    if start is not None and stop is not None:
        moved = stop - start + measured.dropped_wh
        bookings[QUARANTINED if measured.energy_wh is None else ATTRIBUTED] = moved
        if previous_wh is not None:
            if start >= previous_wh:
                bookings[UNATTRIBUTED] = start - previous_wh
            else:
                bookings[DROPPED] += previous_wh - start
        if connector.opening_wh is None:
            connector.opening_wh = start
        ended = measured.until_us
        if ended >= connector.register_at_us:
            connector.register_wh, connector.register_at_us = stop, ended
    for column, (now, before) in enumerate(zip(bookings, session.booked, strict=True)):
        connector.ledger[column] += now - before
    session.booked = bookings
    return bookings[UNATTRIBUTED]


def difference(connector: Connector) -> int:
    """0 when the ledger balances; Wh that were counted too often (positive) or lost (negative)."""
    if connector.opening_wh is None or connector.register_wh is None:
        return 0
    attributed, quarantined, unattributed, dropped, _ = connector.ledger
    return attributed + quarantined + unattributed - (connector.register_wh - connector.opening_wh + dropped)
