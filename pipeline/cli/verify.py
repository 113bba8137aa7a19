"""`chargeline verify`: is a CDR or a receipt right? Works offline; exit code 0 OK, 1 MISMATCH, 3 NOT_VERIFIABLE."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from pipeline.cli.options import json_option, print_json
from pipeline.cli.output import echo
from pipeline.cli.pricing_files import basis, signals_option, tariff_option, zone_option
from pipeline.cli.reference import FILE, read
from pipeline.domain.checking.figures import Finding
from pipeline.domain.checking.receipts import check, check_credit
from pipeline.domain.checking.verify import Basis, Verdict, verify
from pipeline.domain.receipts import Receipt
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.wire.bills import verdict_document
from pipeline.wire.cdr import decode_cdr
from pipeline.wire.receipts import (
    bill_file_name,
    content_hash,
    decode_receipt,
    facts_of,
    is_receipt,
    signals_of,
    tariff_of,
)

EXIT_CODES = {"OK": 0, "MISMATCH": 1, "NOT_VERIFIABLE": 3}


@click.command("verify")
@click.argument("file", metavar="FILE", type=FILE)
@tariff_option
@zone_option
@signals_option
@click.option("--tolerance", metavar="AMOUNT", help="Instead of half a unit of the last decimal stated.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    file: Path,
    tariff_files: tuple[Path, ...],
    time_zone: str | None,
    signals_file: Path | None,
    tolerance: str | None,
    as_json: bool,
) -> None:
    """Check the amounts and volumes that a CDR claims, or an exported receipt, which needs no other file.

    CDRs of OCPI 2.1.1, 2.2.1 and 2.3.0 are read; a credit CDR is checked as the bill that it takes back.

    OK: no contradiction, and every stated figure is within tolerance, or follows another admitted reading of the spec.
    MISMATCH (exit 1): it contradicts itself, or no reading gives its figures. NOT_VERIFIABLE (exit 3): a needed fact
    is missing, such as a volume that no period states, or the only disagreement rests on an assumption. A receipt must
    fit its hash and give its bill again to the last digit; for a credit the bill that it takes back must lie beside it.
    A file that cannot be read is wrong usage (exit 2).
    """
    try:
        data = read(file, "CDR or receipt")
        if is_receipt(data):
            if tariff_files or time_zone or signals_file or tolerance:
                raise WrongUsage("a receipt holds its own tariff, zone and signals, and knows no tolerance")
            verdict = _receipt_verdict(file, data)
        else:
            given = basis(tariff_files, time_zone, signals_file)
            with_what = Basis(
                tariffs=given.tariffs, zone=given.zone, signals=given.signals, tolerance=_amount(tolerance)
            )
            verdict = verify(decode_cdr(data, str(file), with_tariffs=not tariff_files), with_what)
    except InvalidMessage as error:  # exit 1 would say MISMATCH of a record that was never checked
        raise WrongUsage(str(error)) from error
    if as_json:
        print_json(verdict_document(verdict))
    else:
        _show(verdict)
    context.exit(EXIT_CODES[verdict.verdict])


def _receipt_verdict(file: Path, data: bytes) -> Verdict:
    receipt = decode_receipt(data, str(file))
    found_hash = content_hash(data)
    if isinstance(receipt, Receipt):
        return check(receipt, found_hash, facts_of(receipt), tariff_of(receipt), signals_of(receipt))
    beside = file.with_name(bill_file_name(receipt))
    if not beside.exists():
        return check_credit(receipt, found_hash, None)
    bill = decode_receipt(data := read(beside, "bill"), str(beside))
    if not isinstance(bill, Receipt) or content_hash(data) != bill.hash:
        raise InvalidMessage("bad_receipt", f"{beside}: is not the bill that its name says, or was altered")
    return check_credit(receipt, found_hash, bill)


def _show(verdict: Verdict) -> None:
    echo(verdict.verdict)
    for finding in verdict.findings:
        echo(f"  {finding.kind.lower()} {finding.code}: {_words(finding)}")
    for note in verdict.notes:
        echo(f"  note {note}")
    bill = verdict.bill
    if bill is not None and bill.held_reason is None:
        echo(f"  computed {bill.total_excl} excl. and {bill.total_incl} incl. tax, {bill.currency}")


def _words(finding: Finding) -> str:
    if finding.difference is None:
        return " ".join(part for part in (finding.where, finding.text) if part)
    return f"{finding.text}, difference {finding.difference}, tolerance {finding.tolerance}"


def _amount(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise WrongUsage(f"--tolerance {text!r} is not an amount such as 0.01") from error
    if not value.is_finite() or value < 0:
        raise WrongUsage(f"--tolerance {text} must not be negative")
    return value
