"""The availability of a site: how many of its connectors are in service and how many of these are free.

The value of a quarter of an hour UTC is taken before it begins and then stands, so that a bill can be repeated from
what was published. A connector that is faulted, unavailable or silent, or of which nothing is known, is in neither
number. A site of which nothing is known gets no value at all: the tariff says what a missing slot means, never zero.
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
"""So long before a slot its value is due: time for the value to reach every worker before it prices anything."""


CODEC_VERSION = 1
"""Of the layout of `SiteState`, as it is stored in the changelog of site-state."""


class SiteState(msgspec.Struct, array_like=True, gc=False):
    """What the stations of a site told. `clock` and `wake_us` are read by the runtime (runtime/logic.py).

    What whole sites are judged by, prices and alerts, keeps its state here; each in a module of its own.
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
    """The alert of the whole site that stands: first silent station and since when (outages.py)."""
    recovering_us: int = 0
    """Since when that outage is not one of most stations any more; 0: it still is."""
    outage_over_us: int = 0
    """When the last outage was cleared: what outlasts it has an alert of its own from then on."""
    silent_alerts: dict[str, int] = {}
    """Alerts of single silent stations that stand: station and since when."""


def note(site: SiteState, change: ConnectorChanged) -> bool:
    """The newest state by event time stays; False if the record is older than what is known.

    Only live records count: what a replay or simulation tells is not what stands on the site now.
    """
    if change.clock != LIVE:
        return False
    connectors = site.stations.setdefault(change.station_id, {})
    known = connectors.get(change.connector_id)
    if known is not None and change.since_us < known[1]:
        return False
    connectors[change.connector_id] = (change.state, change.since_us)
    if site.wake_us == NEVER or change.connector_id == WHOLE_STATION:
        site.wake_us = 0  # the next tick tells the time
    return True


def value(site: SiteState) -> tuple[int, int] | None:
    """Free connectors and connectors in service; None: nothing is known of any."""
    states = list(_states(site))
    if not any(state in ("free", "occupied", "unavailable", "faulted") for state in states):
        return None
    return states.count("free"), states.count("free") + states.count("occupied")


def publish(site: SiteState, now: int) -> PriceSlot | None:
    """Time has reached `now` (us UTC): the value of the slot that begins within LEAD, once.

    A tick that comes after the slot began is too late: a value that was not known before would re-price what has
    been shown. That slot stays without value.
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
