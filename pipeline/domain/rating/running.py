"""The running bill of an open session: a fold that is fed with what was read since, and gives the final bill, too."""

from __future__ import annotations

from typing import Any

from pipeline.domain.bounds import LONGEST_SESSION_US
from pipeline.domain.events import PriceQuote
from pipeline.domain.metering.evidence import readings_of
from pipeline.domain.metering.measured import Measured
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.fold import Fold
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, Tariff
from pipeline.domain.pricing.units import MWH_PER_WH
from pipeline.domain.rating.terms import Terms
from pipeline.domain.sites.site import Site
from pipeline.domain.station import ABSENT, ENERGY, KIND, POWER, REGISTER, STRIDE, Session, Station


class Running:
    """A fold and how many of the session's readings it has seen."""

    __slots__ = (
        "bounds", "currency", "fed", "fold", "highest_wh", "is_moved", "is_plain", "known", "series", "site_id",
        "template",
    )  # fmt: skip

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
        self.bounds: list[int] = []
        """Times of the readings between which a price may have changed: these a long session keeps."""
        self.fed = 0
        self.is_moved = False
        """Some of its readings are not where they were sent: another clock, or no transaction id."""
        self.is_plain = False
        """Neither that, nor is it to begin again when signals come: a plain reading more can be fed as it is."""


def follow(terms: Terms, station: Station, session: Session) -> Running | None:
    """The session's fold, fed with what was read since; None while no bill can be shown."""
    readings = session.readings
    running: Running | None = session.fold
    if running is not None and running.is_plain:
        behind = len(readings) - running.fed
        if not behind:
            return running
        if behind == STRIDE and not session.slow:
            register = readings[ENERGY - STRIDE]  # nearly always: one reading more, and a plain one
            if register >= running.highest_wh and running.fold.moved(readings[-STRIDE], register * MWH_PER_WH):
                running.fed, running.highest_wh = len(readings), register
                return running
    started, start = session.started_at_us, session.start_register_wh
    is_moved = running is None and (session.suspect or len(station.connector(session.connector_id).loose) > 0)
    if is_moved or (running is not None and running.is_moved):
        running, is_moved = None, True  # its readings are not where they were sent: folded anew each time
        readings = readings_of(station, session, session.ended_at_us)
    if running is None:
        if started is None or start is None or session.last_at_us - started > LONGEST_SESSION_US:
            return None
        try:
            site, tariff = terms.tariff(station.station_id, session, started)
            signals = terms.signals.of_site(site.site_id)
            running = session.fold = _open_fold(site, tariff, signals, started, start, session.quote)
            running.is_moved = is_moved
            running.is_plain = not is_moved and not running.series
        except CannotPrice:
            return None
    elif running.series and running.known != terms.signals.of_site(running.site_id).count(running.series):
        _begin_again(terms, station, session, running)
    fed, highest = running.fed, running.highest_wh
    running.fed = len(readings)
    new = readings[fed + ENERGY :: STRIDE].tolist()
    plain = not any(readings[fed + KIND :: STRIDE])
    if new and plain and max(new) == new[-1] >= highest and running.fold.moved(readings[-STRIDE], new[-1] * MWH_PER_WH):
        running.highest_wh = new[-1]  # inside one stretch of price only the last reading counts
        return running
    fold = running.fold
    read, needs_power = fold.reading, fold.needs_power
    last = started or 0
    for position in range(fed, len(readings), STRIDE):
        at, power = readings[position], readings[position + POWER] if needs_power else ABSENT
        register = readings[position + ENERGY] if readings[position + KIND] == REGISTER else ABSENT
        if register >= highest and at > last:  # two of one instant: their clock is not known well yet
            if not fold.moved(at, register * MWH_PER_WH):
                prices = fold.prices
                read(at, register * MWH_PER_WH, None if power < 0 else power)
                if not needs_power or fold.prices != prices:
                    running.bounds += (readings[max(position - STRIDE, 0)], at)
            highest, last = register, at
        elif power >= 0:  # its register is not used, what it states of power is
            if at == started == last:
                read(started, highest * MWH_PER_WH, power)
            elif at > last:
                running.fold.power(at, power)
    running.highest_wh = highest
    return running


def _begin_again(terms: Terms, station: Station, session: Session, running: Running) -> None:
    """Slots became known since the fold began: it is fed anew, as it would be after a restart of the worker."""
    started, start = session.started_at_us or 0, session.start_register_wh or 0
    site, tariff = terms.tariff(station.station_id, session, started)
    fresh = _open_fold(site, tariff, terms.signals.of_site(site.site_id), started, start, session.quote)
    running.fold, running.highest_wh, running.fed, running.known = fresh.fold, start, 0, fresh.known
    running.bounds = []


def _open_fold(
    site: Site, tariff: Tariff, signals: Signals, started_us: int, register_wh: int, quote: PriceQuote | None
) -> Running:
    fold = Fold.open(
        tariff, site.time_zone, signals, started_us, register_wh * MWH_PER_WH, tax_rate=site.tax_rate, quote=quote
    )
    running = Running(fold, tariff.currency, register_wh)
    running.site_id, running.series = site.site_id, fold.series
    if running.series:
        running.known = signals.count(running.series)
    return running


def running_bill(terms: Terms, station: Station, session: Session, measured: Measured) -> Bill | None:
    """The bill of the fold that gave the running cost, if it has seen just what was measured; else None."""
    if session.fold is None or not measured.clean or len(measured.activity) > 1:
        return None
    if measured.activity[0].activity != "charging" or measured.held is not None:
        return None
    running = follow(terms, station, session)
    if running is None:
        return None
    fold, until = running.fold, measured.until_us
    if until > session.last_at_us:
        fold.reading(until, measured.registers[-1] * MWH_PER_WH)
    elif running.highest_wh != measured.registers[-1]:
        return None  # the stop tells more than the last reading, and of the same instant: the fold takes only one
    return fold.close(until) if session.ended() else fold.bill(until, final=False)
