"""The figures of a CDR beside ours: each stated amount and volume, its tolerance, and the lines behind it.

Amounts are compared with our 4-decimal ones, not with the payable: otherwise a truncated cent would pass.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

import msgspec

from pipeline.domain.checking.cdr import Cdr
from pipeline.domain.outputs import Line
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.units import minor_units

Kind = Literal["CONTRADICTION", "DISAGREEMENT", "HINT", "MISSING"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One finding; figures as text, `lines` are positions in the bill's lines."""

    kind: Kind
    code: str
    where: str
    text: str
    claimed: str | None = None
    computed: str | None = None
    difference: str | None = None
    tolerance: str | None = None
    lines: tuple[int, ...] = ()


class Tolerance(NamedTuple):
    """Half a unit of the last place stated, at least of the currency's and at most of 4 decimals; or a fixed one."""

    currency: str
    fixed: Decimal | None = None

    def of_amount(self, stated: Decimal) -> Fraction:
        if self.fixed is not None:
            return Fraction(self.fixed)
        return Fraction(1, 2 * 10 ** self.places(stated))

    def places(self, stated: Decimal) -> int:
        """Decimals that count: JSON drops the zeros of 7.20."""
        return min(4, max(minor_units(self.currency), decimals(stated)))

    def words(self) -> str:
        if self.fixed is not None:
            return f"{self.fixed} {self.currency} per amount"
        return "half a unit of the last decimal stated, of 2 to 4; 0.00005 kWh and 0.0001 h per period"


class Figure(NamedTuple):
    """A stated figure and ours; `part` is excl or incl for amounts, empty for volumes."""

    code: str
    name: str
    part: str
    claimed: Decimal
    computed: Fraction | None
    tolerance: Fraction
    lines: tuple[int, ...]

    @property
    def is_off(self) -> bool:
        return self.computed is not None and abs(Fraction(self.claimed) - self.computed) > self.tolerance


COST_LINES: dict[str, tuple[str, frozenset[tuple[str, str]]]] = {
    "total_fixed_cost": ("FIXED_COST", frozenset({("FLAT", "FLAT")})),
    "total_energy_cost": ("ENERGY_COST", frozenset({("USAGE", "ENERGY")})),
    "total_time_cost": ("TIME_COST", frozenset({("USAGE", "TIME")})),
    "total_parking_cost": ("PARKING_COST", frozenset({("USAGE", "PARKING_TIME")})),
    "total_reservation_cost": (
        "RESERVATION_COST",
        frozenset({("RESERVATION", "FLAT"), ("RESERVATION", "RESERVATION_TIME")}),
    ),
}
"""OCPI's cost fields: our code, and kind and dimension of the lines that they sum."""
_VOLUME_LINES = {
    "total_energy": ("ENERGY_VOLUME", ("ENERGY",)),
    "total_time": ("TIME_VOLUME", ("TIME", "PARKING_TIME")),
    "total_parking_time": ("PARKING_VOLUME", ("PARKING_TIME",)),
}


def disagreements(
    cdr: Cdr, bill: Bill, tolerance: Tolerance, unknown: Container[str] = ()
) -> tuple[list[Finding], tuple[str, ...]]:
    """Stated figures outside their tolerance, and notes on what was accepted. `unknown` figures are not compared."""
    amounts = [figure for figure in amounts_of(cdr, bill, tolerance) if figure.name not in unknown]
    off = [figure for figure in amounts if figure.is_off]
    notes: list[str] = []
    totals_off = [figure for figure in off if figure.name == "total_cost"]
    is_limited = any(line.reason == "LIMIT" for line in bill.lines)
    is_sum = totals_off == off and all(_is_exact_sum(cdr, figure.part) for figure in totals_off)
    if totals_off and is_sum and not is_limited:
        notes.append("ROUNDED_PER_COMPONENT: the total is the sum of components that were rounded one by one")
        off = []
    off, flat_note = _without_parking_flat(cdr, bill, off)
    notes += flat_note
    off += [figure for figure in _volumes_of(cdr, bill) if figure.is_off and figure.name not in unknown]
    return [_finding(figure) for figure in off], tuple(notes)


def amounts_of(cdr: Cdr, bill: Bill, tolerance: Tolerance) -> list[Figure]:
    """Every stated cost, before and after tax."""
    found = []
    for name, stated in cdr.costs.items():
        code, kinds = COST_LINES.get(name, ("TOTAL", frozenset()))
        places = tuple(place for place, line in enumerate(bill.lines) if (line.kind, line.dimension) in kinds)
        for part, claimed in (("excl", stated.excl), ("incl", stated.incl)):
            if claimed is None:
                continue
            if name == "total_cost":
                ours = bill.total_excl if part == "excl" else bill.total_incl
                computed, full_code = None if ours is None else Fraction(ours), f"TOTAL_{part.upper()}"
            else:
                computed, full_code = sum_of([bill.lines[place] for place in places], part), code
            found.append(Figure(full_code, name, part, claimed, computed, tolerance.of_amount(claimed), places))
    return found


def sum_of(lines: Sequence[Line], part: str) -> Fraction | None:
    """Sum of a column of amounts; None if one is unknown."""
    amounts = [line.amount_excl if part == "excl" else line.amount_incl for line in lines]
    known = [Fraction(amount) for amount in amounts if amount is not None]
    return None if len(known) < len(amounts) else sum(known, Fraction(0))


def half_place(stated: Decimal) -> Fraction:
    """Half a unit of the last decimal; a whole number is exact."""
    return Fraction(1, 2 * 10 ** decimals(stated)) if decimals(stated) else Fraction(0)


def decimals(value: Decimal) -> int:
    """Decimals as written."""
    return max(0, -int(value.as_tuple().exponent))


def text(value: Fraction, places: int = 4) -> str:
    """A figure for people, to `places` decimals."""
    scaled = round(value * 10**places)
    whole, rest = divmod(abs(scaled), 10**places)
    return f"{'-' if scaled < 0 else ''}{whole}.{rest:0{places}d}"


def _volumes_of(cdr: Cdr, bill: Bill) -> list[Figure]:
    """Stated volumes; measured and billed ones are both admitted, whichever is nearer."""
    found = []
    periods = len(cdr.claim.periods)
    for name, (code, dimensions) in _VOLUME_LINES.items():
        claimed = cdr.volumes.get(name)
        if claimed is None:
            continue
        places = tuple(place for place, line in enumerate(bill.lines) if line.dimension in dimensions)
        per, each = (1, Fraction(5, 100_000)) if name == "total_energy" else (3600, Fraction(1, 10_000))
        lines = [bill.lines[place] for place in places]
        measured = sum((Fraction(line.quantity) for line in lines), Fraction(0)) / per
        unpriced = sum((Fraction(line.quantity) for line in lines if line.kind == "UNPRICED"), Fraction(0))
        billed = (sum((Fraction(line.billed_quantity) for line in lines), Fraction(0)) + unpriced) / per
        computed = min((measured, billed), key=lambda value: abs(value - Fraction(claimed)))
        slack = max(each * periods, Fraction(1, 2 * 10 ** decimals(claimed)))
        found.append(Figure(code, name, "", claimed, computed, slack, places))
    return found


def _is_exact_sum(cdr: Cdr, part: str) -> bool:
    """True if the stated total is exactly the sum of the stated components."""
    stated = [amount for name, amount in cdr.costs.items() if name != "total_cost"]
    total = cdr.costs["total_cost"]
    if part == "excl":
        return bool(stated) and sum(amount.excl for amount in stated) == total.excl
    known = [amount.incl for amount in stated if amount.incl is not None]
    return bool(known) and len(known) == len(stated) and sum(known) == total.incl


def _without_parking_flat(cdr: Cdr, bill: Bill, off: list[Figure]) -> tuple[list[Figure], list[str]]:
    """A FLAT meant for parking cannot be distinguished: it may be counted in the parking cost."""
    parking = [figure for figure in off if figure.code == "PARKING_COST"]
    for part in ("excl", "incl"):
        flat = sum_of([line for line in bill.lines if line.kind == "FLAT"], part)
        for figure in parking:
            if figure.part == part and (
                not flat
                or figure.computed is None
                or abs(Fraction(figure.claimed) - figure.computed - flat) > figure.tolerance
            ):
                return off, []
    if not parking:
        return off, []
    kept = [figure for figure in off if figure.code not in ("PARKING_COST", "FIXED_COST")]
    return kept, ["PARKING_COST_WITH_FLAT: the parking cost contains the fixed cost"]


def _finding(figure: Figure) -> Finding:
    computed = figure.computed if figure.computed is not None else Fraction(0)
    where = f"{figure.name}.{figure.part}_vat" if figure.part else figure.name
    return Finding(
        kind="DISAGREEMENT",
        code=figure.code,
        where=where,
        text=f"{where} is stated as {figure.claimed}, computed {text(computed)}",
        claimed=str(figure.claimed),
        computed=text(computed),
        difference=text(Fraction(figure.claimed) - computed),
        tolerance=text(figure.tolerance, 5),
        lines=figure.lines,
    )
