"""From evidence to what may be published: measure, price, flag, strip. The only place that knows the order.

Pure: reference data and keys are handed in, no clock is read. The same Rating serves the stream, `replay`, the offline
commands and the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pipeline.domain import anomalies
from pipeline.domain.catalog import START, Catalog, View
from pipeline.domain.conservation import book, previous_register
from pipeline.domain.limits import AC, DC, UNKNOWN, Limits
from pipeline.domain.measure import Measured, measure, seconds
from pipeline.domain.outputs import Alert, SessionUpdate, StrippedSession
from pipeline.domain.pricing.bill import Bill, waive
from pipeline.domain.pricing.facts import Facts, Reading
from pipeline.domain.pricing.fold import Fold, price
from pipeline.domain.pricing.signals import Signals, Slot
from pipeline.domain.pricing.tariff import CannotPrice, Tariff, choose, require_lock
from pipeline.domain.pseudonyms import Keyring
from pipeline.domain.site import Site
from pipeline.domain.slots import spread
from pipeline.domain.station import SECOND, STRIDE, Connector, Session, Station

MWH = 1000
NOT_BILLED_US, NOT_BILLED_WH = 120 * SECOND, 500
"""AFIREV: a session of less than two minutes or half a kWh is not billable."""


class Rated(NamedTuple):
    """A session rated: what is published, what it rests on, and its bill (None: it is held for want of a fact)."""

    record: StrippedSession
    measured: Measured
    bill: Bill | None


class Running:
    """A fold and how many of the session's readings it has seen."""

    __slots__ = ("currency", "fed", "fold", "highest_wh", "known", "series", "site_id", "template")

    def __init__(self, fold: Fold, currency: str, register_wh: int) -> None:
        self.fold = fold
        self.currency = currency
        self.highest_wh = register_wh
        self.site_id = ""
        self.series: tuple[str, ...] = ()
        """The signals that the tariff follows; nearly always none."""
        self.known: tuple[int, ...] = ()
        """How many slots of each were known when the fold began: with more of them it begins again."""
        self.template: Any = None
        """What whoever encodes live updates keeps for the next one."""
        self.fed = 0


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
        self._view = START
        self._signals = self.catalog.signals(START)
        self._limits: dict[tuple[str, int], Limits] = {}

    # --- what is known of a place ------------------------------------------------------------------------------------

    def site_id(self, station_id: str) -> str | None:
        """Where the station stands by the latest version; None: at no known site."""
        site = self._site(station_id, None, None)
        return None if site is None else site.site_id

    def see(self, view: View) -> None:
        """From now on this much of the catalog counts, for all but what a session has frozen."""
        if view == self._view:
            return
        if view.sites != self._view.sites:
            self._limits.clear()
        self._view = view
        self._signals = self.catalog.signals(view)

    def limits(self, station_id: str, connector_id: int) -> Limits:
        """Limits of a connector by the latest version of its site, else the defaults of its power type."""
        place = (station_id, connector_id)
        found = self._limits.get(place)
        if found is None:
            found = self._limits[place] = self._limits_of(*place)
        return found

    def _limits_of(self, station_id: str, connector_id: int) -> Limits:
        place = self.catalog.place(station_id, self._view)
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

    def _site(self, station_id: str, session: Session | None, at_us: int | None) -> Site | None:
        view = self._view if session is None else _frozen(session, self._view)
        place = self.catalog.place(station_id, view, at_us)
        return None if place is None else place.site

    def _tariff(self, station_id: str, session: Session, at_us: int) -> tuple[Site, Tariff]:
        """Site and tariff at the start, as they were known when both were found for the first time (D19).

        What is published later about the time before changes no session that has its price already.
        """
        site = self._site(station_id, session, at_us)
        if site is None:
            raise CannotPrice("SITE_MISSING", "the station stands at no known site; publish it with `sites publish`")
        view = _frozen(session, self._view)
        tariff = choose(self.catalog.tariffs(site.tariff_ids, view), site.tariff_ids, at_us, "REGULAR")
        if site.lock_required:
            require_lock(tariff)
        session.reference = (view.sites, view.tariffs)
        return site, tariff

    def _signals_for(self, session: Session, site: Site) -> Signals:
        """While a session is open, or its bill held, all that is known now; afterwards what its bill was made with."""
        known = self._signals
        if session.billed_signals is not None:
            known = self.catalog.signals(self._view._replace(signals=session.billed_signals))
        return known.of_site(site.site_id)

    # --- identities --------------------------------------------------------------------------------------------------

    def session_id(self, station: Station, session: Session) -> str:
        """Made once its start is known; before that a provisional one, which is voided when the start arrives."""
        if not session.session_id:
            session.provisional = session.started_at_us is None
            session.session_id = self.keyring.session_id(
                station.station_id, session.connector_id, session.transaction or None, session.started_as_sent_us() or 0
            )
        return session.session_id

    # --- outputs -----------------------------------------------------------------------------------------------------

    def rate(self, station: Station, session: Session) -> Rated:
        """The session as it is to be published, without a revision yet; an ended one is booked in the ledger."""
        connector = station.connector(session.connector_id)
        limits = self.limits(station.station_id, session.connector_id)
        previous = previous_register(station, session)
        measured = measure(session, connector, limits, previous)
        if session.ended():
            book(connector, session, measured)
        start = measured.start_register_wh
        unattributed = start - previous if start is not None and previous is not None and start > previous else 0
        bill = self._running_bill(station, session, measured) or self._bill(station.station_id, session, measured)
        if session.ended():
            session.fold = None
            if session.billed_signals is None and isinstance(bill, Bill) and bill.state == "FINAL":
                session.billed_signals = self._view.signals
        billable = _billable(session, measured)
        waived = session.decision == "waive" or not billable  # an abort costs nothing, not even a start fee
        if isinstance(bill, Bill) and session.ended() and waived:
            bill = waive(bill, measured.until_us)
        record = self._strip(station, session, measured, bill, unattributed, limits, billable)
        return Rated(record, measured, bill if isinstance(bill, Bill) else None)

    def _bill(self, station_id: str, session: Session, measured: Measured) -> Bill | CannotPrice:
        if measured.held is not None:
            return CannotPrice(measured.held, "the evidence does not carry a bill")
        if not measured.times:
            return CannotPrice("ENERGY_UNKNOWN", "no register was ever read")
        try:
            site, tariff = self._tariff(station_id, session, measured.times[0])
            signals, final = self._signals_for(session, site), measured.ended_at_us is not None
            return price(_facts(measured), tariff, site.time_zone, signals, final, tax_rate=site.tax_rate)
        except CannotPrice as missing:
            return missing

    def _running_bill(self, station: Station, session: Session, measured: Measured) -> Bill | None:
        """The bill of the fold that gave the running cost, if it has seen just what was measured; else None."""
        if session.fold is None or not measured.clean or len(measured.activity) > 1:
            return None
        if measured.activity[0].activity != "charging" or measured.held is not None:
            return None
        running = self.running(station, session)
        if running is None:
            return None
        fold, until = running.fold, measured.until_us
        if until > session.last_at_us:
            fold.reading(until, measured.registers[-1] * MWH)
        return fold.close(until) if session.ended() else fold.bill(until, final=False)

    def _strip(
        self,
        station: Station,
        session: Session,
        measured: Measured,
        bill: Bill | CannotPrice,
        unattributed: int,
        limits: Limits,
        billable: bool,
    ) -> StrippedSession:
        """Field by field from the allow-list: nothing of the session is copied that is not named here."""
        site = self._site(station.station_id, session, measured.times[0] if measured.times else session.last_at_us)
        energy, until = measured.energy_wh, measured.until_us
        lasted = _lasted(measured)
        priced = bill if isinstance(bill, Bill) else None
        given_up = priced is None and session.decision == "waive"
        nothing = "0.0000" if given_up else None
        evidence, quality = measured.evidence, measured.quality
        if priced is not None and evidence == "complete" and _price_changed_in(measured.gaps, priced):
            evidence = "estimated"  # problem 9: how the energy spreads over the prices is an assumption
        return StrippedSession(
            session_id=self.session_id(station, session),
            station_id=station.station_id,
            connector_id=max(session.connector_id, 0),
            site_id=site.site_id if site else None,
            time_zone=site.time_zone if site else None,
            power_type=limits.power_type,
            started_at_us=measured.started_at_us,
            ended_at_us=measured.ended_at_us,
            duration_s=seconds(lasted),
            charging_s=seconds(measured.charging_us),
            idle_s=seconds(lasted) - seconds(measured.charging_us),
            energy_wh=energy,
            estimated_wh=measured.estimated_wh,
            unattributed_wh=unattributed,
            start_register_wh=measured.start_register_wh,
            stop_register_wh=measured.stop_register_wh,
            max_power_w=measured.max_power_w,
            status=measured.status,
            evidence=evidence,
            quality=quality,
            flags=anomalies.flags(measured, limits),
            billable=billable,
            stop_reason=session.stop_reason,
            driver=session.analytics_token,
            bill_state=priced.state if priced else "FINAL" if given_up else "HELD",
            held_reason=None if given_up else bill.held_reason if isinstance(bill, Bill) else bill.code,
            currency=priced.currency if priced else None,
            total_excl_vat=priced.total_excl if priced else nothing,
            total_incl_vat=priced.total_incl if priced else nothing,
            payable_excl_vat=priced.payable_excl if priced else nothing,
            payable_incl_vat=priced.payable_incl if priced else nothing,
            tariff_id=priced.tariff_id if priced else None,
            tariff_version=priced.tariff_version if priced else None,
            lines=priced.lines if priced else (),
            slots=spread(measured.times, measured.registers, measured.activity, until),
            clock=station.clock,
        )

    def voided(self, station: Station, session: Session, voided_id: str) -> StrippedSession:
        """Closes the provisional id under which `session` was shown before its start was known."""
        return StrippedSession(
            session_id=voided_id,
            station_id=station.station_id,
            connector_id=max(session.connector_id, 0),
            started_at_us=None,
            ended_at_us=session.ended_at_us,
            duration_s=0,
            charging_s=0,
            idle_s=0,
            energy_wh=0,
            estimated_wh=0,
            unattributed_wh=0,
            start_register_wh=None,
            stop_register_wh=None,
            status="void",
            evidence="complete",
            quality=(),
            flags=(),
            billable=False,
            driver=None,
            bill_state="FINAL",
            total_excl_vat="0.0000",
            total_incl_vat="0.0000",
            superseded_by=self.session_id(station, session),
            clock=station.clock,
        )

    def show(self, station: Station, session: Session) -> SessionUpdate:
        """The live view: energy so far and what it costs if the session ended now."""
        readings = session.readings
        as_of = session.last_at_us
        start = session.start_register_wh
        running = self.running(station, session)
        excl = incl = currency = None
        if running is not None:
            excl, incl = running.fold.running()
            currency = running.currency
        power = readings[-2] if len(readings) else -1
        soc = readings[-1] if len(readings) else -1
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

    def running(self, station: Station, session: Session) -> Running | None:
        """The session's fold, fed with what was read since; None while no bill can be shown."""
        started, start = session.started_at_us, session.start_register_wh
        running: Running | None = session.fold
        if running is None:
            if started is None or start is None:
                return None
            try:
                site, tariff = self._tariff(station.station_id, session, started)
                running = session.fold = _open_fold(site, tariff, self._signals.of_site(site.site_id), started, start)
            except CannotPrice:
                return None
        elif running.series and running.known != self._signals.of_site(running.site_id).count(running.series):
            self._begin_again(station, session, running)
        readings, fed = session.readings, running.fed
        running.fed = len(readings)
        highest = running.highest_wh
        new = readings[fed + 1 :: STRIDE].tolist()
        if new and max(new) == new[-1] >= highest and running.fold.moved(readings[-STRIDE], new[-1] * MWH):
            running.highest_wh = new[-1]  # inside one stretch of price only the last reading counts
            return running
        read = running.fold.reading
        for position in range(fed, len(readings), STRIDE):
            register = readings[position + 1]
            if register >= highest and readings[position] > (started or 0):
                read(readings[position], register * MWH)
                highest = register
        running.highest_wh = highest
        return running

    def _begin_again(self, station: Station, session: Session, running: Running) -> None:
        """Slots became known since the fold began: it is fed anew, as it would be after a restart of the worker."""
        started, start = session.started_at_us or 0, session.start_register_wh or 0
        site, tariff = self._tariff(station.station_id, session, started)
        fresh = _open_fold(site, tariff, self._signals.of_site(site.site_id), started, start)
        running.fold, running.highest_wh, running.fed, running.known = fresh.fold, start, 0, fresh.known

    def alert(
        self, station: Station, rule: str, connector: Connector, session: Session | None, at_us: int, raised: bool
    ) -> Alert:
        """An alert with an identity that every replay repeats."""
        raised_at = at_us if raised or session is None else session.raised.get(rule, at_us)
        site = self._site(station.station_id, session, None)
        session_id = self.session_id(station, session) if session is not None else None
        limits = self.limits(station.station_id, connector.connector_id)
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


def _open_fold(site: Site, tariff: Tariff, signals: Signals, started_us: int, register_wh: int) -> Running:
    fold = Fold.open(tariff, site.time_zone, signals, started_us, register_wh * MWH, tax_rate=site.tax_rate)
    running = Running(fold, tariff.currency, register_wh)
    running.site_id, running.series = site.site_id, tariff.series
    running.known = signals.count(running.series)
    return running


def _frozen(session: Session, view: View) -> View:
    """The view with which the session's site and tariff are looked up."""
    if session.reference is None:
        return view
    sites, tariffs = session.reference
    return View(sites, tariffs, view.signals)


def _lasted(measured: Measured) -> int:
    return measured.until_us - (measured.started_at_us if measured.started_at_us is not None else measured.until_us)


def _billable(session: Session, measured: Measured) -> bool:
    energy = measured.energy_wh
    return session.ended() and energy is not None and energy >= NOT_BILLED_WH and _lasted(measured) >= NOT_BILLED_US


def _facts(measured: Measured) -> Facts:
    return Facts(
        start_us=measured.times[0],
        end_us=measured.until_us,
        readings=[Reading(at, wh * MWH) for at, wh in zip(measured.times, measured.registers, strict=True)],
        activity=measured.activity,
        estimated=measured.evidence == "estimated",
    )


def _price_changed_in(gaps: Sequence[tuple[int, int]], bill: Bill) -> bool:
    """Does a bound between two energy prices lie where nothing was read?"""
    bounds = [line.to_us for line in bill.lines if line.dimension == "ENERGY"]
    return any(begin < bound < end for bound in bounds[:-1] for begin, end in gaps)
