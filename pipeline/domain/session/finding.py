"""Finding the session of an event: by transaction and connector, by what was on the connector then, in the archive."""

from __future__ import annotations

from pipeline.domain.metering.evidence import owns
from pipeline.domain.station import (
    REORDER_WINDOW,
    SETTLE,
    UNKNOWN_CONNECTOR,
    Session,
    Station,
)
from pipeline.domain.station_codec import decode_archived


def shared_key(transaction: str, connector_id: int) -> str:
    """Under which a session is kept whose transaction id is that of another connector's session, too (problem 6a)."""
    return f"{transaction}@{connector_id}"


def share(*sessions: Session) -> None:
    """They have one transaction id: each message is looked at whose it is."""
    for session in sessions:
        session.shared = session.slow = True


def find(station: Station, transaction: str, connector_id: int | None) -> Session | None:
    """The session of this transaction, on this connector if one is named; also one in the archive."""
    session = station.sessions.get(transaction) or unarchive(station, transaction) or _renamed(station, transaction)
    if session is None or is_on(session, connector_id):
        return session
    key = shared_key(transaction, connector_id or 0)
    return station.sessions.get(key) or unarchive(station, key)


def _renamed(station: Station, transaction: str) -> Session | None:
    """The closed session of which this was another id (problem 15a). Whatever has an unknown id looks through the whole
    archive, but that is rare: the start of a transaction does not come here."""
    wanted = transaction.encode()
    for name, value in station.archive.items() if station.archive is not None else ():
        if wanted in value and transaction in decode_archived(value).aliases:
            return unarchive(station, name.decode())
    return None


def is_on(session: Session, connector_id: int | None) -> bool:
    """Can a message about this connector be about the session? None and 0 name no connector."""
    return not connector_id or session.connector_id in (connector_id, UNKNOWN_CONNECTOR)


def is_same_place(session: Session, other: Session) -> bool:
    """Can both be about one connector? One that is not known yet can be any."""
    return UNKNOWN_CONNECTOR in (session.connector_id, other.connector_id) or session.connector_id == other.connector_id


def sharing(station: Station, transaction: str, *, archived: bool = False) -> list[Session]:
    """All sessions that are known by this transaction id; with `archived` those of the archive come back."""
    first = station.sessions.get(transaction) or (unarchive(station, transaction) if archived else None)
    if first is not None and not first.shared:
        return [first]
    found = [] if first is None else [first]
    for connector_id in station.connectors:
        key = shared_key(transaction, connector_id)
        session = station.sessions.get(key) or (unarchive(station, key) if archived else None)
        if session is not None and all(session is not other for other in found):
            found.append(session)
    return found


def on_connector(station: Station, connector_id: int, at: int, received: int) -> Session | None:
    """The one session that its connector had at this time as sent; None: none, or several."""
    found = {
        id(session): session  # whatever its aliases
        for session in station.sessions.values()
        if session.connector_id == connector_id and owns(session, at, session.ended_at_us, received)
    }
    return next(iter(found.values())) if len(found) == 1 else None


def shell(station: Station, transaction: str, connector_id: int | None, at: int) -> Session:
    """A session whose start was not seen (yet): problems 12 and 18; beside that of another connector, if any."""
    session = Session(connector_id or UNKNOWN_CONNECTOR, transaction)
    other = station.sessions.get(transaction)
    if other is None:
        station.sessions[transaction] = session
    else:
        share(other, session)
        station.sessions[shared_key(transaction, session.connector_id)] = session
    station.wake_us = min(station.wake_us, at + SETTLE, at + REORDER_WINDOW)
    return session


def unarchive(station: Station, key: str) -> Session | None:
    """A closed session that a late event concerns comes back from its archive record, and leaves none behind: it may
    become a part of another one, and must not come back a second time with what it had booked and billed."""
    if station.archive is None:
        return None
    kept = station.archive.get(key.encode())
    if kept is None:
        return None
    session = station.sessions[key] = decode_archived(kept)
    station.archive.drop(key.encode())
    for name in session.aliases:
        if not name.startswith("call:"):  # ids of calls are given again
            station.sessions.setdefault(name, session)
    return session
