"""From evidence to a bill: measure, price, waive. What becomes of it is in domain/publishing.

Pure: reference data and keys are handed in, no clock is read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.domain.catalog import Catalog
from pipeline.domain.limits import Limits
from pipeline.domain.metering.conservation import book
from pipeline.domain.metering.learned import learn
from pipeline.domain.metering.measure import measure
from pipeline.domain.metering.measured import Measured
from pipeline.domain.metering.neighbours import previous_register
from pipeline.domain.pricing.bill import Bill, waive
from pipeline.domain.pricing.facts import Facts, Reading
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import PriceSlot
from pipeline.domain.pricing.tariff import CannotPrice, Tariff
from pipeline.domain.pricing.units import MWH_PER_WH
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.rating.running import running_bill
from pipeline.domain.rating.terms import Terms
from pipeline.domain.sites.site import Site
from pipeline.domain.station import SECOND, Session, Station

NOT_BILLED_US, NOT_BILLED_WH = 120 * SECOND, 500
"""AFIREV: a session of less than two minutes or half a kWh is not billable."""


class Rated(NamedTuple):
    """A session measured and priced: all that its record is made from."""

    measured: Measured
    bill: Bill | CannotPrice
    """CannotPrice: it is held for want of a fact."""
    site: Site | None
    limits: Limits
    unattributed_wh: int
    """Register movement before it that no session reported."""


class Rating:
    """Reference data, keys, and what is made with them. One per worker; holds no state of any session."""

    def __init__(
        self,
        keyring: Keyring,
        sites: Iterable[Site] = (),
        tariffs: Iterable[Tariff] = (),
        signals: Iterable[PriceSlot] = (),
    ) -> None:
        self.keyring = keyring
        self.catalog = Catalog(sites, tariffs, signals)
        self.terms = Terms(self.catalog)

    def session_id(self, station: Station, session: Session) -> str:
        """Made once its start is known; before that a provisional one, which is voided when the start arrives."""
        if not session.session_id:
            session.provisional = session.started_at_us is None
            session.session_id = self.keyring.session_id(
                station.station_id, session.connector_id, session.transaction or None, session.started_as_sent_us() or 0
            )
        return session.session_id

    def rate(self, station: Station, session: Session) -> Rated:
        """The session as its evidence and its tariff have it; an ended one is booked in the ledger."""
        connector = station.connector(session.connector_id)
        limits = self.terms.limits(station.station_id, session.connector_id)
        previous = previous_register(station, session)
        measured = measure(station, session, limits, previous)
        ended = session.ended()
        if ended:
            session.previous_wh = previous
            book(connector, session, measured)
            learn(connector, session, measured)
        start = measured.start_register_wh
        unattributed = start - previous if start is not None and previous is not None and start > previous else 0
        bill = running_bill(self.terms, station, session, measured) or self._bill(station.station_id, session, measured)
        if ended:
            session.fold = None
            if isinstance(bill, Bill) and bill.state == "FINAL":
                self.terms.keep_signals(session)
                if measured.lags and measured.evidence == "complete":
                    early = self._bill(station.station_id, session, _flowed_early(measured))
                    if not isinstance(early, Bill) or early.total_excl != bill.total_excl:
                        measured.evidence = "estimated"  # problem 9: over which prices the energy spreads is not known
        waived = session.decision == "waive" or not is_billable(session, measured)
        if isinstance(bill, Bill) and ended and waived:
            bill = waive(bill, measured.until_us)
        return Rated(measured, bill, self._site(station, session, measured), limits, unattributed)

    def hold(self, station: Station, session: Session, code: str) -> Rated:
        """An open session whose bill is held for `code`, whatever its evidence says so far."""
        limits = self.terms.limits(station.station_id, session.connector_id)
        measured = measure(station, session, limits, previous_register(station, session))
        return Rated(measured, CannotPrice(code, ""), self._site(station, session, measured), limits, 0)

    def _site(self, station: Station, session: Session, measured: Measured) -> Site | None:
        started_us = measured.times[0] if measured.times else session.last_at_us
        return self.terms.site(station.station_id, session, started_us)

    def _bill(self, station_id: str, session: Session, measured: Measured) -> Bill | CannotPrice:
        if measured.held is not None:
            return CannotPrice(measured.held, "the evidence does not carry a bill")
        if not measured.times:
            return CannotPrice("ENERGY_UNKNOWN", "no register was ever read")
        try:
            site, tariff = self.terms.tariff(station_id, session, measured.times[0])
            signals, final = self.terms.signals_for(session, site), measured.ended_at_us is not None
            return price(_facts(measured, session), tariff, site.time_zone, signals, final, tax_rate=site.tax_rate)
        except CannotPrice as missing:
            return missing


def is_billable(session: Session, measured: Measured) -> bool:
    """Long enough and with enough energy to be charged for; an abort costs nothing, not even a start fee."""
    energy, lasted_us = measured.energy_wh, measured.until_us - measured.since_us
    return session.ended() and energy is not None and energy >= NOT_BILLED_WH and lasted_us >= NOT_BILLED_US


def _flowed_early(measured: Measured) -> Measured:
    """As if the energy of each lag of the register had flowed as soon as it stood still."""
    times, registers = measured.times, list(measured.registers)
    for since, until in measured.lags:
        begin, end = bisect_right(times, since), bisect_left(times, until)
        registers[begin:end] = [registers[end]] * (end - begin)
    return replace(measured, registers=registers)


def _facts(measured: Measured, session: Session) -> Facts:
    return Facts(
        start_us=measured.times[0],
        end_us=measured.until_us,
        readings=[
            Reading(at, wh * MWH_PER_WH, None if power < 0 else power)
            for at, wh, power in zip(measured.times, measured.registers, measured.powers, strict=True)
        ],
        activity=measured.activity,
        reserved_from_us=measured.reserved_from_us,
        estimated=measured.evidence == "estimated",
        quote=session.quote,
        powers_between=measured.powers_between,
    )
