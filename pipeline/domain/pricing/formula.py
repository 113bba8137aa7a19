"""The running cost along one period in a single formula, because most readings add nothing but energy."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.pricing.ledger import BillLedger
from pipeline.domain.pricing.rates import Rates
from pipeline.domain.pricing.totals import ENERGY_SCALE, Cost, Piece
from pipeline.domain.pricing.units import money_text


class Formula(NamedTuple):
    """The running cost along a period, by the energy of the period so far. Amounts in 1/10,000, tax excl. and incl.

    Either is `(sum + unit * energy) // scale`. The sum already holds what is fixed, and the half that rounds.
    """

    quantity: int
    """Priced energy before the period, mWh."""
    step_mwh: int
    scale: int
    unit_excl: int
    sum_excl: int
    unit_incl: int
    sum_incl: int

    def amounts(self, mwh: int) -> tuple[int, int]:
        """Cost without and with tax after `mwh` of the period; the same rounding as in totals.py."""
        quantity, step_mwh, scale, unit_excl, sum_excl, unit_incl, sum_incl = self
        billed = mwh + -(quantity + mwh) % step_mwh if step_mwh else mwh
        return (sum_excl + unit_excl * billed) // scale, (sum_incl + unit_incl * billed) // scale

    def at(self, mwh: int) -> tuple[str, str]:
        excl, incl = self.amounts(mwh)
        return money_text(excl), money_text(incl)


def formula_of(rates: Rates, ledger: BillLedger, piece: Piece, cost: Cost) -> Formula | None:
    """The formula of the period that `piece` began, if only energy adds to its cost; else None.

    Also None below 0, where halves round the other way.
    """
    energy, active = ledger.energy, piece.active
    unit, other = active.units[0], active.units[2 if piece.activity == "idle" else 1]
    if (
        unit is None or other is not None or active.is_doubtful or ledger.held
        or rates.idle_cap is not None or rates.min_price is not None or rates.max_price is not None
        or unit.excl is None or unit.incl is None or energy.excl is None or energy.incl is None
        or cost.excl is None or cost.incl is None or min(unit.excl, unit.incl, energy.excl, energy.incl) < 0
    ):  # fmt: skip
        return None
    whole = rates.scale * ENERGY_SCALE
    formula = Formula(
        energy.quantity, unit.step_size * 1000, 2 * whole,
        2 * unit.excl, 2 * energy.excl + whole, 2 * unit.incl, 2 * energy.incl + whole,
    )  # fmt: skip
    excl, incl = formula.amounts(piece.mwh)
    return formula._replace(
        sum_excl=formula.sum_excl + (cost.excl - excl) * formula.scale,
        sum_incl=formula.sum_incl + (cost.incl - incl) * formula.scale,
    )
