"""The availability of a site: how many of its connectors are in service and how many of these are free.

The value of a quarter of an hour UTC is taken before it begins and never changes, so that a bill can be repeated from
published data. A connector that is faulted, unavailable, silent or unknown is in neither number. A site without any
known connector gets no value: the tariff says what a missing slot means, never zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pipeline.domain.events import LIVE
from pipeline.domain.outputs import ConnectorChanged, ConnectorState
from pipeline.domain.pricing.signals import AVAILABILITY, PriceSlot, series_of
from pipeline.domain.sites.occupancy import WHOLE_STATION
from pipeline.domain.station import MINUTE, NEVER, QUARTER

LEAD = MINUTE
"""How long before a slot its value is due: enough for it to reach every worker before it prices anything."""


CODEC_VERSION = 1
"""Version of the layout of `SiteState` in the changelog `site-state`."""


class SiteState(msgspec.Struct, array_like=True, gc=False):
    """What the stations of a site have reported. The runtime reads `clock` and `wake_us` (runtime/logic.py).

    Rules about whole sites (prices, alerts) keep their state here; each rule has its own module.
    """

    site_id: str
    clock: str = LIVE
    wake_us: int = NEVER
    stations: dict[str, dict[int, tuple[ConnectorState, int]]] = {}
    """Station and connector -> (state, since us)."""
    valued_until_us: int = 0
    """End of the last slot that was published."""
    waits: int = 0
    """No site waits for reference data."""
    outage: tuple[str, int] | None = None
    """The open alert of the whole site: first silent station and since when (outages.py)."""
    recovering_us: int = 0
    """Since when that outage no longer covers most stations; 0: it still does."""
    outage_over_us: int = 0
    """When the last outage was cleared: a station that stays silent has its own alert from then on."""
    silent_alerts: dict[str, int] = {}
    """Open alerts of single silent stations: station and since when."""


def note(site: SiteState, change: ConnectorChanged) -> bool:
    """Keeps the newest state by event time; False if the record is older than the known state.

    Only live records count: a replay or simulation does not show the site as it is now.
    """
    if change.clock != LIVE:
        return False
    connectors = site.stations.setdefault(change.station_id, {})
    known = connectors.get(change.connector_id)
    if known is not None and change.since_us < known[1]:
        return False
    connectors[change.connector_id] = (change.state, change.since_us)
    if site.wake_us == NEVER or change.connector_id == WHOLE_STATION:
        site.wake_us = 0  # the next tick has the time
    return True


def value(site: SiteState) -> tuple[int, int] | None:
    """Free connectors and connectors in service; None: no connector is known."""
    states = list(_states(site))
    if not any(state in ("free", "occupied", "unavailable", "faulted") for state in states):
        return None
    return states.count("free"), states.count("free") + states.count("occupied")


def publish(site: SiteState, now: int) -> PriceSlot | None:
    """At `now` (us UTC): the value of the slot that begins within LEAD, once.

    A tick after the start of the slot is too late: a value that was not known before would re-price what has been
    shown. That slot stays without a value.
    """
    start = (now + LEAD) // QUARTER * QUARTER
    site.wake_us = start + QUARTER - LEAD
    counted = value(site)
    if start <= now or start < site.valued_until_us or counted is None:
        return None
    site.valued_until_us = start + QUARTER
    return PriceSlot(
        series=series_of(AVAILABILITY, site.site_id),
        start_us=start,
        end_us=start + QUARTER,
        free=counted[0],
        total=counted[1],
        published_us=now,
    )


def _states(site: SiteState) -> Iterator[ConnectorState]:
    """Of every connector; a station that is out of service, silent or gone takes its connectors with it."""
    for connectors in site.stations.values():
        whole = connectors.get(WHOLE_STATION, ("free", 0))[0]
        for connector_id, (state, _) in connectors.items():
            if connector_id != WHOLE_STATION:
                yield state if whole in ("free", "occupied", "unknown") or state == "gone" else whole
