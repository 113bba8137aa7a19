"""Reference data as it became known: all versions of sites, tariffs and signals, each with the offset of its record.

Each query says how much of the data counts (a ReferenceWatermark): a replay prices with exactly what the first run
knew, and partitions at different points of time share one catalog. Data from files is always visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.domain.pricing.signals import GIVEN, PriceSlot, Signals, SignalStore
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.units import NEVER_US
from pipeline.domain.sites.site import Connector, Site


class ReferenceWatermark(NamedTuple):
    """How much of each reference topic counts: the records below these offsets."""

    sites: int = 0
    tariffs: int = 0
    signals: int = 0

    def covers(self, other: ReferenceWatermark) -> bool:
        return self.sites >= other.sites and self.tariffs >= other.tariffs and self.signals >= other.signals


START = ReferenceWatermark()


class Place(NamedTuple):
    """Where a station stands, and its connectors by number."""

    site: Site
    connectors: Mapping[int, Connector]


class Catalog:
    """Only grows, with rising offsets. Not thread-safe: readers and writers must share a thread."""

    def __init__(
        self, sites: Iterable[Site] = (), tariffs: Iterable[Tariff] = (), signals: Iterable[PriceSlot] = ()
    ) -> None:
        self._versions: dict[str, list[tuple[int, Site]]] = {}
        self._places: dict[str, list[tuple[int, Place]]] = {}
        self._tariffs: dict[str, list[tuple[int, Tariff]]] = {}
        self._store = SignalStore()
        for site in sites:
            self.add_site(GIVEN, site)
        for tariff in tariffs:
            self.add_tariff(GIVEN, tariff)
        for slot in signals:
            self.add_price_slot(GIVEN, slot)

    def add_site(self, offset: int, site: Site) -> None:
        self._versions.setdefault(site.site_id, []).append((offset, site))
        for station in site.stations:
            place = Place(site, {each.connector_id: each for each in station.connectors})
            self._places.setdefault(station.station_id, []).append((offset, place))

    def add_tariff(self, offset: int, tariff: Tariff) -> None:
        self._tariffs.setdefault(tariff.id, []).append((offset, tariff))

    def add_price_slot(self, offset: int, slot: PriceSlot) -> None:
        self._store.add(offset, slot)

    def place(self, station_id: str, watermark: ReferenceWatermark, at_us: int | None = None) -> Place | None:
        """The station's place at an instant (None: by the latest version), or None if it is not known.

        Among the versions in force the one that began last counts, then the highest version number. A station that the
        version in force of its site does not list any more stands there no longer.
        """
        found: Place | None = None
        for offset, place in self._places.get(station_id, ()):
            if offset >= watermark.sites or not _in_force(place.site, at_us):
                continue
            if found is None or _rank(place.site) >= _rank(found.site):
                found = place
        if found is None:
            return None
        is_only = len(self._versions[found.site.site_id]) == 1
        return found if is_only or self._newest(found.site.site_id, watermark, at_us) is found.site else None

    def _newest(self, site_id: str, watermark: ReferenceWatermark, at_us: int | None) -> Site | None:
        newest: Site | None = None
        for offset, site in self._versions[site_id]:
            if offset < watermark.sites and _in_force(site, at_us) and (newest is None or _rank(site) >= _rank(newest)):
                newest = site
        return newest

    def tariffs(self, tariff_ids: Iterable[str], watermark: ReferenceWatermark) -> Iterator[Tariff]:
        """All visible versions of these tariffs."""
        for tariff_id in tariff_ids:
            for offset, tariff in self._tariffs.get(tariff_id, ()):
                if offset < watermark.tariffs:
                    yield tariff

    def signals(self, watermark: ReferenceWatermark) -> Signals:
        return Signals(store=self._store, end=watermark.signals)


def _in_force(site: Site, at_us: int | None) -> bool:
    return at_us is None or site.valid_from_us is None or site.valid_from_us <= at_us


def _rank(site: Site) -> tuple[int, int]:
    return -NEVER_US if site.valid_from_us is None else site.valid_from_us, site.version
