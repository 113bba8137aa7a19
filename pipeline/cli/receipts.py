"""`chargeline receipts`: bills and credits out of the topic, into files that `chargeline verify` checks years later.

The rule of the file: a receipt is written byte for byte as in the topic, under a name that no other receipt has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import click
import msgspec

from pipeline import topics
from pipeline.cli.explaining import account_lines
from pipeline.cli.options import json_option, kafka_option, print_json, settings
from pipeline.cli.output import echo, echo_line
from pipeline.cli.periods import instant
from pipeline.cli.progress import progress
from pipeline.domain.pricing.units import utc_text
from pipeline.domain.receipts import Account, Credit, Receipt
from pipeline.edge.reading import read_topic
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.kafka_config import client_config
from pipeline.wire.receipts import content_hash, decode_receipt, file_name

since_option = click.option(
    "--since", metavar="TIME", help="Only of sessions that ended at or after this, ISO 8601; no offset: UTC."
)
session_option = click.option("--session", "session_id", metavar="ID", help="Only those of this session.")


class Found(NamedTuple):
    receipt: Receipt | Credit
    value: bytes


@click.group()
def command() -> None:
    """Export and show the receipts of final bills.

    Receipts are for the billing party: they hold no token, but say where and when somebody charged. Each can be
    checked offline with `chargeline verify FILE`.
    """


@command.command()
@kafka_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("receipts"), show_default=True)
@since_option
@session_option
@json_option
def export(kafka: str | None, out: Path, since: str | None, session_id: str | None, as_json: bool) -> None:
    """Write one file for each receipt, before the topic's retention ends; run it daily.

    OUT/<UTC day of the session's end>/<session>.<generation>.<revision>.bill.json, or .credit.json. An existing file
    is not changed, so the command may be repeated; if its content differs, that is an error.
    """
    written = kept = 0
    conflicts: list[Path] = []
    refused: list[str] = []
    for receipt, value in _read(kafka, since, session_id, refused):
        path = out / _day(receipt.ended_at_us) / file_name(receipt)
        try:
            known = path.read_bytes() if path.exists() else None
            if known is None:
                _write(path, value + b"\n")
                written += 1
            elif known.rstrip(b"\r\n") == value:
                kept += 1
            else:
                conflicts.append(path)
        except OSError as error:
            raise WrongUsage(f"{path}: cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"written": written, "kept": kept, "conflicts": [str(path) for path in conflicts]})
    else:
        echo(f"{written:,} receipts written to {out}, {kept:,} were there already")
    if conflicts:
        raise click.ClickException(
            f"{len(conflicts):,} files have another content than the topic, the first is {conflicts[0]}; "
            "check both with `chargeline verify`"
        )
    _fail_for(refused)


@command.command()
@click.argument("session_id", metavar="SESSION")
@kafka_option
@json_option
def show(session_id: str, kafka: str | None, as_json: bool) -> None:
    """Print the receipts of one session, line by line; with --json each as it is in the topic."""
    refused: list[str] = []
    found = sorted(_read(kafka, None, session_id, refused), key=lambda each: _order(each.receipt))
    for receipt, value in found:
        if as_json:
            echo(value)
        elif isinstance(receipt, Credit):
            _show_credit(receipt)
        else:
            _show_bill(receipt, value)
    if not found:
        raise click.ClickException("no receipt of this session is in the topic: its bill is held, or it has expired")
    _fail_for(refused)


def _read(kafka: str | None, since: str | None, session_id: str | None, refused: list[str]) -> Iterator[Found]:
    """A record that is not a receipt goes to `refused`, with its place and the reason; the others are exported."""
    since_us = instant("--since", since, -(1 << 62))
    config = client_config(settings(kafka=kafka))
    wanted = None if session_id is None else f"{session_id}:".encode()
    with progress("reading receipts", unit="records") as bar:
        for message in read_topic(config, topics.RECEIPTS.name, bar.advance):
            key, value = message.key() or b"", message.value()
            if value is None or (wanted is not None and not key.startswith(wanted)):
                continue
            place = f"topic {topics.RECEIPTS.name} partition {message.partition()} offset {message.offset()}"
            try:
                receipt = decode_receipt(value, place)
            except InvalidMessage as error:
                refused.append(str(error))
                continue
            if receipt.ended_at_us >= since_us:
                yield Found(receipt, value)


def _fail_for(refused: list[str]) -> None:
    if refused:
        raise click.ClickException(
            f"{len(refused):,} records are no receipts and were left out; find out who wrote them: {refused[0]}"
        )


def _write(path: Path, content: bytes) -> None:
    """Writes the whole file or none: first under another name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as part:
        try:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(part.name).unlink()
            raise


def _order(receipt: Receipt | Credit) -> tuple[int, int, str]:
    return receipt.generation, receipt.revision, receipt.kind


def _show_bill(receipt: Receipt, value: bytes) -> None:
    sound = "" if content_hash(value) == receipt.hash else "  ALTERED: the hash does not fit"
    echo_line(f"BILL {receipt.session_id} revision {receipt.revision}{sound}")
    started = "unknown" if receipt.started_at_us is None else utc_text(receipt.started_at_us)
    echo_line(f"  {receipt.station_id}/{receipt.connector_id}  {started} to {utc_text(receipt.ended_at_us)}")
    echo_line(f"  {len(receipt.times_us)} readings, evidence {receipt.evidence}, made by {receipt.software}")
    if receipt.quote is not None:
        locked = "" if receipt.locked_at_us is None else f", prices of {utc_text(receipt.locked_at_us)}"
        echo_line(f"  quote {receipt.quote.quote_id} shown {utc_text(receipt.quote.shown_at_us)}{locked}")
    for line in receipt.lines:
        quantity = f"{line.quantity} {line.unit} x {line.unit_price}" if line.unit_price else line.reason
        echo_line(f"  {line.kind:<9} {line.dimension:<12} {quantity} = {line.amount_excl}, with tax {line.amount_incl}")
    echo_line(f"  to pay {receipt.payable_excl_vat}, with tax {receipt.payable_incl_vat} {receipt.currency}")
    if isinstance(receipt.account, Account):
        for text in account_lines(msgspec.to_builtins(receipt.account)):
            echo_line(text)


def _show_credit(credit: Credit) -> None:
    echo_line(f"CREDIT {credit.session_id} revision {credit.revision}: {credit.reason}, now {credit.corrected_by}")
    echo_line(f"  to pay {credit.payable_excl_vat}, with tax {credit.payable_incl_vat} {credit.currency}")


def _day(us: int) -> str:
    return utc_text(us)[:10]
