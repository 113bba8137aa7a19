"""What a session costs: the figures of a bill's head, from the sums in its ledger.

In this order: step_size, cost per dimension to 4 decimals, idle cap, limits (ops/spec/pricing.md D7, D20, D22, D23).
Running cost and bill both come from `total`, so that they cannot differ (I5).
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from pipeline.domain.pricing.compiled_tariff import Active
from pipeline.domain.pricing.ledger import BillLedger, Run, Volume
from pipeline.domain.pricing.rates import Rates, Unit
from pipeline.domain.pricing.units import US_PER_S, rounded

ENERGY_SCALE = 100
"""Prices are per kWh, quantities in mWh, amounts in 1/10,000: 1,000,000 / 10,000."""
TIME_SCALE = 360_000
"""Prices are per hour, quantities in microseconds: divided once, at the end (D22)."""


class Cost(NamedTuple):
    """Amounts in 1/10,000 of the currency; None: not known."""

    excl: int | None
    incl: int | None

    def plus(self, other: Cost) -> Cost:
        excl = None if self.excl is None or other.excl is None else self.excl + other.excl
        incl = None if self.incl is None or other.incl is None else self.incl + other.incl
        return Cost(excl, incl)

    def minus(self, other: Cost) -> Cost:
        excl = None if self.excl is None or other.excl is None else self.excl - other.excl
        incl = None if self.incl is None or other.incl is None else self.incl - other.incl
        return Cost(excl, incl)

    @property
    def tax(self) -> int | None:
        return None if self.excl is None or self.incl is None else self.incl - self.excl


FREE = Cost(0, 0)
UNKNOWN = Cost(None, None)


class Piece(NamedTuple):
    """The period since the last cut, which is not in the ledger yet."""

    active: Active
    activity: str
    us: int
    mwh: int


class Adjustment(NamedTuple):
    """An adjustment after the dimensions: a line of its own, and the total after it."""

    kind: str
    total: Cost


def total(
    rates: Rates, ledger: BillLedger, reservation: BillLedger | None, has_session: bool, piece: Piece | None = None
) -> Cost:
    """The session's total before currency rounding; unknown while the bill is held."""
    if piece is not None and (piece.active.is_doubtful or rates.idle_cap is not None):
        ledger, piece = _with_piece(ledger, piece), None
    if ledger.held or (reservation is not None and reservation.held):
        return UNKNOWN
    cost = _dimensions(rates, ledger, piece)
    if reservation is not None:
        cost = cost.plus(_dimensions(rates, reservation, None))
    if rates.idle_cap is None and rates.min_price is None and rates.max_price is None:
        return cost
    adjusted = adjustments(rates, ledger, cost, has_session)
    return adjusted[-1].total if adjusted else cost


def adjustments(rates: Rates, ledger: BillLedger, cost: Cost, has_session: bool) -> list[Adjustment]:
    """The total after idle cap and each limit; without a session there is no minimum (D20)."""
    found = []
    if rates.idle_cap is not None:
        found.append(Adjustment("IDLE_CAP", cost.plus(idle_cut(rates, ledger)[0])))
    if rates.min_price is not None and has_session:
        found.append(
            Adjustment("MIN_PRICE", _limited(rates, rates.min_price, found[-1].total if found else cost, True))
        )
    if rates.max_price is not None:
        found.append(
            Adjustment("MAX_PRICE", _limited(rates, rates.max_price, found[-1].total if found else cost, False))
        )
    return found


def amounts(rates: Rates, volume: Volume, scale: int, extra: int) -> list[Cost]:
    """Amount of each run by carried remainder (6.2): the cost of a dimension does not depend on where it was cut."""
    whole = rates.scale * scale
    last = last_priced(volume) if extra else None
    exact_excl = exact_incl = booked_excl = booked_incl = 0
    found: list[Cost] = []
    for run in volume.runs:
        unit = run.unit
        if unit is None or not run.quantity:
            found.append(FREE)
            continue
        billed = run.quantity + extra if run is last else run.quantity
        excl = incl = None
        if unit.excl is not None:
            exact_excl += unit.excl * billed
            excl = rounded(exact_excl, whole) - booked_excl
            booked_excl += excl
        if unit.incl is not None:
            exact_incl += unit.incl * billed
            incl = rounded(exact_incl, whole) - booked_incl
            booked_incl += incl
        found.append(Cost(excl, incl))
    return found


def last_priced(volume: Volume) -> Run | None:
    """The run whose step_size rounds the dimension, and which carries the difference."""
    return next((run for run in reversed(volume.runs) if run.unit is not None and run.quantity), None)


def extras(ledger: BillLedger) -> tuple[int, int, int]:
    """What step_size adds to energy, time and idle time; if idle time was priced, charging time is not rounded."""
    energy, time, parking = _sums(ledger.energy), _sums(ledger.time), _sums(ledger.parking)
    return (
        0 if energy is None else _energy_rest(energy),
        0 if time is None else _time_rest(ledger, time, parking),
        0 if parking is None else _parking_rest(ledger, time, parking),
    )


def idle_cut(rates: Rates, ledger: BillLedger) -> tuple[Cost, Unit | None]:
    """What `x_idle_cap` takes off the overstay fee (negative), and the unit whose tax it lowers."""
    extra = extras(ledger)[2]
    fee, unit = FREE, None
    for run, cost in zip(ledger.parking.runs, amounts(rates, ledger.parking, TIME_SCALE, extra), strict=True):
        if run.unit is not None and run.unit.is_idle_fee:
            fee, unit = fee.plus(cost), run.unit
    if rates.idle_cap is None or fee.excl is None or fee.excl <= rates.idle_cap:
        return FREE, None
    incl = None if fee.incl is None else rounded(fee.incl * rates.idle_cap, fee.excl)
    return Cost(rates.idle_cap, incl).minus(fee), unit


def spread(amount: int, weights: dict[str | None, int]) -> dict[str | None, int]:
    """Splits over tax rates in proportion to the weights by largest remainder, ties to the higher rate (6.2)."""
    if len(weights) == 1:
        return dict.fromkeys(weights, amount)
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


class Sums(NamedTuple):
    """A priced volume: last unit, quantity, sums of quantity x scaled price, seconds if snapped."""

    unit: Unit
    quantity: int
    excl: int | None
    incl: int | None
    snapped_s: int | None


def _sums(volume: Volume, unit: Unit | None = None, quantity: int = 0) -> Sums | None:
    """The sums of a volume, with one more quantity; None: no part of the volume is priced."""
    if unit is None or not quantity:
        if volume.unit is None:
            return None
        return Sums(volume.unit, volume.quantity, volume.excl, volume.incl, volume.snapped_s)
    excl = None if volume.excl is None or unit.excl is None else volume.excl + unit.excl * quantity
    incl = None if volume.incl is None or unit.incl is None else volume.incl + unit.incl * quantity
    return Sums(unit, volume.quantity + quantity, excl, incl, volume.snapped_s)


def _dimensions(rates: Rates, ledger: BillLedger, piece: Piece | None) -> Cost:
    """Flat fees and dimensions, each rounded to 4 decimals; the hot path of the running cost."""
    energy_unit = time_unit = parking_unit = None
    us = mwh = 0
    if piece is not None:
        active, activity, us, mwh = piece
        energy_unit = active.units[0]
        if activity == "idle":
            parking_unit = active.units[2]
        else:
            time_unit = active.units[1]
    energy = _sums(ledger.energy, energy_unit, mwh)
    time = _sums(ledger.time, time_unit, us)
    parking = _sums(ledger.parking, parking_unit, us)
    cost = FREE
    if energy is not None:
        cost = _rounded(energy, _energy_rest(energy), rates.scale * ENERGY_SCALE)
    if time is not None:
        cost = cost.plus(_rounded(time, _time_rest(ledger, time, parking), rates.scale * TIME_SCALE))
    if parking is not None:
        cost = cost.plus(_rounded(parking, _parking_rest(ledger, time, parking), rates.scale * TIME_SCALE))
    for flat in ledger.flats:
        if flat.unit is not None:
            cost = cost.plus(Cost(*flat.unit.once))
    return cost


def _rounded(sums: Sums, extra: int, scale: int) -> Cost:
    unit, _, excl, incl, _ = sums
    if extra:
        excl = None if excl is None or unit.excl is None else excl + unit.excl * extra
        incl = None if incl is None or unit.incl is None else incl + unit.incl * extra
    return Cost(None if excl is None else rounded(excl, scale), None if incl is None else rounded(incl, scale))


def _energy_rest(sums: Sums) -> int:
    """mWh to add so that the total is a multiple of step_size (Wh); an exact multiple is not rounded further (D8)."""
    step_size = sums.unit.step_size
    return -sums.quantity % (step_size * 1000) if step_size else 0


def _time_rest(ledger: BillLedger, time: Sums, parking: Sums | None) -> int:
    return 0 if parking is not None and _rounds_parking(ledger) else _snapped_rest(time, ledger.how.no_snap)


def _parking_rest(ledger: BillLedger, time: Sums | None, parking: Sums) -> int:
    return 0 if time is not None and not _rounds_parking(ledger) else _snapped_rest(parking, ledger.how.no_snap)


def _rounds_parking(ledger: BillLedger) -> bool:
    """True if idle time, not charging time, is rounded. Another reading of D11 rounds the one that came last."""
    if not ledger.how.step_size_of_last_time:
        return True
    return ledger.parking.runs[-1].from_us >= ledger.time.runs[-1].from_us


def _snapped_rest(sums: Sums, no_snap: bool) -> int:
    """Microseconds to add: the total is snapped to the nearest second, then goes up to a multiple of step_size (D7)."""
    step_size = sums.unit.step_size
    if not step_size:
        return 0
    if no_snap:
        return -sums.quantity % (step_size * US_PER_S)
    seconds = (sums.quantity + US_PER_S // 2) // US_PER_S if sums.snapped_s is None else sums.snapped_s
    return (seconds + -seconds % step_size) * US_PER_S - sums.quantity


def _with_piece(ledger: BillLedger, piece: Piece) -> BillLedger:
    twin, nowhere = ledger.copy(), (0, 0)
    if piece.us:
        twin.post_energy(piece.active, None, 0, piece.us, piece.mwh, nowhere, nowhere)
        twin.post_time(piece.active, None, piece.activity, 0, piece.us, piece.us, nowhere)
    return twin


def _limited(rates: Rates, limit: tuple[int, int | None], cost: Cost, is_minimum: bool) -> Cost:
    """Each stated limit acts on its own total; without a limit after tax that total is scaled by the same factor."""
    limit_excl, limit_incl = limit
    excl = None if cost.excl is None else _within(cost.excl, limit_excl, is_minimum)
    if cost.incl is None:
        return Cost(excl, None)
    if limit_incl is not None:
        return Cost(excl, _within(cost.incl, limit_incl, is_minimum))
    if excl is None or cost.excl is None or excl == cost.excl:
        return Cost(excl, cost.incl)
    if cost.excl:
        sign = 1 if cost.excl > 0 else -1
        return Cost(excl, rounded(cost.incl * excl * sign, abs(cost.excl)))
    rate = rates.only_rate
    return Cost(excl, None if rate is None else rounded(excl * rate.numerator, rate.denominator))


def _within(amount: int, limit: int, is_minimum: bool) -> int:
    return max(amount, limit) if is_minimum else min(amount, limit)
