"""What the offline pricing commands read: tariffs, signals, a CDR or the facts of a session."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from pipeline.cli.reference import FILE, read
from pipeline.domain.checking.cdr import Cdr
from pipeline.domain.pricing.localtime import zone_of
from pipeline.domain.pricing.signals import Signals
from pipeline.domain.pricing.tariff import Tariff
from pipeline.domain.receipts import Receipt
from pipeline.errors import InvalidMessage, WrongUsage
from pipeline.wire.cdr import decode_cdr
from pipeline.wire.json_values import parse
from pipeline.wire.price_signals import decode_signals
from pipeline.wire.receipts import decode_receipt, is_receipt
from pipeline.wire.session_facts import SessionDocument, decode_session
from pipeline.wire.tariffs import decode_tariffs

tariff_option = click.option(
    "--tariff", "tariff_files", multiple=True, type=FILE, help="OCPI tariff (JSON); replaces those inside the CDR."
)
zone_option = click.option("--time-zone", metavar="ZONE", help="IANA zone of the site, such as Europe/Berlin.")
signals_option = click.option("--signals", "signals_file", type=FILE, help="Price slots of signals (JSON).")


class Basis(NamedTuple):
    """What the options give."""

    tariffs: list[Tariff]
    zone: str | None
    signals: Signals | None


def basis(tariff_files: tuple[Path, ...], zone: str | None, signals_file: Path | None) -> Basis:
    """Raises WrongUsage (no such file or zone) or InvalidMessage (content), naming file and element."""
    if zone is not None:
        try:
            zone_of(zone)
        except ValueError as error:
            raise WrongUsage(f"--time-zone {error}") from error
    tariffs = [tariff for path in tariff_files for tariff in decode_tariffs(read(path, "tariff"), str(path))]
    slots = None if signals_file is None else decode_signals(read(signals_file, "signals"), str(signals_file))
    return Basis(tariffs, zone, None if slots is None else Signals(slots))


def cdr_or_session(path: Path, *, with_tariffs: bool) -> Cdr | SessionDocument | Receipt:
    """A CDR, a session document with readings, or a receipt, recognised by fields that only one of them has.

    Without `with_tariffs` the tariffs inside a CDR are not read, because others replace them.
    """
    data = read(path, "CDR")
    if is_receipt(data):
        receipt = decode_receipt(data, str(path))
        if isinstance(receipt, Receipt):
            return receipt
        raise InvalidMessage("bad_receipt", f"{path}: a credit has no facts of its own; name the bill it takes back")
    document = parse(data, str(path), without="tariffs")
    if isinstance(document, dict) and "readings" in document:
        return decode_session(data, str(path))
    return decode_cdr(data, str(path), with_tariffs=with_tariffs)
