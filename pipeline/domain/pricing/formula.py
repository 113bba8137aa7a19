"""The running cost along one stretch in a single formula, because most readings add nothing but energy."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.pricing.ledger import Ledger
from pipeline.domain.pricing.rates import Rates
from pipeline.domain.pricing.totals import ENERGY_SCALE, Cost, Piece
from pipeline.domain.pricing.units import money_text, rounded


class Formula(NamedTuple):
    """The running cost along a stretch: what is fixed, and the energy of the session so far. Amounts in 1/10,000."""

    quantity: int
    """Priced energy before the stretch, mWh."""
    step: int
    whole: int
    unit_excl: int
    sum_excl: int
    other_excl: int
    unit_incl: int
    sum_incl: int
    other_incl: int

    def amounts(self, mwh: int) -> tuple[int, int]:
        """Cost without and with tax after `mwh` of the stretch; the same rounding as in totals.py."""
        quantity, step, whole, unit_excl, sum_excl, other_excl, unit_incl, sum_incl, other_incl = self
        billed = mwh + -(quantity + mwh) % step if step else mwh
        excl, incl = sum_excl + unit_excl * billed, sum_incl + unit_incl * billed
        if excl >= 0 <= incl:  # nearly always: `rounded`, without two calls for each reading
            twice = 2 * whole
            return other_excl + (2 * excl + whole) // twice, other_incl + (2 * incl + whole) // twice
        return other_excl + rounded(excl, whole), other_incl + rounded(incl, whole)

    def at(self, mwh: int) -> tuple[str, str]:
        excl, incl = self.amounts(mwh)
        return money_text(excl), money_text(incl)


def formula_of(rates: Rates, book: Ledger, piece: Piece, cost: Cost) -> Formula | None:
    """The formula of the stretch that `piece` began, if nothing but energy adds to the cost in it; else None."""
    energy, active = book.energy, piece.active
    unit, other = active.units[0], active.units[2 if piece.activity == "idle" else 1]
    if (
        unit is None or other is not None or active.is_doubtful or book.held
        or rates.idle_cap is not None or rates.min_price is not None or rates.max_price is not None
        or None in (unit.excl, unit.incl, energy.excl, energy.incl, cost.excl, cost.incl)
    ):  # fmt: skip
        return None
    formula = Formula(
        energy.quantity, unit.step * 1000, rates.scale * ENERGY_SCALE,
        unit.excl or 0, energy.excl or 0, 0, unit.incl or 0, energy.incl or 0, 0,
    )  # fmt: skip
    excl, incl = formula.amounts(piece.mwh)
    return formula._replace(other_excl=(cost.excl or 0) - excl, other_incl=(cost.incl or 0) - incl)
