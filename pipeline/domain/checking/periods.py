"""Pricing of stated charging periods: what a CDR claims, volume by volume, instead of meter readings.

The volumes of a period are priced as stated (ops/spec/pricing.md D7), also where they contradict its timestamps.
Tariffs, sums, step sizes, limits and lines are those of domain/pricing/; only the walk over time is different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import lcm
from typing import NamedTuple

from pipeline.domain.pricing.bill import Bill, render
from pipeline.domain.pricing.compiled_tariff import Active, CompiledTariff, Part, compile_tariff, four
from pipeline.domain.pricing.interpretation import STANDARD, Interpretation, as_read
from pipeline.domain.pricing.ledger import BillLedger
from pipeline.domain.pricing.restrictions import Moment, Range
from pipeline.domain.pricing.signals import NO_SIGNALS, Signals
from pipeline.domain.pricing.tariff import CannotPrice, Dimension, Tariff
from pipeline.domain.pricing.units import NEVER_US, US_PER_HOUR, US_PER_S, rounded

UNPRICED = Active((None, None, None, None))


class Period(NamedTuple):
    """One OCPI ChargingPeriod; it ends where the next one starts. Volumes that are not stated are None."""

    start_us: int
    energy_mwh: int | None = None
    time_us: int | None = None
    parking_us: int | None = None
    reservation_us: int | None = None
    power_w: Range | None = None
    current_ma: Range | None = None
    tariff_id: str | None = None
    written_to_us: int = US_PER_HOUR // 10_000
    """How far a stated time may be off because of the decimals it was written with."""
    negative: tuple[str, ...] = ()
    """Dimensions that are stated below 0 and cannot be, by OCPI name."""


class Claim(NamedTuple):
    """The periods of a session as somebody states them."""

    start_us: int
    end_us: int
    periods: Sequence[Period]

    def ends(self) -> list[int]:
        """Where each period ends: where the next one starts, the last one with the session."""
        later = [*(period.start_us for period in self.periods[1:]), self.end_us]
        return [max(end, period.start_us) for period, end in zip(self.periods, later, strict=True)]


class Priced(NamedTuple):
    """The bill, and the assumptions on which its figures may rest (D16, D17)."""

    bill: Bill
    assumed: frozenset[str]


def price_periods(
    claim: Claim,
    tariff: Tariff,
    by_id: Mapping[str, Tariff],
    zone: str | None,
    signals: Signals | None = None,
    *,
    tax_rate: Decimal | None = None,
    how: Interpretation = STANDARD,
) -> Priced:
    """Bill of stated periods. `tariff`, in force at the start, gives the limits and prices periods that name none.

    If some periods name a tariff, those that do not are unpriced (D26). Raises CannotPrice TIME_ZONE_MISSING, or
    TARIFF_MISSING for a tariff that `by_id` does not hold.
    """
    signals = signals or NO_SIGNALS
    walk = _Walk(claim, tariff, by_id, zone, signals, tax_rate, how)
    for period, end_us in zip(claim.periods, claim.ends(), strict=True):
        walk.period(period, end_us)
    reservation = walk.reservation if walk.has_reservation else None
    bill = render(walk.main, signals, walk.session, reservation, walk.has_session, claim.end_us, final=True)
    return Priced(bill, frozenset(walk.assumed))


class _Piece(NamedTuple):
    from_us: int
    to_us: int
    offset_s: int | None
    active: Active
    done: tuple[int, int, int]
    """Energy, charging time and idle time of the period up to `to_us`."""


class _Walk:
    """Posts the volumes of the periods in order, cut wherever the active component may change."""

    def __init__(
        self,
        claim: Claim,
        tariff: Tariff,
        by_id: Mapping[str, Tariff],
        zone: str | None,
        signals: Signals,
        tax_rate: Decimal | None,
        how: Interpretation,
    ) -> None:
        self._how = how
        self._signals = signals
        self._names_tariffs = any(period.tariff_id is not None for period in claim.periods)
        self.has_session = any(period.reservation_us is None for period in claim.periods)
        self.has_reservation = any(period.reservation_us is not None for period in claim.periods)
        named = [by_id.get(period.tariff_id) for period in claim.periods if period.tariff_id is not None]
        if None in named:
            raise CannotPrice("TARIFF_MISSING", "a charging period names a tariff that was not given")
        used = {each.id: each for each in (tariff, *named) if each is not None}
        part: Part = "reservation" if self.has_session else "expired"
        self._compiled = _compile_all(used, zone, "session", tax_rate, how)
        self._reserved = _compile_all(used, zone, part, tax_rate, how) if self.has_reservation else {}
        self.main = self._compiled[tariff.id]
        self.session, self.reservation = BillLedger(how), BillLedger(how)
        self.assumed: set[str] = set()
        self._used_mwh = 0
        charging = [period for period in claim.periods if period.reservation_us is None]
        self._session_us = charging[0].start_us if charging and self.has_reservation else claim.start_us
        self._origin_us = claim.start_us if how.from_cdr_start else self._session_us
        self._bounds = claim.start_us, claim.end_us
        self._charging_end_us = _end_of_charging(claim, tariff.resume_mwh)

    def period(self, period: Period, to_us: int) -> None:
        """Posts one period; a period without TIME and PARKING_TIME is charging for as long as it lasts."""
        is_reserved = period.reservation_us is not None
        compiled = self._compiled_of(period, is_reserved)
        ledger = self.reservation if is_reserved else self.session
        time_us, parking_us = period.reservation_us if is_reserved else period.time_us, period.parking_us or 0
        if time_us is None and period.parking_us is None:
            first, last = self._bounds
            time_us = max(0, min(to_us, last) - max(period.start_us, first))
        self._post(period, compiled, ledger, to_us, (period.energy_mwh or 0, time_us or 0, parking_us))
        self._used_mwh += period.energy_mwh or 0

    def _compiled_of(self, period: Period, is_reserved: bool) -> CompiledTariff | None:
        by_id = self._reserved if is_reserved else self._compiled
        if period.tariff_id is not None:
            return by_id[period.tariff_id]
        return None if self._names_tariffs else by_id[self.main.tariff.id]

    def _post(
        self,
        period: Period,
        compiled: CompiledTariff | None,
        ledger: BillLedger,
        to_us: int,
        volumes: tuple[int, int, int],
    ) -> None:
        from_us, posted = period.start_us, (0, 0, 0)
        pieces = self._pieces(period, compiled, ledger, to_us, volumes)
        chosen = self._chosen([piece.active for piece in pieces]) if volumes[0] else None
        for place, (us, until_us, offset_s, active, done) in enumerate(pieces):
            self._post_flat(ledger, active, offset_s, us)
            energy, time, parking = (new - old for new, old in zip(done, posted, strict=True))
            if chosen is not None:
                energy = volumes[0] if place == chosen else 0
            head = (us, us) if us == from_us else (from_us, to_us)
            tail = (until_us, until_us) if until_us >= to_us else (from_us, to_us)
            ledger.post_energy(active, offset_s, us, until_us, energy, head, tail)
            if time:
                ledger.post_time(active, offset_s, "charging", us, until_us, time, (from_us, from_us))
                ledger.time.snap(active.units[Dimension.TIME], _seconds(done[1]) - _seconds(posted[1]))
            if parking:
                ledger.post_time(active, offset_s, "idle", us, until_us, parking, (from_us, from_us))
                ledger.parking.snap(active.units[Dimension.PARKING_TIME], _seconds(done[2]) - _seconds(posted[2]))
            if active.is_power_derived and energy:
                self.assumed.add("POWER_FROM_ENERGY")
            posted = done

    def _pieces(
        self,
        period: Period,
        compiled: CompiledTariff | None,
        ledger: BillLedger,
        to_us: int,
        volumes: tuple[int, int, int],
    ) -> list[_Piece]:
        """The period cut wherever the active component may change, with the volumes done by the end of each piece."""
        from_us, us, done, pieces = period.start_us, period.start_us, (0, 0, 0), list[_Piece]()
        while not pieces or us < to_us:
            until_us, offset_s, active = self._select(period, compiled, ledger, us, to_us, done[0])
            done = volumes if until_us >= to_us else _share(volumes, until_us - from_us, to_us - from_us)
            pieces.append(_Piece(us, until_us, offset_s, active, done))
            us = until_us
        return pieces

    def _chosen(self, actives: list[Active]) -> int | None:
        """The piece that is to take all energy of a period that spans a change of its price; None: in proportion."""
        prices = [
            (unit.excl or unit.incl or 0) if unit is not None else 0 for unit in (each.units[0] for each in actives)
        ]
        if len(set(prices)) > 1:
            self.assumed.add("PERIOD_SPANS_PRICE_CHANGE")
        match self._how.spread:
            case "time":
                return None
            case "cheapest":
                return prices.index(min(prices))
            case "dearest":
                return prices.index(max(prices))

    def _select(
        self, period: Period, compiled: CompiledTariff | None, ledger: BillLedger, us: int, to_us: int, posted_mwh: int
    ) -> tuple[int, int | None, Active]:
        """The active components at an instant of the period, and until when they stay so."""
        if compiled is None:
            return to_us, None, UNPRICED
        in_force = compiled.at(us)
        power_w, is_derived = _power(period, to_us)
        origin_us = period.start_us if ledger is self.reservation else self._origin_us
        end = self._charging_end_us
        moment = Moment(
            at_us=us,
            elapsed_us=max(0, us - origin_us),
            used_mwh=self._used_mwh + posted_mwh,
            since_charging_us=None if end is None or us < end else us - end,
            power_w=power_w,
            current_ma=period.current_ma,
        )
        lock_us = self._session_us if compiled.tariff.price_mode == "LOCKED" else None
        rules = in_force.rules if lock_us is None else compiled.at(lock_us).rules
        active = compiled.activate(rules, moment, self._signals, lock_us)
        if compiled.has_power and is_derived:
            active = active._replace(is_power_derived=True)
        if self._how.zero_is_unpriced:
            priced = [unit if unit is not None and unit.excl else None for unit in active.units]
            active = active._replace(units=four(priced))
        if self._how.whole_periods:
            return to_us, in_force.offset_s, active
        until_us = min(in_force.to_us, active.until_us, to_us)
        if active.until_mwh < NEVER_US and period.energy_mwh:
            missing = active.until_mwh - self._used_mwh
            reached_us = period.start_us - -missing * (to_us - period.start_us) // period.energy_mwh
            until_us = min(until_us, max(reached_us, us + 1))
        return until_us, in_force.offset_s, active

    def _post_flat(self, ledger: BillLedger, active: Active, offset_s: int | None, us: int) -> None:
        unit = active.units[Dimension.FLAT]
        if unit is None:
            return
        is_several = self._how.flat_per_element or (self._how.both_flats and ledger is self.reservation)
        known = [run.unit for run in ledger.flats]
        if not known or (is_several and unit not in known):
            ledger.post_flat(active, offset_s, us, (us, us))


def _compile_all(
    tariffs: Mapping[str, Tariff], zone: str | None, part: Part, tax_rate: Decimal | None, how: Interpretation
) -> dict[str, CompiledTariff]:
    """Each tariff compiled, by id; their money is counted in one common scale."""
    if len(tariffs) == 1 and how == STANDARD:
        return {name: compile_tariff(tariff, zone, part, tax_rate) for name, tariff in tariffs.items()}
    read = {name: as_read(tariff, how) for name, tariff in tariffs.items()}
    compiled = {name: CompiledTariff(tariff, zone, part, tax_rate) for name, tariff in read.items()}
    scale = lcm(*(each.rates.scale for each in compiled.values()))
    return {name: CompiledTariff(tariff, zone, part, tax_rate, scale) for name, tariff in read.items()}


def _end_of_charging(claim: Claim, resume_mwh: int) -> int | None:
    """Start of the first period after the last period of charging that delivered enough (ops/spec/pricing.md 5.4)."""
    found, energy, was_charging = None, 0, False
    for period in claim.periods:
        is_charging = period.reservation_us is None and period.parking_us is None
        if was_charging and not is_charging and energy >= resume_mwh:
            found = period.start_us
        energy = (energy if was_charging else 0) + (period.energy_mwh or 0) if is_charging else 0
        was_charging = is_charging
    return None if was_charging and energy >= resume_mwh else found


def _power(period: Period, to_us: int) -> tuple[Range | None, bool]:
    """As stated, else energy over duration as an assumption (D16)."""
    if period.power_w is not None:
        return period.power_w, False
    if period.energy_mwh is None or to_us <= period.start_us:
        return None, False
    watts = rounded(period.energy_mwh * US_PER_HOUR, (to_us - period.start_us) * 1000)
    return (watts, watts), True


def _share(volumes: tuple[int, int, int], passed_us: int, whole_us: int) -> tuple[int, int, int]:
    energy, time, parking = (rounded(volume * passed_us, whole_us) for volume in volumes)
    return energy, time, parking


def _seconds(us: int) -> int:
    return (us + US_PER_S // 2) // US_PER_S
