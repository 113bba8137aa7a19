"""Sessions as JSON lines (topics `sessions` and `receipts`, or what `assemble` prints) -> Recorded, for what-if."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from pipeline.domain.checking.rerating import Recorded
from pipeline.domain.metering.slots import spread
from pipeline.domain.outputs import Line, SessionSlot
from pipeline.domain.receipts import Credit, Receipt
from pipeline.errors import InvalidMessage
from pipeline.wire.json_values import Fault, Reader, parse_many
from pipeline.wire.receipts import decode_receipt, facts_of, is_receipt


def decode_recorded(data: bytes, source: str) -> list[Recorded]:
    """Completed sessions with slots, the highest revision of each; raises InvalidMessage that names line and field."""
    if is_receipt(data):
        return _of_receipts(data, source)
    latest: dict[str, tuple[int, Recorded]] = {}
    for name, document in parse_many(data, source):
        faults: list[Fault] = []
        if not isinstance(document, dict):
            raise InvalidMessage("bad_session", f"{name}: is not an object")
        reader = Reader(document, "", faults)
        found = _recorded(reader)
        session_id, revision = reader.text("session_id") or "", reader.integer("revision") or 0
        if faults:
            raise InvalidMessage("bad_session", f"{name}: {faults[0].where}: {faults[0].text}")
        if found is not None and latest.get(session_id, (-1, found))[0] < revision:
            latest[session_id] = (revision, found)
    return [recorded for _, recorded in latest.values()]


def _of_receipts(data: bytes, source: str) -> list[Recorded]:
    """The bills that stand: the latest revision of each session, unless a credit took it back."""
    bills: dict[str, Receipt] = {}
    taken_back: set[tuple[str, int]] = set()
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        receipt = decode_receipt(line, f"{source} line {number}")
        if isinstance(receipt, Credit):
            taken_back.add((receipt.session_id, receipt.revision))
        elif receipt.session_id not in bills or bills[receipt.session_id].revision < receipt.revision:
            bills[receipt.session_id] = receipt
    return [
        _of_receipt(bill)
        for bill in bills.values()
        if bill.billable and (bill.session_id, bill.revision) not in taken_back
    ]


def _of_receipt(bill: Receipt) -> Recorded:
    facts = facts_of(bill)
    return Recorded(
        site_id=bill.site_id or "",
        start_us=facts.start_us,
        end_us=facts.end_us,
        slots=spread(bill.times_us, bill.registers_wh, bill.activity, facts.end_us),
        lines=bill.lines,
        billed_excl=None if bill.total_excl_vat is None else Decimal(bill.total_excl_vat),
        facts=facts,
    )


def _recorded(reader: Reader) -> Recorded | None:
    """None: not completed, not billable, or its energy is not known."""
    start_us, end_us = _time(reader, "started_at"), _time(reader, "ended_at")
    slots = [_slot(each) for each in reader.objects("slots", required=False)]
    if (
        reader.get("status") != "completed"
        or reader.get("billable") is False
        or start_us is None
        or end_us is None
        or not slots
    ):
        return None
    return Recorded(
        site_id=reader.text("site_id", required=False) or "",
        start_us=start_us,
        end_us=end_us,
        slots=slots,
        lines=[_line(each) for each in reader.objects("lines", required=False)],
        billed_excl=_amount(reader) if reader.get("bill_state") == "FINAL" else None,
    )


def _time(reader: Reader, name: str) -> int | None:
    """`started_at` as ISO 8601, or `started_at_us` as a number."""
    if f"{name}_us" in reader.value:
        return reader.integer(f"{name}_us", required=False)
    return reader.instant(name, required=False)


def _amount(reader: Reader) -> Decimal | None:
    value: Any = reader.get("total_excl_vat")
    try:
        return None if value is None else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        reader.fault("bad_session", "total_excl_vat", f"{value!r} is not an amount")
        return None


def _line(reader: Reader) -> Line:
    """The fields of a bill line that show when what was measured."""
    return Line(
        kind=reader.text("kind") or "",
        dimension=reader.get("dimension") or "",
        from_us=reader.integer("from_us") or 0,
        to_us=reader.integer("to_us") or 0,
        quantity=reader.text("quantity") or "0",
        reason=reader.get("reason") or "",
    )


def _slot(reader: Reader) -> SessionSlot:
    values = [reader.integer(name) or 0 for name in ("start_us", "energy_wh", "occupied_s", "charging_s")]
    return SessionSlot(*values)
