"""The bill: the totals of a session, what is to be paid, and its tax. lines.py writes its lines."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from pipeline.domain.events import PriceQuote
from pipeline.domain.outputs import BillState, Line
from pipeline.domain.pricing.compiled_tariff import CompiledTariff
from pipeline.domain.pricing.ledger import BillLedger
from pipeline.domain.pricing.lines import LineWriter
from pipeline.domain.pricing.quotes import FOLLOWS, Lock
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.pricing.totals import UNKNOWN, Cost, spread
from pipeline.domain.pricing.units import amount_text, minor_units, money_text, negated, payable, payable_text

ROUNDING_POLICY = "half away from zero: 4 decimals per dimension, then the ISO 4217 minor unit; version 1"


class TaxTotal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tax of the session at one rate, before and after currency rounding; `rate` null: remainders without a rate."""

    rate: str | None
    tax: str
    payable: str


class Basis:
    """What a bill was made with, for its receipt. It plays no part when bills are compared."""

    __slots__ = ("signals", "tariff", "tax_rate")

    def __init__(self, tariff: Tariff, tax_rate: Decimal | None, signals: Signals) -> None:
        self.tariff = tariff
        self.tax_rate = tax_rate
        self.signals = signals

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Basis)

    __hash__ = None  # type: ignore[assignment]  # not a key


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
    quote: PriceQuote | None = None
    """What the driver was shown before the start; None: no quote was recorded."""
    locked_at_us: int | None = None
    """Whose prices hold: the quote's instant if it binds, else the start. None: no quote, or prices are not LOCKED."""
    basis: Basis


def render(
    compiled: CompiledTariff,
    signals: Signals,
    ledger: BillLedger,
    reservation: BillLedger | None,
    has_session: bool,
    end_us: int,
    final: bool,
    lock: Lock = FOLLOWS,
) -> Bill:
    """The bill of closed ledgers. HELD with the code of what is missing, if that decides the price."""
    tariff, digits = compiled.tariff, minor_units(compiled.tariff.currency)
    held = ledger.held or (reservation.held if reservation is not None else "")
    writer = LineWriter(compiled, end_us)
    if reservation is not None:
        writer.write(reservation, "RESERVATION", "RESERVATION", "RESERVATION_TIME")
    writer.write(ledger, "USAGE", "FLAT", "TIME")
    if not held:
        writer.adjust(ledger, has_session, digits)
        if (writer.total.tax or 0) < 0 <= writer.lowest_amount:
            held = "TAX_NEGATIVE"
    total = UNKNOWN if held else writer.total
    excl, incl = total
    due = Cost(None if excl is None else payable(excl, digits), None if incl is None else payable(incl, digits))
    if due != total:
        writer.correct("ROUNDING", "CURRENCY_ROUNDING", due.minus(total))
    return Bill(
        state="HELD" if held else "FINAL" if final else "RUNNING",
        held_reason=held or None,
        currency=tariff.currency,
        time_zone=compiled.zone,
        tariff_id=tariff.id,
        tariff_version=tariff.version,
        tariff_hash=tariff.content_hash,
        price_mode=tariff.price_mode,
        total_excl=amount_text(total.excl),
        total_incl=amount_text(total.incl),
        payable_excl=None if due.excl is None else payable_text(due.excl, digits),
        payable_incl=None if due.incl is None else payable_text(due.incl, digits),
        tax=() if due.tax is None else _tax_totals(writer.tax, due.tax, digits),
        notes=(lock.note, *writer.notes) if lock.note else tuple(writer.notes),
        lines=tuple(writer.lines),
        quote=lock.quote,
        locked_at_us=None if lock.quote is None else lock.at_us,
        basis=Basis(tariff, compiled.tax_rate, signals),
    )


def waive(bill: Bill, end_us: int) -> Bill:
    """The bill of a session that is not billable: it keeps its lines, and one more line takes them back (D12).

    A bill that waited for a fact does not wait any more: without a price its lines say nothing and are left out.
    """
    nothing = payable_text(0, minor_units(bill.currency))
    lines = [] if bill.state == "HELD" else [line for line in bill.lines if line.kind != "ROUNDING"]
    if lines and (bill.total_excl, bill.total_incl) != ("0.0000", "0.0000"):
        lines.append(
            Line(
                kind="WAIVER",
                from_us=end_us,
                to_us=end_us,
                reason="NOT_BILLABLE",
                amount_excl=negated(bill.total_excl),
                tax_amount=_tax_taken_back(bill),
                amount_incl=negated(bill.total_incl),
                tariff_id=bill.tariff_id,
                tariff_version=bill.tariff_version,
            )
        )
    return msgspec.structs.replace(
        bill,
        state="FINAL" if bill.state == "HELD" else bill.state,
        held_reason=None,
        total_excl="0.0000",
        total_incl="0.0000",
        payable_excl=nothing,
        payable_incl=nothing,
        tax=(),
        lines=tuple(lines),
    )


def _tax_taken_back(bill: Bill) -> str | None:
    if bill.total_excl is None or bill.total_incl is None:
        return None
    return f"{Decimal(bill.total_excl) - Decimal(bill.total_incl):f}"


def _tax_totals(tax: dict[str | None, int], due_tax: int, digits: int) -> tuple[TaxTotal, ...]:
    minor = 10 ** (4 - digits)
    return tuple(
        [
            TaxTotal(rate=rate, tax=money_text(tax.get(rate, 0)), payable=payable_text(due * minor, digits))
            for rate, due in spread(due_tax // minor, tax).items()
            if rate is not None or due or tax.get(rate)
        ]
    )
