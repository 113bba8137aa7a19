"""`chargeline verify`: is somebody else's CDR right? Works offline; exit code 0 OK, 1 MISMATCH, 3 NOT_VERIFIABLE."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from pipeline.cli.options import json_option, print_json
from pipeline.cli.pricing_files import basis, signals_option, tariff_option, zone_option
from pipeline.cli.reference import FILE, read
from pipeline.domain.checking.figures import Finding
from pipeline.domain.checking.verify import Basis, Verdict, verify
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.wire.bills import verdict_document
from pipeline.wire.cdr import decode_cdr

EXIT_CODES = {"OK": 0, "MISMATCH": 1, "NOT_VERIFIABLE": 3}


@click.command("verify")
@click.argument("file", metavar="CDR.json", type=FILE)
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
    """Check the amounts and volumes that a CDR claims.

    OK: no contradiction, and every stated figure is within tolerance, or follows another admitted reading of the spec.
    MISMATCH (exit 1): it contradicts itself, or no reading gives its figures. NOT_VERIFIABLE (exit 3): a needed fact
    is missing, or the only disagreement rests on an assumption. A file that cannot be read is wrong usage (exit 2).
    """
    try:
        given = basis(tariff_files, time_zone, signals_file)
        cdr = decode_cdr(read(file, "CDR"), str(file))
    except InvalidMessage as error:  # exit 1 would say MISMATCH of a record that was never checked
        raise WrongUsage(str(error)) from error
    verdict = verify(
        cdr,
        Basis(tariffs=given.tariffs, zone=given.zone, signals=given.signals, tolerance=_amount(tolerance)),
    )
    if as_json:
        print_json(verdict_document(verdict))
    else:
        _show(verdict)
    context.exit(EXIT_CODES[verdict.verdict])


def _show(verdict: Verdict) -> None:
    click.echo(verdict.verdict)
    for finding in verdict.findings:
        click.echo(f"  {finding.kind.lower()} {finding.code}: {_words(finding)}")
    for note in verdict.notes:
        click.echo(f"  note {note}")
    bill = verdict.bill
    if bill is not None and bill.held_reason is None:
        click.echo(f"  computed {bill.total_excl} excl. and {bill.total_incl} incl. tax, {bill.currency}")


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
