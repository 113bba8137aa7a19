"""Finding the session of an event: by transaction, by what is open on the connector, in the archive; else a shell."""

from __future__ import annotations

from pipeline.domain.events import MeterRead
from pipeline.domain.station import REORDER_WINDOW, UNKNOWN_CONNECTOR, Session, Station
from pipeline.domain.station_codec import decode_archived


def find(station: Station, event: MeterRead, at: int) -> Session | None:
    """The session of a reading, also one in the archive; None: unknown, or several could own it."""
    if event.transaction_id is not None:
        return station.sessions.get(event.transaction_id) or unarchive(station, event.transaction_id)
    return only_open(station, event.connector_id, at)


def only_open(station: Station, connector_id: int | None, at: int) -> Session | None:
    """Problems 19 and 20: the one open session of the connector that the time allows, or none."""
    found = [
        session
        for _, session in station.each_session()
        if not session.ended()
        and (connector_id is None or session.connector_id == connector_id)
        and (session.started_at_us is None or session.started_at_us <= at)
    ]
    return found[0] if len(found) == 1 else None


def shell(station: Station, transaction: str, connector_id: int | None, at: int) -> Session:
    """A session whose start was not seen (yet): problems 12 and 18."""
    session = Session(UNKNOWN_CONNECTOR if connector_id is None else connector_id, transaction)
    station.sessions[transaction] = session
    station.wake_us = min(station.wake_us, at + REORDER_WINDOW)
    return session


def unarchive(station: Station, key: str) -> Session | None:
    """A closed session that a late event concerns comes back from its archive record."""
    if station.archive is None:
        return None
    kept = station.archive.get(key.encode())
    if kept is None:
        return None
    session = decode_archived(kept)
    session.thinned |= session.session_id not in station.held  # a held one keeps all its readings
    station.sessions[key] = session
    return session
