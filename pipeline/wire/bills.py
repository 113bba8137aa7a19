"""Bills and verdicts as the JSON documents that commands print and receipts hold. The field names are stable."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from pipeline.domain.checking.verify import Verdict
from pipeline.domain.events import PriceQuote
from pipeline.domain.outputs import Line
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.units import kwh_text, seconds_text, utc_text

_TEXT_OF = {"kWh": kwh_text, "s": seconds_text}


def bill_document(bill: Bill) -> dict[str, Any]:
    """Amounts are texts with 4 decimals, payable ones with those of the currency; null is unknown, never zero."""
    return {
        "state": bill.state,
        "held_reason": bill.held_reason,
        "currency": bill.currency,
        "total": {"excl_vat": bill.total_excl, "incl_vat": bill.total_incl},
        "payable": {"excl_vat": bill.payable_excl, "incl_vat": bill.payable_incl},
        "tax": [msgspec.structs.asdict(each) for each in bill.tax],
        "billed_volumes": billed_volumes(bill),
        "time_zone": bill.time_zone,
        "tariff_id": bill.tariff_id,
        "tariff_version": bill.tariff_version,
        "tariff_hash": bill.tariff_hash,
        "price_mode": bill.price_mode,
        "quote": None if bill.quote is None else quote_document(bill.quote),
        "locked_at": None if bill.locked_at_us is None else utc_text(bill.locked_at_us),
        "rounding_policy": bill.rounding_policy,
        "notes": list(bill.notes),
        "lines": [line_document(line) for line in bill.lines],
    }


def quote_document(quote: PriceQuote) -> dict[str, str]:
    """As a session document holds it, see wire/session_facts.py."""
    return {"quote_id": quote.quote_id, "shown_at": utc_text(quote.shown_at_us)}


def billed_volumes(bill: Bill) -> dict[str, Mapping[str, str]]:
    """Per dimension what was measured and what was billed after steps, in kWh or seconds."""
    sums: dict[str, tuple[str, Fraction, Fraction]] = {}
    for line in bill.lines:
        if line.unit in _TEXT_OF:
            _, measured, billed = sums.get(line.dimension, (line.unit, Fraction(0), Fraction(0)))
            found = measured + Fraction(line.quantity), billed + Fraction(line.billed_quantity)
            sums[line.dimension] = (line.unit, *found)
    return {
        dimension: {
            "unit": unit,
            "quantity": _TEXT_OF[unit](int(measured * 1_000_000)),
            "billed_quantity": _TEXT_OF[unit](int(billed * 1_000_000)),
        }
        for dimension, (unit, measured, billed) in sums.items()
    }


def line_document(line: Line) -> dict[str, Any]:
    """A line with its instants as ISO 8601, in the words of ops/spec/pricing.md 6.1."""
    fields = msgspec.structs.asdict(line)
    from_us, to_us = fields.pop("from_us"), fields.pop("to_us")
    return {
        "kind": fields.pop("kind"),
        "dimension": fields.pop("dimension"),
        "from_utc": utc_text(from_us),
        "to_utc": utc_text(to_us),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()},
    }


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """The verdict with its findings; `bill` is ours, null where none can be made."""
    return {
        "verdict": verdict.verdict,
        "findings": [msgspec.structs.asdict(finding) for finding in verdict.findings],
        "notes": list(verdict.notes),
        "tolerance": verdict.tolerance,
        "bill": None if verdict.bill is None else bill_document(verdict.bill),
    }
