"""The bill: from the books of a session to totals, limits, tax, payable amounts and lines that explain each of them.

Steps in this order: step_size, cost per dimension to 4 decimals, idle cap, limits, currency rounding (pricing.md D7,
D20, D22, D23). `total` gives the figures of the head, for the running cost as for the bill; `render` adds the lines.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import msgspec

from pipeline.domain.ledger import Ledger, Run, Volume, energy_step, time_step
from pipeline.domain.outputs import BillState, Line
from pipeline.domain.plan import Active, Plan, Unit
from pipeline.domain.units import (
    MONEY_SCALE,
    kwh_text,
    local_text,
    minor_units,
    money_text,
    payable,
    payable_text,
    rounded,
    seconds_text,
    utc_text,
)

ROUNDING_POLICY = "half-away-from-zero: 4 decimals per dimension, then ISO 4217 minor unit; version 1"
ENERGY_SCALE = 100
"""Prices are per kWh, quantities in mWh, amounts in 1/10,000: 1,000,000 / 10,000."""
TIME_SCALE = 360_000
"""Prices are per hour, quantities in microseconds: divided once, at the end (D22)."""


class TaxTotal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tax of the session at one rate, before and after currency rounding; `rate` null: remainders without a rate."""

    rate: str | None
    tax: str
    payable: str


class Bill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a session costs and why. Totals are null while unknown: never a guess, never zero."""

    state: BillState
    held_reason: str | None = None
    currency: str
    time_zone: str | None
    tariff_id: str
    tariff_version: str
    tariff_hash: str
    price_mode: str
    rounding_policy: str = ROUNDING_POLICY
    total_excl: str | None
    total_incl: str | None
    payable_excl: str | None
    payable_incl: str | None
    tax: tuple[TaxTotal, ...] = ()
    notes: tuple[str, ...] = ()
    lines: tuple[Line, ...]


class Totals(NamedTuple):
    """Amounts in 1/10,000 of the currency; None: not known."""

    excl: int | None
    incl: int | None


UNKNOWN = Totals(None, None)
Piece = tuple[Active, str, int, int]
"""The stretch that is not in the books yet: active components, activity, microseconds, mWh."""
_Cost = tuple[int | None, int | None]


def total(
    plan: Plan, book: Ledger, reservation: Ledger | None, has_session: bool, piece: Piece | None = None
) -> Totals:
    """The session's total after steps and limits, before currency rounding; unknown while the bill is held."""
    if piece is not None and (piece[0].is_doubtful or plan.tariff.idle_cap is not None):
        book, piece = _with_piece(book, piece), None
    if book.held or (reservation is not None and reservation.held):
        return UNKNOWN
    excl, incl = _sum(plan, book, piece)
    if reservation is not None:
        reserved_excl, reserved_incl = _sum(plan, reservation, None)
        excl, incl = _plus(excl, reserved_excl), _plus(incl, reserved_incl)
    if plan.tariff.idle_cap is not None:
        cut_excl, cut_incl, _ = _idle_cut(plan, book)
        excl, incl = _plus(excl, cut_excl), _plus(incl, cut_incl)
    for _, excl, incl in _limited(plan, excl, incl, has_session):
        pass
    return Totals(excl, incl)


def render(plan: Plan, book: Ledger, reservation: Ledger | None, has_session: bool, end_us: int, final: bool) -> Bill:
    """The whole bill; its totals are those of `total`, its lines re-add to them (I1)."""
    tariff = plan.tariff
    digits = minor_units(tariff.currency)
    held = book.held or (reservation.held if reservation is not None else "")
    writer = _Writer(plan, end_us)
    if reservation is not None:
        writer.ledger(reservation, is_reservation=True)
    writer.ledger(book, is_reservation=False)
    excl, incl = writer.excl, writer.incl
    if tariff.idle_cap is not None and not held:
        cut_excl, cut_incl, unit = _idle_cut(plan, book)
        if unit is not None:
            writer.adjust("IDLE_CAP", "LIMIT", cut_excl, cut_incl)
            writer.count_tax(unit.rate, cut_excl, cut_incl)
            excl, incl = _plus(excl, cut_excl), _plus(incl, cut_incl)
    notes = []
    if not held:
        for kind, new_excl, new_incl in _limited(plan, excl, incl, has_session):
            if (new_excl, new_incl) != (excl, incl):
                writer.adjust(kind, "LIMIT", _minus(new_excl, excl), _minus(new_incl, incl))
                notes += writer.respread(excl, new_excl, new_incl, digits)
                excl, incl = new_excl, new_incl
        if any(tax < 0 for tax in writer.tax.values()) and not writer.has_negative:
            held = "TAX_NEGATIVE"
    if held:
        excl = incl = None
    due_excl = None if excl is None else payable(excl, digits)
    due_incl = None if incl is None else payable(incl, digits)
    if not held and (due_excl, due_incl) != (excl, incl):
        writer.adjust("ROUNDING", "CURRENCY_ROUNDING", _minus(due_excl, excl), _minus(due_incl, incl))
    return Bill(
        state="HELD" if held else "FINAL" if final else "RUNNING",
        held_reason=held or None,
        currency=tariff.currency,
        time_zone=plan.zone,
        tariff_id=tariff.id,
        tariff_version=tariff.version,
        tariff_hash=tariff.content_hash,
        price_mode=tariff.price_mode,
        total_excl=None if excl is None else money_text(excl),
        total_incl=None if incl is None else money_text(incl),
        payable_excl=None if due_excl is None else payable_text(due_excl, digits),
        payable_incl=None if due_incl is None else payable_text(due_incl, digits),
        tax=_tax_totals(writer.tax, due_excl, due_incl, digits),
        notes=tuple(notes),
        lines=tuple(writer.lines),
    )


class _Writer:
    """Writes the lines one after another and counts what they add up to."""

    __slots__ = ("_end_us", "_plan", "excl", "has_negative", "incl", "lines", "tax")

    def __init__(self, plan: Plan, end_us: int) -> None:
        self._plan = plan
        self._end_us = end_us
        self.lines: list[Line] = []
        self.excl: int | None = 0
        self.incl: int | None = 0
        self.tax: dict[str | None, int] = {}
        self.has_negative = False

    def ledger(self, ledger: Ledger, is_reservation: bool) -> None:
        kind = "RESERVATION" if is_reservation else "USAGE"
        if ledger.flat is not None:
            run = ledger.flat
            assert run.unit is not None
            amounts = _flat(self._plan, run.unit)
            self._line("RESERVATION" if is_reservation else "FLAT", "FLAT", run, "1", "1", "1", amounts, "session")
        time = "RESERVATION_TIME" if is_reservation else "TIME"
        time_extra, parking_extra = _time_extras(ledger)
        self._volume(kind, "ENERGY", ledger.energy, _energy_extra(ledger))
        self._volume(kind, time, ledger.time, time_extra)
        self._volume(kind, "PARKING_TIME", ledger.parking, parking_extra)

    def adjust(self, kind: str, reason: str, excl: int | None, incl: int | None) -> None:
        """A line that corrects the total: it has no quantity, and its tax belongs to no single rate."""
        tax = None if excl is None or incl is None else money_text(incl - excl)
        self.lines.append(
            Line(
                kind=kind,
                from_us=self._end_us,
                to_us=self._end_us,
                reason=reason,
                tax_amount=tax,
                amount_excl=None if excl is None else money_text(excl),
                amount_incl=None if incl is None else money_text(incl),
                tariff_id=self._plan.tariff.id,
                tariff_version=self._plan.tariff.version,
            )
        )

    def count_tax(self, rate: str | None, excl: int | None, incl: int | None) -> None:
        if excl is not None and incl is not None and (rate is not None or incl != excl):
            self.tax[rate] = self.tax.get(rate, 0) + incl - excl

    def respread(self, old_excl: int | None, excl: int | None, incl: int | None, digits: int) -> list[str]:
        """After a limit the new tax is spread over the rates in proportion to the tax before (D20)."""
        if excl is None or incl is None or old_excl is None:
            return []
        before = sum(self.tax.values())
        expected = rounded(before * excl * (1 if old_excl > 0 else -1), abs(old_excl)) if old_excl else incl - excl
        self.tax = _spread(incl - excl, self.tax)
        return ["TAX_OFF_RATE"] if abs(incl - excl - expected) > 10 ** (4 - digits) else []

    def _volume(self, kind: str, dimension: str, volume: Volume, extra: int) -> None:
        text, unit = (kwh_text, "kWh") if dimension == "ENERGY" else (seconds_text, "s")
        rounded_run = _last_priced(volume) if extra else None
        for run, amounts in zip(volume.runs, _amounts(self._plan, volume, extra, rounded_run), strict=True):
            if not run.quantity:
                continue
            measured = text(run.quantity)
            if run.unit is None:
                self._line("UNPRICED", dimension, run, measured, "0", unit, (0, 0), dimension)
            else:
                billed = text(run.quantity + extra) if run is rounded_run else measured
                self._line(kind, dimension, run, measured, billed, unit, amounts, dimension)

    def _line(
        self,
        kind: str,
        dimension: str,
        run: Run,
        quantity: str,
        billed: str,
        unit_text: str,
        amounts: _Cost,
        evidence_of: str,
    ) -> None:
        unit, (excl, incl), offset_s = run.unit, amounts, run.offset_s
        tariff = self._plan.tariff
        if unit is not None:
            self.excl, self.incl = _plus(self.excl, excl), _plus(self.incl, incl)
            self.count_tax(unit.rate, excl, incl)
            self.has_negative = self.has_negative or (excl or 0) < 0 or (incl or 0) < 0
        is_untaxed = unit is None or unit.rate is None
        self.lines.append(
            Line(
                kind=kind,
                dimension=dimension,
                from_us=run.from_us,
                to_us=run.to_us,
                local_from="" if offset_s is None else local_text(run.from_us, offset_s),
                local_to="" if offset_s is None else local_text(run.to_us, offset_s),
                quantity=quantity,
                billed_quantity=billed,
                unit=unit_text,
                unit_price=None if unit is None else unit.price_text,
                amount_excl=None if excl is None else money_text(excl),
                tax_rate=None if unit is None else unit.rate,
                tax_amount=(
                    None if excl is None or incl is None or (is_untaxed and excl == incl) else money_text(incl - excl)
                ),
                amount_incl=None if incl is None else money_text(incl),
                tariff_id=tariff.id,
                tariff_version=tariff.version,
                element_index=None if unit is None else unit.element_index,
                component_index=None if unit is None else unit.component_index,
                window="" if unit is None else unit.window,
                reason=run.reason,
                assumptions=_assumptions(run, quantity, billed, dimension),
                evidence=_evidence(run, evidence_of),
                price_parts=() if unit is None else unit.parts,
            )
        )


def _assumptions(run: Run, quantity: str, billed: str, dimension: str) -> tuple[str, ...]:
    found = []
    if dimension == "ENERGY":
        for (first, last), at_us in ((run.head, run.from_us), (run.tail, run.to_us)):
            if first < at_us < last:
                found.append(
                    f"INTERPOLATED: meter interval {_clock(first)}-{_clock(last)} UTC split at {_clock(at_us)} "
                    "in proportion to time"
                )
    if run.is_power_derived:
        found.append("POWER_FROM_ENERGY: mean power of the meter interval")
    if "." in quantity and dimension != "ENERGY" and "." not in billed:
        found.append("DURATION_SNAPPED: the total of the dimension is taken in whole seconds before its step")
    if run.unit is not None and run.unit.assumption:
        found.append(run.unit.assumption)
    return tuple(found)


def _evidence(run: Run, evidence_of: str) -> tuple[str, ...]:
    instants = dict.fromkeys((*run.head, *run.tail)) if evidence_of == "ENERGY" else (run.head[0],)
    name = "meter" if evidence_of == "ENERGY" else "state"
    signals = () if run.unit is None else run.unit.evidence
    return (*(f"{name} {utc_text(us)}" for us in instants), *signals)


def _clock(us: int) -> str:
    return utc_text(us)[11:-1].removesuffix(":00")


def _sum(plan: Plan, ledger: Ledger, piece: Piece | None) -> _Cost:
    """Cost before limits: flat fee and dimensions, each rounded to 4 decimals."""
    energy, time, parking = ledger.energy, ledger.time, ledger.parking
    if piece is not None:
        active, activity, us, mwh = piece
        if mwh and active.units[0] is not None:
            energy = _grown(energy, active.units[0], mwh)
        unit = active.units[2 if activity == "idle" else 1]
        if us and unit is not None:
            if activity == "idle":
                parking = _grown(parking, unit, us)
            else:
                time = _grown(time, unit, us)
    excl: int | None = 0
    incl: int | None = 0
    if ledger.flat is not None and ledger.flat.unit is not None:
        excl, incl = _flat(plan, ledger.flat.unit)
    for volume, extra, scale in (
        (energy, 0 if energy.unit is None else energy_step(energy.quantity, energy.unit), ENERGY_SCALE),
        (
            time,
            0 if time.unit is None or parking.unit is not None else time_step(time.quantity, time.unit, time.snapped_s),
            TIME_SCALE,
        ),
        (
            parking,
            0 if parking.unit is None else time_step(parking.quantity, parking.unit, parking.snapped_s),
            TIME_SCALE,
        ),
    ):
        unit = volume.unit
        if unit is not None:
            whole = plan.scale * scale
            excl = (
                None
                if excl is None or volume.excl is None or unit.excl is None
                else excl + rounded(volume.excl + unit.excl * extra, whole)
            )
            incl = (
                None
                if incl is None or volume.incl is None or unit.incl is None
                else incl + rounded(volume.incl + unit.incl * extra, whole)
            )
    return excl, incl


def _grown(volume: Volume, unit: Unit, quantity: int) -> Volume:
    """The sums of a volume with one more quantity, without its runs."""
    twin = Volume()
    twin.quantity, twin.excl, twin.incl, twin.snapped_s = volume.quantity, volume.excl, volume.incl, volume.snapped_s
    twin.count(unit, quantity)
    return twin


def _with_piece(book: Ledger, piece: Piece) -> Ledger:
    active, activity, us, mwh = piece
    twin, nowhere = book.copy(), (0, 0)
    if us:
        twin.post(active, None, activity, 0, us, mwh, nowhere, nowhere, False, nowhere)
    return twin


def _energy_extra(ledger: Ledger) -> int:
    return 0 if ledger.energy.unit is None else energy_step(ledger.energy.quantity, ledger.energy.unit)


def _time_extras(ledger: Ledger) -> tuple[int, int]:
    """The step of the combined time: on PARKING_TIME if any was priced, else on TIME."""
    time, parking = ledger.time, ledger.parking
    if parking.unit is not None:
        return 0, time_step(parking.quantity, parking.unit, parking.snapped_s)
    return (0 if time.unit is None else time_step(time.quantity, time.unit, time.snapped_s)), 0


def _last_priced(volume: Volume) -> Run | None:
    return next((run for run in reversed(volume.runs) if run.unit is not None and run.quantity), None)


def _amounts(plan: Plan, volume: Volume, extra: int, rounded_run: Run | None) -> list[_Cost]:
    """Amount of each run by carried remainder (6.2): the cost does not depend on where it was cut."""
    is_energy = volume.unit is not None and volume.unit.dimension == 0
    whole = plan.scale * (ENERGY_SCALE if is_energy else TIME_SCALE)
    exact_excl = exact_incl = booked_excl = booked_incl = 0
    amounts: list[_Cost] = []
    for run in volume.runs:
        unit = run.unit
        if unit is None or not run.quantity:
            amounts.append((0, 0))
            continue
        billed = run.quantity + extra if run is rounded_run else run.quantity
        excl = incl = None
        if unit.excl is not None:
            exact_excl += unit.excl * billed
            excl = rounded(exact_excl, whole) - booked_excl
            booked_excl += excl
        if unit.incl is not None:
            exact_incl += unit.incl * billed
            incl = rounded(exact_incl, whole) - booked_incl
            booked_incl += incl
        amounts.append((excl, incl))
    return amounts


def _flat(plan: Plan, unit: Unit) -> _Cost:
    return (
        None if unit.excl is None else rounded(unit.excl * MONEY_SCALE, plan.scale),
        None if unit.incl is None else rounded(unit.incl * MONEY_SCALE, plan.scale),
    )


def _idle_cut(plan: Plan, book: Ledger) -> tuple[int | None, int | None, Unit | None]:
    """What `x_idle_cap` takes off the overstay fee (negative), and the unit whose tax it lowers."""
    assert plan.idle_cap is not None
    _, extra = _time_extras(book)
    amounts = _amounts(plan, book.parking, extra, _last_priced(book.parking))
    fees = [
        (run.unit, cost)
        for run, cost in zip(book.parking.runs, amounts, strict=True)
        if run.unit is not None and run.unit.is_idle_fee
    ]
    excl: int | None = 0
    incl: int | None = 0
    for _, (each_excl, each_incl) in fees:
        excl, incl = _plus(excl, each_excl), _plus(incl, each_incl)
    if excl is None or excl <= plan.idle_cap:
        return 0, 0, None
    return plan.idle_cap - excl, None if incl is None else rounded(incl * plan.idle_cap, excl) - incl, fees[-1][0]


def _limited(
    plan: Plan, excl: int | None, incl: int | None, has_session: bool
) -> list[tuple[str, int | None, int | None]]:
    """Totals after each stated limit (D20); a reservation without a session is not raised to the minimum."""
    steps = []
    if plan.min_price is not None and has_session:
        excl, incl = _limit(plan, plan.min_price, excl, incl, is_upper=False)
        steps.append(("MIN_PRICE", excl, incl))
    if plan.max_price is not None:
        excl, incl = _limit(plan, plan.max_price, excl, incl, is_upper=True)
        steps.append(("MAX_PRICE", excl, incl))
    return steps


def _limit(plan: Plan, limit: tuple[int, int | None], excl: int | None, incl: int | None, is_upper: bool) -> _Cost:
    pick = min if is_upper else max
    limit_excl, limit_incl = limit
    new_excl = None if excl is None else pick(excl, limit_excl)
    if incl is None:
        return new_excl, None
    if limit_incl is not None:
        return new_excl, pick(incl, limit_incl)
    if excl is None or new_excl is None or new_excl == excl:
        return new_excl, incl
    if excl:
        return new_excl, rounded(incl * new_excl * (1 if excl > 0 else -1), abs(excl))
    rate = plan.only_rate
    return new_excl, None if rate is None else rounded(new_excl * rate.numerator, rate.denominator)


def _tax_totals(
    tax: dict[str | None, int], due_excl: int | None, due_incl: int | None, digits: int
) -> tuple[TaxTotal, ...]:
    if due_excl is None or due_incl is None:
        return ()
    unit = 10 ** (4 - digits)
    due = _spread((due_incl - due_excl) // unit, tax)
    return tuple(
        TaxTotal(rate=rate, tax=money_text(tax.get(rate, 0)), payable=payable_text(due[rate] * unit, digits))
        for rate in sorted(due, key=_rate_order, reverse=True)
        if rate is not None or due[rate] or tax.get(rate)
    )


def _spread(amount: int, weights: dict[str | None, int]) -> dict[str | None, int]:
    """Splits in proportion to the weights by largest remainder, ties to the higher rate (6.2)."""
    rates = sorted(weights, key=_rate_order, reverse=True)
    whole = sum(weights.values())
    if not rates:
        return {None: amount} if amount else {}
    if not whole:
        return {rate: amount if rate == rates[0] else 0 for rate in rates}
    shares = {rate: Fraction(amount * weights[rate], whole) for rate in rates}
    parts = {rate: share.numerator // share.denominator for rate, share in shares.items()}
    missing = amount - sum(parts.values())
    for rate in sorted(rates, key=lambda each: shares[each] - parts[each], reverse=True)[:missing]:
        parts[rate] += 1
    return parts


def _rate_order(rate: str | None) -> Fraction:
    return Fraction(-1) if rate is None else Fraction(rate)


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def _minus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one - other
