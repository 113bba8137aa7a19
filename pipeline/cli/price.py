"""`chargeline price`: what a CDR or a session costs by its tariff, explained line by line. Works offline."""

from __future__ import annotations

from pathlib import Path

import click
from msgspec.structs import replace

from pipeline.cli.options import print_json
from pipeline.cli.pricing_files import Basis, basis, cdr_or_session, signals_option, tariff_option, zone_option
from pipeline.cli.reference import FILE
from pipeline.domain.checking import verify
from pipeline.domain.checking.cdr import Cdr
from pipeline.domain.checking.receipts import rebill
from pipeline.domain.checking.unstated import require_volumes
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import CannotPrice, choose
from pipeline.domain.receipts import Receipt
from pipeline.errors import InvalidMessage
from pipeline.wire.bills import bill_document
from pipeline.wire.receipts import facts_of, signals_of, tariff_of
from pipeline.wire.session_facts import SessionDocument


@click.command("price")
@click.argument("file", metavar="CDR.json", type=FILE)
@tariff_option
@zone_option
@signals_option
def command(file: Path, tariff_files: tuple[Path, ...], time_zone: str | None, signals_file: Path | None) -> None:
    """Price an OCPI CDR, a session document with meter readings or a receipt, and print the bill as JSON.

    The claimed amounts are not used. A volume that decides the price and is not stated does not count as 0. A tariff
    with clock times needs --time-zone: a CDR does not hold it, and a guessed zone gives a bill that looks right and is
    wrong by hours. A receipt holds its tariff, zone and signals; options replace them. Unknown amounts are null.
    """
    given = basis(tariff_files, time_zone, signals_file)
    found = cdr_or_session(file, with_tariffs=not tariff_files)
    try:
        match found:
            case Cdr():
                bill = _cdr_bill(found, given)
            case Receipt():
                bill = _receipt_bill(found, given)
            case _:
                bill = session_bill(found, given)
    except CannotPrice as missing:
        raise InvalidMessage(missing.code, f"{file}: {missing.detail}") from missing
    print_json(bill_document(bill))


def session_bill(session: SessionDocument, given: Basis) -> Bill:
    """The bill of recorded facts, by the function that the stream uses."""
    ids = [tariff.id for tariff in given.tariffs]
    tariff = choose(given.tariffs, ids, session.facts.start_us) if len(ids) != 1 else given.tariffs[0]
    signals = given.signals or Signals(session.signals)
    return price(session.facts, tariff, given.zone or session.time_zone, signals, tax_rate=session.tax_rate)


def _receipt_bill(receipt: Receipt, given: Basis) -> Bill:
    """The bill of the facts in a receipt, under its own tariff or another one."""
    facts, tariffs = facts_of(receipt), given.tariffs or [tariff_of(receipt)]
    ids = [tariff.id for tariff in tariffs]
    tariff = choose(tariffs, ids, facts.start_us) if len(ids) != 1 else tariffs[0]
    if given.zone is not None:
        receipt = replace(receipt, time_zone=given.zone)
    return rebill(receipt, facts, tariff, given.signals or signals_of(receipt))


def _cdr_bill(cdr: Cdr, given: Basis) -> Bill:
    tariffs = given.tariffs or list(cdr.tariffs)
    with_what = verify.Basis(tariffs=tariffs, zone=given.zone, signals=given.signals)
    tariff = verify.tariff_of(cdr, tariffs)
    require_volumes(cdr, verify.used(cdr, tariff, tariffs))
    return verify.price_cdr(cdr, tariff, tariffs, with_what).bill
