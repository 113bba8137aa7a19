"""From evidence to what may be published: measure, price, flag, strip. The only place that knows the order.

Pure: reference data and keys are handed in, no clock is read. The same Rating serves the stream, `replay`, the offline
commands and the tests.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.domain import anomalies
from pipeline.domain.catalog import Catalog
from pipeline.domain.metering.conservation import book
from pipeline.domain.metering.learned import learn
from pipeline.domain.metering.measure import measure
from pipeline.domain.metering.measured import Measured
from pipeline.domain.metering.neighbours import previous_register
from pipeline.domain.outputs import Alert, SessionUpdate, StrippedSession
from pipeline.domain.pricing.bill import Bill, waive
from pipeline.domain.pricing.facts import Facts, Reading
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import Slot
from pipeline.domain.pricing.tariff import CannotPrice, Tariff
from pipeline.domain.pricing.units import MWH_PER_WH
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.rating.running import follow, running_bill
from pipeline.domain.rating.stripping import is_billable, strip, strip_voided
from pipeline.domain.rating.terms import Terms
from pipeline.domain.sites.site import Site
from pipeline.domain.station import POWER, SOC, STRIDE, Connector, Session, Station


class Rated(NamedTuple):
    """A session rated: what is published, what it rests on, and its bill (None: it is held for want of a fact)."""

    record: StrippedSession
    measured: Measured
    bill: Bill | None


class Rating:
    """Reference data, keys, and what is made with them. One per worker; holds no state of any session."""

    def __init__(
        self,
        keyring: Keyring,
        sites: Iterable[Site] = (),
        tariffs: Iterable[Tariff] = (),
        signals: Iterable[Slot] = (),
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
        """The session as it is to be published, without a revision yet; an ended one is booked in the ledger."""
        connector = station.connector(session.connector_id)
        limits = self.terms.limits(station.station_id, session.connector_id)
        previous = previous_register(station, session)
        measured = measure(station, session, limits, previous)
        if session.ended():
            session.previous_wh = previous
            book(connector, session, measured)
            learn(connector, session, measured)
        start = measured.start_register_wh
        unattributed = start - previous if start is not None and previous is not None and start > previous else 0
        bill = running_bill(self.terms, station, session, measured) or self._bill(station.station_id, session, measured)
        if session.ended():
            session.fold = None
            if isinstance(bill, Bill) and bill.state == "FINAL":
                self.terms.keep_signals(session)
                if measured.lags and measured.evidence == "complete":
                    early = self._bill(station.station_id, session, _flowed_early(measured))
                    if not isinstance(early, Bill) or early.total_excl != bill.total_excl:
                        measured.evidence = "estimated"  # problem 9: over which prices the energy spreads is not known
        waived = session.decision == "waive" or not is_billable(session, measured)
        if isinstance(bill, Bill) and session.ended() and waived:
            bill = waive(bill, measured.until_us)
        site = self.terms.site(station.station_id, session, measured.times[0] if measured.times else session.last_at_us)
        session_id = self.session_id(station, session)
        record = strip(station, session, session_id, site, measured, bill, unattributed, limits)
        return Rated(record, measured, bill if isinstance(bill, Bill) else None)

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

    def hold(self, station: Station, session: Session, code: str) -> StrippedSession:
        """An open session whose bill is held for `code`, whatever its evidence says so far."""
        limits = self.terms.limits(station.station_id, session.connector_id)
        measured = measure(station, session, limits, previous_register(station, session))
        site = self.terms.site(station.station_id, session, measured.times[0] if measured.times else session.last_at_us)
        session_id = self.session_id(station, session)
        return strip(station, session, session_id, site, measured, CannotPrice(code, ""), 0, limits)

    def voided(self, station: Station, session: Session, voided_id: str, generation: int) -> StrippedSession:
        """The last record of a provisional id, under which `session` was shown before its start was known.

        `generation`: of what was shown under it.
        """
        return strip_voided(station, session, voided_id, self.session_id(station, session), generation)

    def show(self, station: Station, session: Session) -> SessionUpdate:
        """The live view: energy so far and what it costs if the session ended now."""
        readings = session.readings
        as_of = session.last_at_us
        start = session.start_register_wh
        running = follow(self.terms, station, session)
        excl = incl = currency = None
        if running is not None:
            excl, incl = running.fold.running()
            currency = running.currency
        power = readings[POWER - STRIDE] if len(readings) else -1
        soc = readings[SOC - STRIDE] if len(readings) else -1
        return SessionUpdate(
            session_id=session.session_id or self.session_id(station, session),
            station_id=station.station_id,
            connector_id=max(session.connector_id, 0),
            started_at_us=session.started_at_us,
            as_of_us=as_of,
            energy_wh=session.last_register_wh - start
            if start is not None and session.last_register_wh >= start
            else None,
            power_w=power if power >= 0 else None,
            soc_percent=soc if soc >= 0 else None,
            state=session.state or "charging",
            running_cost_excl_vat=excl,
            running_cost_incl_vat=incl,
            currency=currency,
        )

    def alert(
        self, station: Station, rule: str, connector: Connector, session: Session | None, at_us: int, raised: bool
    ) -> Alert:
        """An alert with an identity that every replay repeats."""
        raised_at = at_us if raised or session is None else session.raised.get(rule, at_us)
        site = self.terms.site(station.station_id, session, None)
        session_id = self.session_id(station, session) if session is not None else None
        limits = self.terms.limits(station.station_id, connector.connector_id)
        return Alert(
            alert_id=self.keyring.keyed_id(
                rule, station.station_id, str(connector.connector_id), session_id or "", str(raised_at)
            ),
            rule=rule,
            state="raised" if raised else "cleared",
            severity=anomalies.RULES[rule].severity,
            station_id=station.station_id,
            connector_id=max(connector.connector_id, 0),
            site_id=site.site_id if site else None,
            session_id=session_id,
            at_us=at_us,
            raised_at_us=raised_at,
            threshold=anomalies.RULES[rule].threshold(limits),
            detail=anomalies.RULES[rule].meaning,
            clock=station.clock,
        )


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
