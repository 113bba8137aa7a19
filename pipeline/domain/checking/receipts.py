"""Checks that a receipt is unaltered and its bill right. The receipt itself contains everything that this needs.

The rule of the file: a receipt is our own document, so there is no tolerance. Its content must match its hash, and the
function of the stream must reproduce its bill from its facts, text by text.
"""

from __future__ import annotations

from pipeline.domain.checking.figures import Finding
from pipeline.domain.checking.verify import Verdict
from pipeline.domain.pricing.bill import ROUNDING_POLICY, Bill, waive
from pipeline.domain.pricing.facts import Facts
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, Tariff
from pipeline.domain.pricing.units import negated
from pipeline.domain.receipts import Credit, Receipt, taken_back

EXACT = "none: a receipt is repeated to the last digit"


def rebill(receipt: Receipt, facts: Facts, tariff: Tariff, signals: Signals) -> Bill:
    """The bill of the receipt's facts; raises CannotPrice."""
    bill = price(facts, tariff, receipt.time_zone, signals, tax_rate=receipt.tax_rate)
    return bill if receipt.billable else waive(bill, facts.end_us)


def check(receipt: Receipt, content_hash: str, facts: Facts, tariff: Tariff, signals: Signals) -> Verdict:
    """`content_hash` is that of the bytes as they were read; the rest is what the receipt holds, decoded."""
    findings = _altered(receipt.hash, content_hash)
    if tariff.content_hash != receipt.tariff_hash:
        findings.append(_contradiction("TARIFF_HASH", "tariff", "is not the document that tariff_hash names"))
    if receipt.registers_wh[-1] - receipt.registers_wh[0] != receipt.energy_wh:
        findings.append(_contradiction("ENERGY", "energy_wh", "is not what the registers went up by"))
    if receipt.rounding_policy != ROUNDING_POLICY:
        text = f"{receipt.rounding_policy!r} is not ours; check it with {receipt.software}"
        return _verdict([*findings, _missing("ROUNDING_POLICY_UNKNOWN", "rounding_policy", text)], None)
    try:
        bill = rebill(receipt, facts, tariff, signals)
    except CannotPrice as missing:
        return _verdict([*findings, _missing(missing.code, "", missing.detail)], None)
    return _verdict([*findings, *_differences(receipt, bill)], bill)


def check_credit(credit: Credit, content_hash: str, bill: Receipt | None) -> Verdict:
    """`bill` is the receipt that the credit takes back, checked as well; None: not available."""
    findings = _altered(credit.hash, content_hash)
    if bill is None:
        text = "the amounts of a credit are those of the bill that it takes back; put its file beside this one"
        return _verdict([*findings, _missing("BILL_MISSING", "bill_hash", text)], None)
    if (bill.hash, bill.session_id, bill.revision) != (credit.bill_hash, credit.session_id, credit.revision):
        findings.append(_contradiction("BILL_DIFFERS", "bill_hash", "the bill beside it is another one"))
    for name in ("total_excl_vat", "total_incl_vat", "payable_excl_vat", "payable_incl_vat"):
        claimed, computed = getattr(credit, name), negated(getattr(bill, name))
        findings += _difference(name.upper().removesuffix("_VAT"), name, claimed, computed)
    if credit.tax != taken_back(bill.tax):
        findings.append(_disagreement("TAX", "tax", "is not that of the bill, negated"))
    return _verdict(findings, None)


def _altered(stated: str, found: str) -> list[Finding]:
    if stated == found:
        return []
    return [_contradiction("HASH", "hash", "does not match the content: the file was altered or reformatted")]


def _differences(receipt: Receipt, bill: Bill) -> list[Finding]:
    heads = (
        ("TOTAL_EXCL", "total_excl_vat", bill.total_excl),
        ("TOTAL_INCL", "total_incl_vat", bill.total_incl),
        ("PAYABLE_EXCL", "payable_excl_vat", bill.payable_excl),
        ("PAYABLE_INCL", "payable_incl_vat", bill.payable_incl),
        ("CURRENCY", "currency", bill.currency),
        ("PRICE_MODE", "price_mode", bill.price_mode),
        ("LOCKED_AT", "locked_at_us", bill.locked_at_us),
    )
    found = [each for code, name, ours in heads for each in _difference(code, name, getattr(receipt, name), ours)]
    if receipt.tax != bill.tax:
        found.append(_disagreement("TAX", "tax", "differs"))
    if receipt.notes != bill.notes:
        found.append(_disagreement("NOTES", "notes", "differ"))
    if len(receipt.lines) != len(bill.lines):
        text = f"{len(receipt.lines)} lines, computed {len(bill.lines)}"
        found.append(_disagreement("LINES", "lines", text))
    for place, (claimed, ours) in enumerate(zip(receipt.lines, bill.lines, strict=False)):
        names = [name for name in claimed.__struct_fields__ if getattr(claimed, name) != getattr(ours, name)]
        if names:
            found.append(_disagreement("LINE", f"lines[{place}]", f"{', '.join(names)} differ", (place,)))
    return found


def _difference(code: str, name: str, claimed: str | int | None, computed: str | int | None) -> list[Finding]:
    if claimed == computed:
        return []
    text = f"{name} is {claimed}, computed {computed}"
    said, ours = (None if each is None else str(each) for each in (claimed, computed))
    return [Finding(kind="DISAGREEMENT", code=code, where=name, text=text, claimed=said, computed=ours)]


def _disagreement(code: str, where: str, text: str, lines: tuple[int, ...] = ()) -> Finding:
    return Finding(kind="DISAGREEMENT", code=code, where=where, text=text, lines=lines)


def _contradiction(code: str, where: str, text: str) -> Finding:
    return Finding(kind="CONTRADICTION", code=code, where=where, text=text)


def _missing(code: str, where: str, text: str) -> Finding:
    return Finding(kind="MISSING", code=code, where=where, text=text)


def _verdict(findings: list[Finding], bill: Bill | None) -> Verdict:
    """A contradiction or disagreement makes a mismatch, whatever else is missing."""
    wrong = any(finding.kind != "MISSING" for finding in findings)
    return Verdict(
        verdict="MISMATCH" if wrong else "NOT_VERIFIABLE" if findings else "OK",
        findings=tuple(findings),
        notes=(),
        tolerance=EXACT,
        bill=bill,
    )
