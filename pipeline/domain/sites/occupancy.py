"""What a station tells its site: which of its connectors are free, occupied or out of service, at each change.

Told are changes only, so that a site reads a few records a session. A station whose site is not known tells nothing;
what it would have told is told once the site is known. Silence is a state as well: of a station that cannot be heard
nobody knows whether a connector is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.domain.events import LIVE
from pipeline.domain.outputs import ConnectorChanged, ConnectorState
from pipeline.domain.station import NEVER, Connector, Station

WHOLE_STATION = 0
"""Connector number under which OCPP 1.6 reports the station itself, and under which its silence is told."""

_STATES: Mapping[str, ConnectorState] = {
    "Available": "free",
    "Preparing": "occupied",
    "Charging": "occupied",
    "SuspendedEV": "occupied",
    "SuspendedEVSE": "occupied",
    "Finishing": "occupied",
    "Occupied": "occupied",
    "Reserved": "occupied",
    "Unavailable": "unavailable",
    "Faulted": "faulted",
}


def changes(station: Station, site_id: str | None, reported: Sequence[int] | None = None) -> Iterator[ConnectorChanged]:
    """What is other than it was told, and from now on counts as told. `site_id` None: the site is not known.

    `reported`: connectors whose status came since the last call; None: any. No other has changed, but the whole
    station may have fallen silent.
    """
    if site_id != station.told_site:
        yield from _leave(station)
        station.told_site, reported = site_id, None
    if site_id is None:
        return
    known = station.connectors
    for number in known if reported is None else (*reported, WHOLE_STATION):
        connector = known.get(number)
        if connector is None:
            continue
        state, since = _now(station, connector)
        if state is not None and state != connector.told:
            connector.told, connector.told_us = state, max(since, connector.told_us)
            yield _changed(station, site_id, connector)


def fall_silent(station: Station, now: int, silent_us: int) -> None:
    """Time has reached `now`: not heard for `silent_us` is silent, from the last sign of life on."""
    if now >= silent_at(station, silent_us):
        station.connector(WHOLE_STATION)
        station.quiet_since_us = station.seen_us


def silent_at(station: Station, silent_us: int) -> int:
    """When silence would have to be told; NEVER for a station that told nothing, or that is silent already."""
    if station.told_site is None or _is_quiet(station) or not _has_told(station):
        return NEVER
    return station.seen_us + silent_us


def site_watches(station: Station) -> bool:
    """Is its silence told to its site, which makes the alerts of it (outages.py)?"""
    return station.clock == LIVE and station.told_site is not None and _has_told(station)


def _has_told(station: Station) -> bool:
    for each in station.connectors.values():  # noqa: SIM110 - this is the fastest, at each frame
        if each.told:
            return True
    return False


def _is_quiet(station: Station) -> bool:
    return station.quiet_since_us is not None and station.seen_us <= station.quiet_since_us


def _now(station: Station, connector: Connector) -> tuple[ConnectorState | None, int]:
    """State and since when; None: nothing was ever said of it."""
    if connector.connector_id == WHOLE_STATION and station.quiet_since_us is not None:
        if _is_quiet(station):
            return "silent", station.quiet_since_us
        if connector.status in ("", "Available") and connector.error_code == "NoError":
            return "free", station.seen_us if connector.told == "silent" else connector.status_at_us
    if not connector.status:
        return None, 0
    if connector.error_code != "NoError":
        return "faulted", connector.status_at_us
    return _STATES.get(connector.status, "unknown"), connector.status_at_us


def _leave(station: Station) -> Iterator[ConnectorChanged]:
    """It stands elsewhere now: its former site must not count it any more."""
    for connector in station.connectors.values():
        if connector.told and station.told_site is not None:
            connector.told = "gone"
            yield _changed(station, station.told_site, connector)
        connector.told = ""


def _changed(station: Station, site_id: str, connector: Connector) -> ConnectorChanged:
    return ConnectorChanged(
        site_id=site_id,
        station_id=station.station_id,
        connector_id=connector.connector_id,
        state=connector.told or "unknown",
        since_us=connector.told_us,
        clock=station.clock,
    )
