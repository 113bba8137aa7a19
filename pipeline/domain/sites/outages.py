"""Silence of stations as their site sees it: an outage of the site is one alert, not one of each station.

The rule of this file: one silence has one open alert. While most stations of a site are silent, having fallen silent
about together, it is SITE_SILENT; otherwise a silent station with a car connected has STATION_SILENT. The latter
waits a little, since the other stations of an outage are missed minutes later: heartbeats are minutes apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pipeline.domain.limits import UNKNOWN
from pipeline.domain.sites.occupancy import WHOLE_STATION
from pipeline.domain.station import MINUTE, NEVER

if TYPE_CHECKING:
    from pipeline.domain.sites.availability import SiteState

FEWEST = 2
"""Fewest stations of an outage: a site with one station has station alerts only."""
TOGETHER = 30 * MINUTE
"""Their last signs of life lie within this time: a generous heartbeat interval."""
PATIENCE = 10 * MINUTE
"""How long a silent station waits for others to fall silent, and a recovering outage for its last stations."""


class Silence(NamedTuple):
    """An alert of the site or of one station, raised or cleared."""

    rule: str
    station_id: str
    """For an alert of the site: the station that fell silent first."""
    since_us: int
    """Last sign of life of that station, or the end of an outage that it outlasted; the identity of the alert."""
    at_us: int
    raised: bool
    silent: tuple[str, ...] = ()
    """All stations that are silent now, in order; only for an alert of the site."""
    stations: int = 0


def watch(site: SiteState, now: int) -> Iterator[Silence]:
    """Alerts that change at `now` (us UTC). Visit the site again at `due`."""
    silent = _silent(site)
    began = _outage(site, silent)
    if site.outage is None and began is not None:
        yield from _merge(site, now)
        site.outage, site.recovering_us = began, 0
        yield _site(site, began, began[1], silent, raised=True)
    elif site.outage is not None and began is None:
        site.recovering_us = site.recovering_us or now
        if not silent or now >= site.recovering_us + PATIENCE:
            yield _site(site, site.outage, now, silent, raised=False)
            site.outage, site.recovering_us, site.outage_over_us = None, 0, now
    elif began is not None:
        site.recovering_us = 0
    yield from _cleared(site, silent, now)
    if site.outage is None:
        yield from _alone(site, silent, now)


def due(site: SiteState, now: int) -> int:
    """When `watch` will have an alert although no state changes; NEVER if none."""
    if site.outage is not None:
        return site.recovering_us + PATIENCE if site.recovering_us else NEVER
    waiting = (
        since + UNKNOWN.silent_us + PATIENCE
        for station, since in _silent(site).items()
        if station not in site.silent_alerts and _connected(site, station)
    )
    return min(waiting, default=NEVER)


def _silent(site: SiteState) -> dict[str, int]:
    """Station -> its last sign of life, of all that are silent."""
    found = {}
    for station, connectors in sorted(site.stations.items()):
        state, since = connectors.get(WHOLE_STATION, ("unknown", 0))
        if state == "silent":
            found[station] = since
    return found


def _known(site: SiteState) -> int:
    """Stations that belong to the site; those that left it do not count."""
    return sum(any(state != "gone" for state, _ in connectors.values()) for connectors in site.stations.values())


def _outage(site: SiteState, silent: dict[str, int]) -> tuple[str, int] | None:
    """The station that fell silent first, and when, if most of the site did about together (or still is); else None."""
    newest = max(silent.values(), default=0)
    together = silent
    if site.outage is None:
        together = {station: since for station, since in silent.items() if since >= newest - TOGETHER}
    if len(together) < FEWEST or 2 * len(together) <= _known(site):
        return None
    station, since = min(together.items(), key=lambda each: (each[1], each[0]))
    return station, max(since, site.outage_over_us)


def _connected(site: SiteState, station: str) -> bool:
    return any(state == "occupied" for state, _ in site.stations[station].values())


def _merge(site: SiteState, now: int) -> Iterator[Silence]:
    """The alerts of single stations become part of the outage."""
    for station, since in sorted(site.silent_alerts.items()):
        yield Silence("STATION_SILENT", station, since, now, raised=False)
    site.silent_alerts = {}


def _cleared(site: SiteState, silent: dict[str, int], now: int) -> Iterator[Silence]:
    for station, since in sorted(site.silent_alerts.items()):
        if silent.get(station, now) > since:
            del site.silent_alerts[station]
            yield Silence("STATION_SILENT", station, since, now, raised=False)


def _alone(site: SiteState, silent: dict[str, int], now: int) -> Iterator[Silence]:
    for station, since in silent.items():
        waited = now >= since + UNKNOWN.silent_us + PATIENCE
        if waited and station not in site.silent_alerts and _connected(site, station):
            since = site.silent_alerts[station] = max(since, site.outage_over_us)
            yield Silence("STATION_SILENT", station, since, since, raised=True)


def _site(site: SiteState, first: tuple[str, int], at: int, silent: dict[str, int], *, raised: bool) -> Silence:
    station, since = first
    return Silence("SITE_SILENT", station, since, at, raised, tuple(silent), _known(site))
