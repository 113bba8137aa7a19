"""Under which terms a session charges: its site, limits, tariff and signals, by as much reference data as counts."""

from __future__ import annotations

from dataclasses import replace

from pipeline.domain.catalog import START, Catalog, ReferenceWatermark
from pipeline.domain.limits import AC, DC, UNKNOWN, Limits
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, Tariff, choose, require_lock
from pipeline.domain.sites.site import Site
from pipeline.domain.station import SECOND, Session


class Terms:
    """The catalog as far as it counts now. What a session has frozen stays: later data changes no price that it has."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._watermark = START
        self.signals = catalog.signals(START)
        """All that are known now, of all sites."""
        self._limits: dict[tuple[str, int], Limits] = {}
        self._site_ids: dict[str, str | None] = {}
        """By station, as `site_id` says: it is asked for at each frame."""

    def see(self, watermark: ReferenceWatermark) -> None:
        """From now on this much of the catalog counts, for all but what a session has frozen."""
        if watermark == self._watermark:
            return
        if watermark.sites != self._watermark.sites:
            self._limits.clear()
            self._site_ids.clear()
        self._watermark = watermark
        self.signals = self._catalog.signals(watermark)

    def site_id(self, station_id: str) -> str | None:
        """Where the station stands by the latest version; None: at no known site."""
        if station_id not in self._site_ids:
            site = self.site(station_id, None, None)
            self._site_ids[station_id] = None if site is None else site.site_id
        return self._site_ids[station_id]

    def site(self, station_id: str, session: Session | None, at_us: int | None) -> Site | None:
        """Where the station stands at an instant (None: by the latest version), as `session` has it; None: unknown."""
        watermark = self._watermark if session is None else _frozen(session, self._watermark)
        place = self._catalog.place(station_id, watermark, at_us)
        return None if place is None else place.site

    def limits(self, station_id: str, connector_id: int) -> Limits:
        """Limits of a connector by the latest version of its site, else the defaults of its power type."""
        place = (station_id, connector_id)
        found = self._limits.get(place)
        if found is None:
            found = self._limits[place] = self._limits_of(*place)
        return found

    def _limits_of(self, station_id: str, connector_id: int) -> Limits:
        place = self._catalog.place(station_id, self._watermark)
        if place is None:
            return UNKNOWN
        connector = place.connectors.get(connector_id)
        if connector is None:
            return UNKNOWN
        limits = DC if connector.power_type == "DC" else AC
        longest_idle_s = place.site.max_idle_s
        return replace(
            limits,
            rating_w=connector.max_power_w,
            expected_us=(connector.expected_duration_s or limits.expected_us // SECOND) * SECOND,
            longest_idle_us=longest_idle_s * SECOND if longest_idle_s else limits.longest_idle_us,
        )

    def tariff(self, station_id: str, session: Session, at_us: int) -> tuple[Site, Tariff]:
        """Site and tariff at the start, as they were known when both were found for the first time (D19).

        What is published later about the time before changes no session that has its price already. Raises CannotPrice,
        also for a reservation that would cost something: when it began, nobody told.
        """
        site = self.site(station_id, session, at_us)
        if site is None:
            raise CannotPrice("SITE_MISSING", "the station stands at no known site; publish it with `sites publish`")
        watermark = _frozen(session, self._watermark)
        tariff = choose(self._catalog.tariffs(site.tariff_ids, watermark), site.tariff_ids, at_us, "REGULAR")
        if site.lock_required:
            require_lock(tariff)
        session.reference = (watermark.sites, watermark.tariffs)
        if session.reservation and tariff.prices_reservations and not _reservation_decided(session):
            raise CannotPrice(
                "RESERVATION_UNKNOWN", f"tariff {tariff.id!r} prices the reservation, and when that began is not known"
            )
        return site, tariff

    def signals_for(self, session: Session, site: Site) -> Signals:
        """While a session is open, or its bill held, all that is known now; afterwards what its bill was made with."""
        known = self.signals
        if session.billed_signals is not None:
            known = self._catalog.signals(self._watermark._replace(signals=session.billed_signals))
        return known.of_site(site.site_id)

    def keep_signals(self, session: Session) -> None:
        """The session has a final bill: corrections of it are priced with the signals of the first one."""
        if session.billed_signals is None:
            session.billed_signals = self._watermark.signals


def _reservation_decided(session: Session) -> bool:
    """Did somebody say when it began, or that it is not billed?"""
    decided = session.decided
    if decided is None or session.decision != "bill":
        return False
    return decided.without_reservation or decided.reserved_from_us is not None


def _frozen(session: Session, watermark: ReferenceWatermark) -> ReferenceWatermark:
    """The watermark at which the session's site and tariff are looked up."""
    if session.reference is None:
        return watermark
    if session.reference == watermark[:2]:
        return watermark
    sites, tariffs = session.reference
    return ReferenceWatermark(sites, tariffs, watermark.signals)
