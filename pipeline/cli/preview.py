"""`chargeline preview`: what a session would cost under one or several tariffs, before anybody plugs in."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from pipeline.cli.options import json_option, print_json
from pipeline.cli.output import shown
from pipeline.cli.pricing_files import basis, signals_option, tariff_option, zone_option
from pipeline.domain.pricing.bill import Bill
from pipeline.domain.pricing.facts import ActivityPeriod, Facts, Reading
from pipeline.domain.pricing.price import price
from pipeline.domain.pricing.tariff import CannotPrice
from pipeline.domain.pricing.units import MWH_PER_KWH
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.wire.bills import bill_document
from pipeline.wire.json_values import instant


@click.command("preview")
@tariff_option
@zone_option
@signals_option
@click.option("--from", "begin", metavar="TIME", required=True, help="Plugged in, ISO 8601; no offset: UTC.")
@click.option("--to", "end", metavar="TIME", required=True, help="Unplugged.")
@click.option("--energy", metavar="KWH", required=True, help="Energy of the whole session.")
@click.option("--charged-by", metavar="TIME", help="When charging ends and idling begins; without it: at --to.")
@json_option
def command(
    tariff_files: tuple[Path, ...],
    time_zone: str | None,
    signals_file: Path | None,
    begin: str,
    end: str,
    energy: str,
    charged_by: str | None,
    as_json: bool,
) -> None:
    """Print what a session from A to B with this energy costs under each tariff, cheapest first.

    Power is assumed to be constant while charging. For drivers who choose a time, and operators who choose a tariff.
    """
    given = basis(tariff_files, time_zone, signals_file)
    if not given.tariffs:
        raise WrongUsage("give at least one --tariff FILE")
    facts = _facts(_time("--from", begin), _time("--to", end), _kwh(energy), charged_by)
    bills: list[Bill] = []
    for tariff in given.tariffs:
        try:
            bills.append(price(facts, tariff, given.zone, given.signals, final=False))
        except CannotPrice as missing:
            raise InvalidMessage(missing.code, missing.detail) from missing
    bills.sort(key=_rank)
    if as_json:
        print_json([bill_document(bill) for bill in bills])
        return
    for bill in bills:
        _show(bill)


def _facts(begin_us: int, end_us: int, mwh: int, charged_by: str | None) -> Facts:
    charged_us = end_us if charged_by is None else _time("--charged-by", charged_by)
    if not begin_us < charged_us <= end_us:
        raise WrongUsage("--from must be before --charged-by, and that not after --to")
    activity = [ActivityPeriod(begin_us, "charging")]
    if charged_us < end_us:
        activity.append(ActivityPeriod(charged_us, "idle"))
    return Facts(begin_us, end_us, [Reading(begin_us, 0), Reading(charged_us, mwh)], activity)


def _show(bill: Bill) -> None:
    total = f"{bill.payable_incl or '?'} {bill.currency} with tax, {bill.payable_excl or '?'} without"
    table = Table(title=shown(f"{bill.tariff_id}: {'held' if bill.held_reason else total}"))
    for name in ("when", "what", "quantity", "price", "excl. tax", "window"):
        table.add_column(name)
    for line in bill.lines:
        when = f"{line.local_from[5:16]} - {line.local_to[11:16]}".replace("T", " ") if line.local_from else ""
        what = line.dimension if line.kind in ("USAGE", "FLAT") else f"{line.kind} {line.dimension}".rstrip()
        quantity = f"{line.billed_quantity if line.unit_price else line.quantity} {line.unit}" if line.unit else ""
        cells = (when, what, quantity, line.unit_price or "", line.amount_excl or "?", line.window)
        table.add_row(*map(shown, cells))
    Console().print(table)


def _rank(bill: Bill) -> tuple[bool, Decimal, str]:
    total = bill.total_incl or bill.total_excl
    return total is None, Decimal(total or 0), bill.tariff_id


def _time(name: str, text: str) -> int:
    try:
        return instant(text)
    except ValueError as error:
        raise WrongUsage(f"{name} {text!r} is not a time such as 2025-06-13T19:30:00Z") from error


def _kwh(text: str) -> int:
    try:
        mwh = Decimal(text) * MWH_PER_KWH
        if mwh < 0 or mwh != int(mwh):
            raise ValueError
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise WrongUsage(f"--energy {text!r} is not an energy in kWh with at most 6 decimals") from error
    return int(mwh)
