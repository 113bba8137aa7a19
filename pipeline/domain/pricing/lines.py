"""The lines of a bill: each is rendered from a run of the ledger, or corrects the total (ops/spec/pricing.md 6).

Each correction of the total (idle cap, limits, currency rounding) is a line of its own, so that the lines add up to
every figure of the head.
"""

from __future__ import annotations

from pipeline.domain.outputs import Line
from pipeline.domain.pricing.compiled_tariff import CompiledTariff
from pipeline.domain.pricing.ledger import BillLedger, Run, Volume
from pipeline.domain.pricing.totals import (
    ENERGY_SCALE,
    FREE,
    TIME_SCALE,
    Cost,
    adjustments,
    amounts,
    extras,
    idle_cut,
    last_priced,
    spread,
)
from pipeline.domain.pricing.units import amount_text, kwh_text, local_text, rounded, seconds_text, utc_text


class LineWriter:
    """Writes the lines one after another and adds them up."""

    __slots__ = ("_compiled", "_end_us", "_tariff_id", "_version", "lines", "lowest_amount", "notes", "tax", "total")

    def __init__(self, compiled: CompiledTariff, end_us: int) -> None:
        self._compiled = compiled
        self._end_us = end_us
        self._tariff_id = compiled.tariff.id
        self._version = compiled.tariff.version
        self.lines: list[Line] = []
        self.notes: list[str] = []
        self.total = FREE
        self.tax: dict[str | None, int] = {}
        self.lowest_amount = 0

    def write(self, ledger: BillLedger, kind: str, flat_kind: str, time: str) -> None:
        """The lines of one ledger: flat fee, energy, charging time (or reservation time), idle time."""
        rates = self._compiled.rates
        energy_extra, time_extra, parking_extra = extras(ledger)
        for flat in ledger.flats:
            if flat.unit is not None:
                self._line(flat_kind, "FLAT", flat, "1", "1", "1", Cost(*flat.unit.once), _states(flat))
        for volume, dimension, scale, extra in (
            (ledger.energy, "ENERGY", ENERGY_SCALE, energy_extra),
            (ledger.time, time, TIME_SCALE, time_extra),
            (ledger.parking, "PARKING_TIME", TIME_SCALE, parking_extra),
        ):
            if volume.runs:
                self._volume(kind, dimension, volume, amounts(rates, volume, scale, extra), extra)

    def adjust(self, ledger: BillLedger, has_session: bool, digits: int) -> None:
        """Idle cap and limits, each a line; the tax of a limit is spread over the rates (D20)."""
        rates = self._compiled.rates
        for kind, after in adjustments(rates, ledger, self.total, has_session):
            before, change = self.total, after.minus(self.total)
            if after == before:
                continue
            self.correct(kind, "LIMIT", change)
            self.total = after
            unit = idle_cut(rates, ledger)[1] if kind == "IDLE_CAP" else None
            if unit is not None:
                self._count_tax(unit.rate, change.tax)
            elif after.tax is not None and after.excl is not None and before.excl is not None:
                expected = after.tax
                if before.excl:
                    sign = 1 if before.excl > 0 else -1
                    expected = rounded(sum(self.tax.values()) * after.excl * sign, abs(before.excl))
                if abs(after.tax - expected) > 10 ** (4 - digits):
                    self.notes.append("TAX_OFF_RATE: the limit leaves a tax that differs from the rates")
                self.tax = spread(after.tax, self.tax)

    def correct(self, kind: str, reason: str, change: Cost) -> None:
        """A line that changes the total: it has no quantity, and its tax belongs to no single rate."""
        self.lines.append(
            Line(
                kind=kind,
                from_us=self._end_us,
                to_us=self._end_us,
                reason=reason,
                amount_excl=amount_text(change.excl),
                tax_amount=amount_text(change.tax),
                amount_incl=amount_text(change.incl),
                tariff_id=self._tariff_id,
                tariff_version=self._version,
            )
        )

    def _volume(self, kind: str, dimension: str, volume: Volume, costs: list[Cost], extra: int) -> None:
        is_energy = dimension == "ENERGY"
        text, unit_text = (kwh_text, "kWh") if is_energy else (seconds_text, "s")
        rounded_run = last_priced(volume) if extra else None
        for run, cost in zip(volume.runs, costs, strict=True):
            if not run.quantity:
                continue
            measured = billed = text(run.quantity)
            if run is rounded_run:
                billed = text(run.quantity + extra)
            evidence = _readings(run) if is_energy else _states(run)
            if run.unit is None:
                self._line("UNPRICED", dimension, run, measured, "0", unit_text, FREE, evidence)
            else:
                self._line(kind, dimension, run, measured, billed, unit_text, cost, evidence)

    def _line(
        self,
        kind: str,
        dimension: str,
        run: Run,
        quantity: str,
        billed: str,
        unit_text: str,
        cost: Cost,
        evidence: tuple[str, ...],
    ) -> None:
        unit, offset_s, from_us, to_us = run.unit, run.offset_s, run.from_us, run.to_us
        assumptions = _assumptions(run, dimension, quantity, billed)
        local_from = local_to = ""
        if offset_s is not None:
            local_from, local_to = local_text(from_us, offset_s), local_text(to_us, offset_s)
        if unit is None:
            free = Line(
                kind=kind, dimension=dimension, from_us=from_us, to_us=to_us, local_from=local_from, local_to=local_to,
                quantity=quantity, unit=unit_text, amount_excl="0.0000", amount_incl="0.0000",
                tariff_id=self._tariff_id, tariff_version=self._version, reason=run.reason, assumptions=assumptions,
                evidence=evidence,
            )  # fmt: skip
            self.lines.append(free)
            return
        self.total = self.total.plus(cost)
        tax = cost.tax
        self._count_tax(unit.rate, tax)
        self.lowest_amount = min(self.lowest_amount, cost.excl or 0, cost.incl or 0)
        self.lines.append(
            Line(
                kind=kind,
                dimension=dimension,
                from_us=from_us,
                to_us=to_us,
                local_from=local_from,
                local_to=local_to,
                quantity=quantity,
                billed_quantity=billed,
                unit=unit_text,
                unit_price=unit.price_text,
                amount_excl=amount_text(cost.excl),
                tax_rate=unit.rate,
                tax_amount=None if unit.rate is None and not tax else amount_text(tax),
                amount_incl=amount_text(cost.incl),
                tariff_id=unit.tariff_id,
                tariff_version=unit.tariff_version,
                element_index=unit.element_index,
                component_index=unit.component_index,
                window=unit.window,
                reason=run.reason,
                assumptions=assumptions,
                evidence=evidence + unit.evidence,
                price_parts=unit.parts,
            )
        )

    def _count_tax(self, rate: str | None, tax: int | None) -> None:
        if tax is not None and (tax or rate is not None):
            self.tax[rate] = self.tax.get(rate, 0) + tax


def _assumptions(run: Run, dimension: str, quantity: str, billed: str) -> tuple[str, ...]:
    found = []
    if dimension == "ENERGY":
        for (first, last), at_us in ((run.head, run.from_us), (run.tail, run.to_us)):
            if first < at_us < last:
                interval = f"{_clock(first)}-{_clock(last)} UTC split at {_clock(at_us)}"
                found.append(f"INTERPOLATED: meter interval {interval} in proportion to time")
    elif "." in quantity and quantity != billed:
        found.append("DURATION_SNAPPED: the total of the dimension counts in whole seconds before its step")
    if run.is_power_derived:
        found.append("POWER_FROM_ENERGY: mean power of the meter interval")
    if run.unit is not None and run.unit.assumption:
        found.append(run.unit.assumption)
    return tuple(found)


def _readings(run: Run) -> tuple[str, ...]:
    return tuple([f"meter {utc_text(us)}" for us in dict.fromkeys(run.head + run.tail)])


def _states(run: Run) -> tuple[str, ...]:
    return (f"state {utc_text(run.head[0])}",)


def _clock(us: int) -> str:
    return utc_text(us)[11:-1].removesuffix(":00")
