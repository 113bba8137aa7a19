"""The connector states that a station reports to its site: free, occupied or out of service, at each change.

Only changes are reported, so that a site reads a few records per session. A station without a known site reports
nothing until the site is known. Silence is a state as well: nobody knows whether a connector of a silent station is
free.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.domain.events import LIVE
from pipeline.domain.outputs import ConnectorChanged, ConnectorState
from pipeline.domain.station import NEVER, Connector, Station

WHOLE_STATION = 0
"""Connector number of the station itself: OCPP 1.6 reports its status under it, we report its silence under it."""

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


def changes(station: Station, site_id: str | None, reported: Sequence[int] | None = None) -> Iterable[ConnectorChanged]:
    """States that differ from the last report; marks them as reported. `site_id` None: the site is not known.

    `reported`: connectors with a new status since the last call; None: any. No other connector has changed, but the
    whole station may have fallen silent.
    """
    if reported is not None and not reported and site_id == station.told_site and station.quiet_since_us is None:
        return ()  # nearly always
    return _changes(station, site_id, reported)


def _changes(station: Station, site_id: str | None, reported: Sequence[int] | None) -> Iterator[ConnectorChanged]:
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
    """At `now`: a station without a sign of life for `silent_us` is silent, from that sign of life on."""
    if now >= silent_at(station, silent_us):
        station.connector(WHOLE_STATION)
        station.quiet_since_us = station.seen_us


def silent_at(station: Station, silent_us: int) -> int:
    """When the station must be reported silent; NEVER if it has reported nothing or is silent already."""
    if station.told_site is None or _is_quiet(station) or not _has_told(station):
        return NEVER
    return station.seen_us + silent_us


def site_watches(station: Station) -> bool:
    """Whether the site gets the station's silence and raises its alerts (outages.py)."""
    return station.clock == LIVE and station.told_site is not None and _has_told(station)


def _has_told(station: Station) -> bool:
    for each in station.connectors.values():  # noqa: SIM110 - this is the fastest, at each frame
        if each.told:
            return True
    return False


def _is_quiet(station: Station) -> bool:
    return station.quiet_since_us is not None and station.seen_us <= station.quiet_since_us


def _now(station: Station, connector: Connector) -> tuple[ConnectorState | None, int]:
    """State and its start; None: nothing is known of the connector."""
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
    """The station has moved: its former site must not count it any more."""
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
